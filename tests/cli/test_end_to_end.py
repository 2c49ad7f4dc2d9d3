"""``lrm demo`` and ``lrm score --local`` as commands, with a real server on a scripted engine."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import write_folder

# Runs at the start of every interpreter of the test, the server's among them. The scripted
# scorer knows the true progress of the bundled frames.
SCRIPTED_ENGINE = """
import asyncio
import os
from contextlib import asynccontextmanager

import lrm_server.app
from lrm_server.demo.rollouts import bundled_rollouts
from lrm_server.frames import Encoding, FrameLimits, open_frame
from lrm_server.heads.profile import Role
from tests.scripted_scorer import ScriptedScorer

truth = {
    open_frame(frame, Encoding.JPEG, FrameLimits()).digest: progress
    for rollout in bundled_rollouts()
    for frame, progress in zip(rollout.frames, rollout.progress)
}


def answer(query):
    progress = float(truth.get(query.frames[Role.CURRENT].digest, 0.5))
    return {"progress": progress, "completion": float(progress == 1.0)}.get(query.head, 1.0)


@asynccontextmanager
async def open_scorer(settings, *_):
    scorer = ScriptedScorer(answer)
    if "SLOW" in os.environ:
        scorer.pause = lambda query: asyncio.sleep(600)
    yield scorer


lrm_server.app.open_scorer = open_scorer
"""


@pytest.fixture
def environment(tmp_path: Path) -> Mapping[str, str]:
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SCRIPTED_ENGINE)
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([str(site), root, *sys.path])
    return {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": path}


def lrm(
    environment: Mapping[str, str], folder: Path, *arguments: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lrm_server.main", *arguments],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_the_demo_scores_prints_plots_and_stops_the_server(
    environment: Mapping[str, str], tmp_path: Path
) -> None:
    done = lrm(environment, tmp_path, "demo")
    assert done.returncode == 0, done.stdout + done.stderr
    text = " ".join(done.stdout.split())
    assert "Progress rises on successes (to 1.00 on average)" in text
    assert "higher in 15 of 15 pairs" in text
    assert Image.open(tmp_path / "lrm-demo.png").size[0] > 1000


def test_score_starts_a_server_for_itself(environment: Mapping[str, str], tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "frames", [0, 100, 200])
    done = lrm(environment, tmp_path, "score", str(folder), "--task", "lift", "--local")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["value"] for row in rows] == [0.5, 0.5, 0.5]


def test_ctrl_c_ends_the_demo_and_its_server(
    environment: Mapping[str, str], tmp_path: Path
) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-u", "-m", "lrm_server.main", "demo"],
        env={**environment, "SLOW": "1"},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert demo.stdout is not None
        ready = demo.stdout.readline()
        match = re.search(r"gRPC 127\.0\.0\.1:(\d+)", ready)
        assert match, ready
        demo.send_signal(signal.SIGINT)
        _, errors = demo.communicate(timeout=120)
    finally:
        demo.kill()
    assert demo.returncode == 130
    assert "Traceback" not in errors
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(match.group(1)))).close()
