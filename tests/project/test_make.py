"""The Makefile: what it installs, and when."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.project.layers import ROOT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        # As on a machine without the simulator's renderer, unless a test says otherwise.
        ["make", f"PYTHON={sys.executable}", "LAVAPIPE=no-such-file", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The files that the Makefile looks at, in a folder of their own."""
    for name in ("Makefile", "pyproject.toml", "hatch_build.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "proto", tmp_path / "proto")
    return tmp_path


def install(project: Path, *stamps: str) -> None:
    binaries = project / ".venv" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "python").symlink_to(sys.executable)
    for stamp in stamps:
        (project / ".venv" / stamp).touch()


@pytest.mark.parametrize(
    ("target", "installs", "runs"),
    [
        ("demo", ".[cpu]", ".venv/bin/lrm demo"),
        ("serve", ".[cpu]", ".venv/bin/lrm serve"),
        ("eval", ".[cpu]", ".venv/bin/lrm eval"),
        ("test", ".[cpu,dev]", ".venv/bin/python -m pytest"),
        ("check", ".[cpu,dev]", ".venv/bin/mypy"),
    ],
)
def test_a_first_run_installs_once_then_runs(
    project: Path, target: str, installs: str, runs: str
) -> None:
    said = make(project, "--dry-run", target).stdout
    assert said.count("-m pip install") == 1
    assert f"-e '{installs}'" in said
    assert said.index(installs) < said.index(runs)


@pytest.mark.parametrize("target", ["demo", "serve", "test", "check", "stubs", "bench"])
def test_a_second_run_installs_nothing(project: Path, target: str) -> None:
    install(project, ".installed-cpu", ".installed-dev")
    done = make(project, "--dry-run", target)
    assert done.returncode == 0, done.stderr
    assert ".venv/bin/" in done.stdout
    assert "pip install" not in done.stdout


def test_the_tests_bring_the_simulator_where_it_can_render(project: Path) -> None:
    install(project, ".installed-cpu", ".installed-dev")
    (project / "renderer.json").touch()
    said = make(project, "--dry-run", "test", "LAVAPIPE=renderer.json").stdout
    assert "-e '.[sim]'" in said
    assert said.index("-e '.[sim]'") < said.index("-m pytest")


def test_a_simulator_that_cannot_be_installed_does_not_stop_the_tests(project: Path) -> None:
    install(project, ".installed-cpu", ".installed-dev")
    (project / "renderer.json").touch()
    (project / ".venv-sim").write_text("in the way of the environment")
    done = make(project, "test", "LAVAPIPE=renderer.json", "ARGS=--version")
    assert "The simulator could not be installed" in done.stdout
    assert "pytest" in done.stdout.splitlines()[-1]
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["pyproject.toml", "proto/lrm/v1/reward.proto"])
def test_a_change_of_what_is_installed_installs_again(project: Path, name: str) -> None:
    install(project, ".installed-cpu", ".installed-dev")
    later = (project / ".venv" / ".installed-cpu").stat().st_mtime + 10
    os.utime(project / name, (later, later))
    assert "pip install" in make(project, "--dry-run", "demo").stdout


def test_arguments_reach_the_commands(project: Path) -> None:
    install(project, ".installed-cpu", ".installed-dev")
    said = make(project, "--dry-run", "test", "ARGS=tests/clock -k traces").stdout
    assert "-m pytest tests/clock -k traces" in said


def test_pips_arguments_reach_pip(project: Path) -> None:
    said = make(project, "--dry-run", "demo", "PIP_ARGS=--no-index").stdout
    assert "pip install --disable-pip-version-check --no-index -e" in said


def test_a_python_that_is_none_is_named(project: Path) -> None:
    done = make(project, "demo", "PYTHON=no-such-python")
    assert done.returncode != 0
    assert "or newer; 'no-such-python'" in done.stdout


def test_the_machine_without_anything_runs_the_same_tests() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert script.startswith("#!/usr/bin/env bash")
    assert "set -euo pipefail" in script
    assert script.rstrip().splitlines()[-1].startswith("make test")
    subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], check=True)
