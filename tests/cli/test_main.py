"""The entry point, with and without the server's parts."""

from __future__ import annotations

import subprocess
import sys

import pytest

import lrm_client

BLOCKED = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
sys.argv = ["lrm", "serve"]
from lrm_server.main import main
main()
"""


def run_without(module: str) -> subprocess.CompletedProcess[str]:
    code = BLOCKED.format(blocked=module)
    path = ":".join(sys.path)
    return subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("module", ["typer", "rich", "pydantic_settings", "yaml", "grpc_health"])
def test_the_clients_install_says_what_the_command_needs(module: str) -> None:
    done = run_without(module)
    assert done.returncode == 1
    assert 'pip install "lrm[cpu]"' in done.stderr
    assert 'pip install "lrm[gpu]"' in done.stderr
    assert module in done.stderr
    assert "Traceback" not in done.stderr


def test_a_part_of_lrm_that_is_missing_is_no_matter_of_installing() -> None:
    assert "Traceback" in run_without("lrm_client").stderr


def test_version() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lrm_server.main", "--version"],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert done.stdout == f"lrm {lrm_client.__version__}\n"
