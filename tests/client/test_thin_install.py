"""The client stays thin: it imports and installs without the server's parts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import lrm_client

FORBIDDEN = {"torch", "vllm", "pydantic", "typer", "fastapi", "gymnasium", "lrm_server"}
ROOT = Path(__file__).resolve().parents[2]
LIST_MODULES = "import json, sys, lrm_client; print(json.dumps(sorted(sys.modules)))"
ENCODE = """
import numpy, lrm_client
frame = lrm_client.FrameEncoder("raw").encode(numpy.zeros((4, 5, 3), numpy.uint8))
assert (len(frame.data), frame.height, frame.width) == (60, 4, 5)
"""
BASE_INSTALL = {"grpcio", "httpx", "numpy", "pillow", "protobuf"}


def test_importing_the_client_imports_nothing_of_the_server() -> None:
    path = str(Path(lrm_client.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", LIST_MODULES],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        check=True,
        text=True,
    )
    imported = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert imported & FORBIDDEN == set()


def test_the_clock_imports_nothing_but_the_standard_library() -> None:
    clock = Path(lrm_client.__file__).parent / "clock.py"
    load = f"import json, runpy, sys; runpy.run_path({str(clock)!r})"
    code = f"{load}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, check=True, text=True
    )
    imported = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert imported & {"numpy", "grpc", "google", "httpx", "PIL", "lrm_client"} == set()


@pytest.mark.parametrize("numpy", ["numpy<2", "numpy"])
def test_the_base_install_is_the_client_alone(tmp_path: Path, numpy: str) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [python, *command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            check=False,
            text=True,
        )

    def pip(*command: str) -> subprocess.CompletedProcess[str]:
        return run("-m", "pip", "--disable-pip-version-check", *command)

    sought = pip("download", "--quiet", "--no-deps", "--dest", "found", numpy)
    if sought.returncode != 0:
        pytest.skip(f"pip reaches no index that has {numpy}: {sought.stderr[-300:]}")
    installed = pip("install", "--quiet", "--upgrade", numpy, str(ROOT))
    assert installed.returncode == 0, installed.stderr
    listing = run("-c", LIST_MODULES)
    assert listing.returncode == 0, listing.stderr
    imported = {name.partition(".")[0] for name in json.loads(listing.stdout)}
    assert "lrm_client" in imported
    assert imported & FORBIDDEN == set()
    packages = {
        package["name"].lower(): package["version"]
        for package in json.loads(pip("list", "--format=json").stdout)
    }
    assert packages.keys() >= {"lrm", *BASE_INSTALL}
    assert packages.keys() & FORBIDDEN == set()
    assert (packages["numpy"].partition(".")[0] == "1") is (numpy == "numpy<2")
    encoded = run("-c", ENCODE)
    assert encoded.returncode == 0, encoded.stderr
