"""A server as it is run: its own process, its own engine; stopped, crashed, told nonsense."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from PIL import Image

from lrm_client import LrmError, Retry, RewardClient, Unavailable
from lrm_server.commands.process import LocalServer, local_server
from tests.rollout_frames import episodes

ROOT = Path(__file__).resolve().parents[2]
PATHS = os.pathsep.join([str(ROOT / "server"), str(ROOT / "client"), str(ROOT)])
ENVIRONMENT = {**os.environ, "PYTHONPATH": PATHS}
PATIENCE_S = 180.0


@pytest.fixture(scope="module")
def process() -> Iterator[LocalServer]:
    with local_server(["--enforce-eager"], ENVIRONMENT) as server:
        # It listens long before it is ready, and says so.
        early = wait_for(lambda: answer(server, "/healthz"))
        assert early.status_code == 200
        assert answer(server, "/readyz").status_code == 503
        server.wait_until_ready(PATIENCE_S)
        yield server


def answer(server: LocalServer, path: str) -> httpx.Response:
    return httpx.get(f"{server.http}{path}", timeout=10, trust_env=False)


def wait_for(ask: Callable[[], httpx.Response], wanted: int = 200) -> httpx.Response:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            found = ask()
            if found.status_code == wanted:
                return found
        except httpx.TransportError:
            pass
        if time.monotonic() > deadline:
            pytest.fail(f"no {wanted} within {PATIENCE_S:.0f} s")
        time.sleep(0.1)


def progress(server: LocalServer, **options: object) -> float:
    rollout = episodes()[0]
    with RewardClient(f"grpc://{server.grpc}", timeout=60, **options) as client:
        return client.progress(rollout.jpeg(6), rollout.task).value


def engine_core(server: LocalServer) -> psutil.Process:
    (core,) = (
        child
        for child in psutil.Process(server.pid).children(recursive=True)
        if "EngineCore" in child.name()
    )
    return core


def test_an_engine_that_does_not_answer_is_not_ready(process: LocalServer) -> None:
    core = engine_core(process)
    core.suspend()
    try:
        wait_for(lambda: answer(process, "/readyz"), 503)
    finally:
        core.resume()
    wait_for(lambda: answer(process, "/readyz"))


def test_a_dead_engine_is_unavailable_and_started_again(process: LocalServer) -> None:
    before = progress(process)
    engine_core(process).kill()
    wait_for(lambda: answer(process, "/readyz"), 503)
    with pytest.raises(Unavailable):
        progress(process, retry=Retry(attempts=1))
    wait_for(lambda: answer(process, "/readyz"))
    assert progress(process) == before


def test_sigterm_finishes_what_is_in_flight_and_exits_with_zero(process: LocalServer) -> None:
    rollout = episodes()[0]
    found: list[object] = []

    def ask() -> None:
        try:
            with RewardClient(f"grpc://{process.grpc}", timeout=60) as client:
                # Reasoning takes long enough to be under way when the signal comes.
                reply = client.contrastive(
                    rollout.jpeg(2), rollout.jpeg(9), rollout.task, readout="reason_then_read"
                )
                found.append(reply.label)
        except LrmError as error:
            found.append(error)

    asking = [threading.Thread(target=ask) for _ in range(4)]
    for thread in asking:
        thread.start()
    time.sleep(0.3)
    process.stop()
    for thread in asking:
        thread.join()
    assert found == ["current"] * 4
    with pytest.raises(psutil.NoSuchProcess):
        psutil.Process(process.pid)


def test_the_demo_shows_rewards_that_rise_on_successes(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lrm_server.main", "demo"],
        env=ENVIRONMENT,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    text = " ".join(done.stdout.split())
    assert "Progress rises on successes" in text
    means = re.search(r"successes \(to ([\d.]+) on average\) and ends at ([\d.]+) on", text)
    assert means is not None, text
    assert float(means[1]) > float(means[2]) + 0.1
    assert Image.open(tmp_path / "lrm-demo.png").size[0] > 1000


def test_sigterm_while_the_checkpoint_loads_does_not_wait_for_it() -> None:
    with local_server(["--enforce-eager"], ENVIRONMENT) as server:
        wait_for(lambda: answer(server, "/healthz"))
        wait_for(lambda: answer(server, "/readyz"), 503)
        # Long enough for the engine's own process to be on its way.
        time.sleep(8)
        started = psutil.Process(server.pid).children(recursive=True)
        server.stop(20)
    assert psutil.wait_procs(started, timeout=20)[1] == []


def test_a_checkpoint_that_does_not_exist_is_one_clear_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "lrm_server.main", "serve", "--http-port=0", "--grpc-port=0"),
            *("--model", str(tmp_path / "nowhere")),
        ],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 1
    assert "there is no folder" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
