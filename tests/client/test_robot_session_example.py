"""The camera example, on a video that is made here and a server that is scripted."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.client.scripted import ScriptedCore

EXAMPLE = Path(__file__).parents[2] / "client" / "examples" / "robot_camera.py"
TASK = "push the cube to the target"
SIZE = 32
FPS = 30
FRAMES = 45
LEVELS = 4

cv2 = pytest.importorskip("cv2", reason="opencv-python is not installed")
np = pytest.importorskip("numpy")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second and a half of grey that grows lighter, four levels a frame."""
    path = tmp_path_factory.mktemp("video") / "rollout.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (SIZE, SIZE))
    assert writer.isOpened()
    for at in range(FRAMES):
        writer.write(np.full((SIZE, SIZE, 3), LEVELS * at, np.uint8))
    writer.release()
    return path


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLE), "--task", TASK, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_video_is_played_at_its_own_speed_and_its_last_frame_is_asked(
    video: Path, target: str, core: ScriptedCore
) -> None:
    options = ("--rate", "10", "--interval", "3", "--max-age", "60")
    done = run("--source", str(video), "--server", target, *options)
    assert done.returncode == 0, done.stderr
    header, *lines = done.stdout.splitlines()
    assert header.split()[:2] == ["tick", "reward"]
    # 45 frames at 30 a second are the ticks 0 to 14 at 10 a second; the end is another.
    assert [line.split()[0] for line in lines] == ["10", "15"]
    assert lines[-1].split()[1:3] == ["0.500", "15"]
    assert core.episodes == {}
    assert core.asked[-1].step == 15
    for asked in core.asked:
        index = min(3 * asked.step, 3 * 14)
        assert asked.frame[0] == pytest.approx(LEVELS * index, abs=3)


def test_a_video_begins_again_as_another_episode(
    video: Path, grpc_target: str, core: ScriptedCore
) -> None:
    options = ("--source", str(video), "--server", grpc_target, "--rate", "30", "--loop")
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLE), "--task", TASK, *options],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        while core.count("OpenEpisodes") < 2:
            assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert output.endswith("stopped\n")
    assert core.episodes == {}


def test_a_server_that_is_away_is_told_and_the_video_goes_on(video: Path) -> None:
    options = ("--rate", "30", "--max-age", "0.5", "--server", "127.0.0.1:9")
    done = run("--source", str(video), *options)
    assert done.returncode == 0, done.stderr
    _, first, *_, last = done.stdout.splitlines()
    assert first.startswith("no episode yet: ")
    assert last.split()[:3] == ["45", "-", "-"]
    # Whether an attempt fails at once or at its deadline is the network's.
    assert re.search("unavailable|deadline_exceeded", last)


def test_a_source_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    done = run("--source", str(tmp_path / "missing.mp4"))
    assert done.returncode == 1
    assert "missing.mp4 cannot be opened" in done.stderr
