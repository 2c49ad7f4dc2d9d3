"""What the README shows is there, and runs."""

from __future__ import annotations

import ast
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main
from numpy.typing import NDArray
from PIL import Image

from lrm_server.api.calls import Calls, Limits
from lrm_server.api.http_app import http_app
from lrm_server.api.problems import TABLE
from lrm_server.cli import app
from lrm_server.config import Settings
from lrm_server.demo.rollouts import bundled_rollouts
from lrm_server.engine_settings import EngineSettings
from lrm_server.ops.auth import TokenCheck
from lrm_server.ops.health import Health
from lrm_server.ops.metrics import Metrics
from tests.client.scripted import ScriptedCore
from tests.client.scripted_grpc import serve_grpc
from tests.client.scripted_http import serve_http
from tests.project.layers import ROOT
from tests.project.readme import GRPC, HTTP, TEXT, at, blocks, commands, rows
from tests.trajectories.support import video

PYTHON = blocks("python")
# A scripted server takes no trajectories.
WITHOUT_TRAJECTORIES = [block for block in PYTHON if "score_trajectory" not in block]
CURL = [command for command in commands() if command.startswith("curl")]


class Environments:
    """Vectorised environments that end after so many steps, as the README's example has them."""

    def __init__(self, num_envs: int = 3, length: int = 15) -> None:
        self.num_envs = num_envs
        self._length = length
        self._steps = np.zeros(num_envs, int)
        frame = Image.open(Path(str(ROOT)) / _rollout() / "0005.jpg").convert("RGB")
        self._frames = np.stack([np.asarray(frame)] * num_envs)

    def reset(self, mask: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
        self._steps[slice(None) if mask is None else mask] = 0
        return np.zeros((self.num_envs, 4), np.float32)

    def step(self, action: object) -> tuple[NDArray[np.float32], Any, Any]:
        self._steps += 1
        ended = self._steps >= self._length + np.arange(self.num_envs)
        return np.zeros((self.num_envs, 4), np.float32), ended, np.zeros_like(ended)

    def render(self) -> NDArray[np.uint8]:
        return self._frames


def _rollout() -> Path:
    return Path("server/lrm_server/demo/rollouts") / bundled_rollouts()[0].name


@pytest.fixture
def frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the frames that the README names."""
    rollout = bundled_rollouts()[0]
    (tmp_path / "before.jpg").write_bytes(rollout.frames[0])
    (tmp_path / "after.jpg").write_bytes(rollout.frames[-1])
    (tmp_path / "attempt.mp4").write_bytes(video(range(0, 250, 10), height=128, width=128))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def scripted() -> Iterator[tuple[str, str]]:
    """gRPC and HTTP addresses of a server that answers everything."""
    with ExitStack() as stack:
        core = ScriptedCore()
        yield stack.enter_context(serve_grpc(core)), stack.enter_context(serve_http(core))


def run_block(block: str, grpc: str, http: str) -> None:
    envs = Environments()
    given = {
        "envs": envs,
        "policy": lambda obs: np.zeros((envs.num_envs, 2)),
        "camera": lambda: envs.render()[0],
    }
    exec(compile(at(block, grpc, http), "README.md", "exec"), given)  # noqa: S102


@pytest.mark.parametrize("block", WITHOUT_TRAJECTORIES, ids=range(len(WITHOUT_TRAJECTORIES)))
def test_python_blocks_run(block: str, frames: Path, scripted: tuple[str, str]) -> None:
    run_block(block, *scripted)


@pytest.mark.parametrize("block", PYTHON, ids=range(len(PYTHON)))
def test_python_blocks_run_on_a_real_server(block: str, frames: Path, live_server: Any) -> None:
    run_block(block, live_server.grpc, live_server.http)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("command", CURL, ids=range(len(CURL)))
def test_curl_commands_get_a_reward(command: str, frames: Path, live_server: Any) -> None:
    done = subprocess.run(
        ["bash", "-c", at(command, live_server.grpc, live_server.http)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert -1.0 <= json.loads(done.stdout)["value"] <= 1.0


def test_there_are_blocks_of_each_kind() -> None:
    assert len(WITHOUT_TRAJECTORIES) < len(PYTHON)
    assert len(PYTHON) >= 3
    assert len(CURL) >= 2
    assert all(GRPC in block or HTTP in block for block in PYTHON)


def test_the_two_commands_stand_at_the_top() -> None:
    assert [command.split() for command in commands()[:2]] == [["make", "demo"], ["make", "test"]]
    assert TEXT.index("make demo") < 800


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z][a-z-]*)", "\n".join([*commands(), *_inline()])))
    assert {"demo", "test", "check"} <= named <= targets


def _inline() -> list[str]:
    return re.findall(r"`([^`\n]+)`", TEXT)


def test_lrm_commands_and_their_flags_exist() -> None:
    group: Any = typer.main.get_command(app)
    found = [shlex.split(line) for line in commands() if line.startswith("lrm ")]
    assert {words[1] for words in found} == set(group.commands)
    for _, name, *arguments in found:
        group.commands[name].make_context(name, arguments)


def test_flags_in_the_text_exist() -> None:
    flags = {flag for code in _inline() for flag in re.findall(r"(?<!\S)--[a-z-]+", code)}
    known = {f"--{name.replace('_', '-')}" for name in Settings.model_fields}
    known |= {"--config", "--extra-index-url", "--help"}
    group: Any = typer.main.get_command(app)
    known |= {
        flag for command in group.commands.values() for p in command.params for flag in p.opts
    }
    known |= _learner_flags()
    assert flags <= known


def _learner_flags() -> set[str]:
    source = ast.parse((ROOT / "client/examples/ppo_maniskill.py").read_text())
    args = next(n for n in source.body if isinstance(n, ast.ClassDef) and n.name == "Args")
    fields = [n.target.id for n in args.body if isinstance(n, ast.AnnAssign)]
    return {f"--{name.replace('_', '-')}" for name in fields}


def test_variables_in_the_text_are_settings() -> None:
    found = set(re.findall(r"\bLRM_([A-Z_]+)\b", TEXT))
    of_engines = {name for name in found if name.startswith("ENGINES__")}
    assert found - of_engines <= {name.upper() for name in Settings.model_fields}
    assert {name.split("__")[2] for name in of_engines} <= {
        name.upper() for name in EngineSettings.model_fields
    }


def test_the_table_of_errors_is_that_of_the_code() -> None:
    assert rows("Errors") == [
        [f"`{code.value}`", standing.grpc.name, str(standing.http), standing.title]
        for code, standing in TABLE.items()
    ]


def test_the_table_of_metrics_is_that_of_the_code() -> None:
    suffixes = {"counter": "_total", "info": "_info"}
    assert rows("Metrics") == [
        [f"`{metric.name}{suffixes.get(metric.type, '')}`", metric.documentation]
        for metric in Metrics().registry.collect()
    ]


def test_the_routes_in_the_text_are_served() -> None:
    calls = Calls(Limits.of(Settings()))
    served = http_app(calls, Health(), Metrics(), TokenCheck(None)).openapi()["paths"]
    # OpenAPI does not list the pages about itself, nor what is no JSON.
    known = {re.sub(r"\{[^}]*\}", "{id}", path) for path in served} | {"/docs", "/metrics"}
    named = {
        path for row in rows("Over HTTP") for path in re.findall(r"(/[a-z][a-z0-9_/{}]*)", row[0])
    }
    assert named <= known
    assert len(named) >= 10


def test_files_that_the_text_links_to_exist() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", TEXT) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
