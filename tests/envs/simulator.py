"""The simulator's environment: ManiSkill wants an older numpy than vLLM."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = Path(os.environ.get("LRM_SIM_PYTHON", ROOT / ".venv-sim/bin/python"))
LAVAPIPE = Path("/usr/share/vulkan/icd.d/lvp_icd.json")

needs_simulator = pytest.mark.skipif(
    not PYTHON.exists(),
    reason=f"ManiSkill is missing: {PYTHON} does not exist. make .venv-sim/.installed, or let "
    "LRM_SIM_PYTHON name a Python that has it",
)


def _cannot_render() -> str:
    """Why SAPIEN renders nothing here; empty where it renders."""
    if not LAVAPIPE.exists():
        return f"{LAVAPIPE} does not exist"
    if not PYTHON.exists():
        return "the simulator is missing"
    # Drivers before Mesa 24.3 are there and refused.
    done = subprocess.run(
        [PYTHON, "-c", "import sapien; sapien.render.RenderSystem('cpu')"],
        env={**os.environ, "VK_ICD_FILENAMES": str(LAVAPIPE)},
        capture_output=True,
        check=False,
        text=True,
    )
    return (done.stderr.strip().splitlines() or ["no reason given"])[-1] if done.returncode else ""


_WHY_NOT = _cannot_render()
needs_renderer = pytest.mark.skipif(
    bool(_WHY_NOT),
    reason=f"Mesa's software renderer is missing ({_WHY_NOT}): run training/install_renderer.sh "
    "as root",
)


def in_simulator(*arguments: str, timeout: float = 500.0) -> Any:
    """What ``tests.envs.maniskill_process`` prints, run by the simulator's Python."""
    done = subprocess.run(
        [PYTHON, "-m", "tests.envs.maniskill_process", *arguments],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": f"{ROOT / 'client'}:{ROOT}",
            "VK_ICD_FILENAMES": str(LAVAPIPE),
        },
        capture_output=True,
        check=False,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])
