"""A robot session on a real server: its rewards, a kill and a restart, and the camera example."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lrm_client import Retry, RewardClient
from lrm_client.readings import NoReward, Reading
from lrm_client.robot_session import RobotSession
from tests.conftest import LiveServer
from tests.live.restarting import restarting_server
from tests.rollout_frames import episodes

EXAMPLE = Path(__file__).parents[2] / "client" / "examples" / "robot_camera.py"
ROLLOUT = next(e for e in episodes() if e.env_id == "PushCube-v1" and e.success)
LAST = len(ROLLOUT.frames) - 1
SERVERS = {
    "scripted": ["tests.live.scripted_server"],
    "embedded": ["lrm_server.main", "serve", "--enforce-eager"],
}
PATIENCE_S = 240.0
RATE_HZ = 10.0


@pytest.fixture(params=["grpc", "http"])
def client(request: pytest.FixtureRequest, live_server: LiveServer) -> Iterator[RewardClient]:
    target = live_server.http if request.param == "http" else f"grpc://{live_server.grpc}"
    with RewardClient(target) as made:
        yield made


def pixels(step: int) -> np.ndarray:
    with Image.open(io.BytesIO(ROLLOUT.jpeg(step))) as image:
        return np.asarray(image.convert("RGB"))


def test_a_reading_is_the_reward_of_its_own_step(client: RewardClient) -> None:
    """Whichever ticks were sent: the answer is that of the frame that the reading names."""
    with client.robot_session(
        ROLLOUT.task, ["progress"], rate_hz=RATE_HZ, max_age_s=PATIENCE_S
    ) as session:
        session.reset(pixels(0), wait_s=PATIENCE_S)
        readings = [session.observe(pixels(step)) for step in range(1, LAST)]
        session.observe(pixels(LAST), final=True)
        readings.append(session.latest(wait_s=PATIENCE_S))
        counters = session.counters
    assert readings[-1].step == LAST
    assert readings[-1].reward >= 0.8
    assert counters.failed == 0
    assert counters.sent + counters.dropped == LAST
    for reading in readings:
        if reading.fresh and reading.step is not None:
            asked = client.progress(pixels(reading.step), ROLLOUT.task, initial=pixels(0))
            assert reading.reply is not None
            assert reading.reply.probabilities == pytest.approx(asked.probabilities, abs=0.05)


def observe_until(session: RobotSession, wanted: bool) -> Reading:
    """Goes on at the session's rate until readings have rewards, or have none."""
    deadline = time.monotonic() + PATIENCE_S
    step = 0
    while (reading := session.observe(pixels(step % (LAST + 1)))).fresh != wanted:
        assert time.monotonic() < deadline, reading.explanation
        step += 1
        session.rate.sleep()
    return reading


@pytest.mark.parametrize("kind", SERVERS)
def test_a_robot_goes_on_through_a_hang_a_kill_and_a_restart(kind: str, tmp_path: Path) -> None:
    with (
        restarting_server(SERVERS[kind], tmp_path) as server,
        RewardClient(server.grpc, retry=Retry(attempts=1)) as client,
        client.robot_session(
            ROLLOUT.task, ["progress", "contrastive"], rate_hz=RATE_HZ, max_age_s=2.0
        ) as session,
    ):
        # The server is not up yet, and no one waits for it.
        session.reset(pixels(0), wait_s=0)
        assert session.observe(pixels(1)).step is None
        first = observe_until(session, True)
        server.freeze()
        hung = observe_until(session, False)
        assert hung.reason in (NoReward.UNAVAILABLE, NoReward.TOO_OLD)
        assert hung.step is not None
        server.kill()
        server.start()
        again = observe_until(session, True)
        assert again.step is not None
        assert first.step is not None
        assert again.step > hung.step >= first.step
        assert set(again.heads) == {"progress", "contrastive"}
        assert session.counters.failed > 0


def test_the_camera_example_reads_a_rollout(live_server: LiveServer, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2", reason="opencv-python is not installed")
    video = tmp_path / "rollout.avi"
    height, width = pixels(0).shape[:2]
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), RATE_HZ, (width, height))
    for step in range(LAST + 1):
        writer.write(cv2.cvtColor(pixels(step), cv2.COLOR_RGB2BGR))
    writer.release()
    options = ["--source", str(video), "--server", live_server.grpc, "--rate", str(RATE_HZ)]
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), "--task", ROLLOUT.task, *options, "--max-age", "60"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    tick, reward, step, *_ = done.stdout.splitlines()[-1].split()
    assert int(tick) == int(step) == LAST + 1
    assert float(reward) >= 0.8
