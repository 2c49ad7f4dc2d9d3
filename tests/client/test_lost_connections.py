"""The connection dies while submitted steps are pending."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Event, Lock
from typing import Any

import numpy as np
import pytest

from lrm_client import LrmError, RewardClient, StepHandle, VectorEpisodes
from tests.client.conftest import QUICK
from tests.client.relay import Relay, relayed
from tests.client.scripted import Asked, ScriptedCore

TASK = "put the cube on the plate"
N = 3
STEPS = 6
LOST_AT = 3


def frames(step: int) -> np.ndarray:
    """Frames that tell their environment and their step."""
    return np.stack([np.full((4, 5, 3), 16 * step + at, np.uint8) for at in range(N)])


def value(step: int, environment: int) -> float:
    return (16 * step + environment) / 256


EXPECTED = np.array([[value(step, at) for at in range(N)] for step in range(1, STEPS + 1)])


def by_frame(asked: Asked) -> float:
    return asked.frame[0] / 256


@pytest.fixture
def relay(target: str) -> Iterator[Relay]:
    with relayed(int(target.rpartition(":")[2])) as made:
        yield made


@pytest.fixture
def distant(target: str, relay: Relay) -> Iterator[RewardClient]:
    """A client that reaches the server through the relay alone."""
    scheme = "http://" if target.startswith("http") else ""
    with RewardClient(f"{scheme}127.0.0.1:{relay.port}", retry=QUICK, timeout=10.0) as client:
        yield client


class Accident:
    """What happens once the server has taken a step, before its answer leaves."""

    def __init__(self, core: ScriptedCore, happens: Callable[[], None]) -> None:
        self._handle, core.handle = core.handle, self._pass
        self._happens = happens
        # The answers to environments that are asked one by one do not cross it.
        self._lock = Lock()
        self._waiting = True
        self._submitted = Event()

    def come(self) -> None:
        """Lets it happen from now on."""
        self._submitted.set()

    def _pass(self, method: str, request: Any) -> Any:
        with self._lock:
            response = self._handle(method, request)
            reached = method == "StepEpisodes" and request.steps[-1].step == LOST_AT
            if reached and self._waiting:
                self._waiting = False
                assert self._submitted.wait(20)
                self._happens()
            return response


def opened(client: RewardClient, core: ScriptedCore, **options: Any) -> VectorEpisodes:
    core.answer = by_frame
    episodes = client.vector_episodes(N, TASK, ["progress"], **{"interval": 1, **options})
    episodes.reset(frames(0))
    return episodes


def submitted(episodes: VectorEpisodes, accident: Accident) -> list[StepHandle]:
    """All steps, of which most are pending when the accident happens."""
    handles = [episodes.submit(frames(step)) for step in range(1, STEPS + 1)]
    accident.come()
    return handles


def steps_asked(core: ScriptedCore, episode: str) -> list[int]:
    return [asked.step for asked in core.asked if asked.episode == episode]


def test_a_connection_that_broke_is_made_again_and_nothing_is_asked_twice(
    distant: RewardClient, core: ScriptedCore, relay: Relay
) -> None:
    episodes = opened(distant, core)
    gathered = episodes.gather(submitted(episodes, Accident(core, relay.cut)))
    assert gathered.rewards == pytest.approx(EXPECTED)
    assert (gathered.source == "queried").all()
    for episode in episodes.episode_ids:
        assert steps_asked(core, episode) == list(range(1, STEPS + 1))


def test_a_server_that_also_forgot_the_episodes_gets_them_from_the_client(
    distant: RewardClient, core: ScriptedCore, relay: Relay
) -> None:
    def restart() -> None:
        core.lose_episodes()
        relay.cut()

    episodes = opened(distant, core)
    gathered = episodes.gather(submitted(episodes, Accident(core, restart)))
    assert gathered.rewards == pytest.approx(EXPECTED)
    assert (gathered.source == "queried").all()
    assert gathered.step[:, 0].tolist() == list(range(1, STEPS + 1))
    for at, episode in enumerate(episodes.episode_ids):
        own = [asked for asked in core.asked if asked.episode == episode]
        assert all(asked.frame == frames(asked.step)[at].tobytes() for asked in own)
        steps = [asked.step for asked in own]
        assert list(dict.fromkeys(steps)) == list(range(1, STEPS + 1))
        # Of the steps before, the last alone is asked again: it is what is compared with.
        again = {step for step in steps if steps.count(step) > 1}
        assert LOST_AT - 1 in again
        assert again <= {LOST_AT - 1, LOST_AT}


@pytest.mark.parametrize("forgets", [False, True], ids=["keeps", "forgets"])
def test_while_the_server_is_away_steps_fail_and_afterwards_the_rollout_goes_on(
    distant: RewardClient, core: ScriptedCore, relay: Relay, forgets: bool
) -> None:
    episodes = opened(distant, core, failure="mask")
    handles = submitted(episodes, Accident(core, relay.go_down))
    away = episodes.gather(handles)
    assert away.valid.tolist() == [[step < LOST_AT] * N for step in range(1, STEPS + 1)]
    assert np.isnan(away.rewards[LOST_AT - 1 :]).all()
    if forgets:
        core.lose_episodes()
    relay.come_back()
    wait_for(distant)
    later = range(STEPS + 1, STEPS + 4)
    handles += [episodes.submit(frames(step)) for step in later]
    gathered = episodes.gather(handles)
    valid = [step < LOST_AT or step > STEPS for step in range(1, STEPS + 4)]
    assert gathered.valid.tolist() == [[each] * N for each in valid]
    for at in range(N):
        expected = [value(step, at) for step in (*range(1, LOST_AT), *later)]
        assert gathered.rewards[valid, at] == pytest.approx(expected)
    assert gathered.step[:, 0].tolist() == list(range(1, STEPS + 4))


def test_held_steps_behind_a_query_that_was_lost_have_no_reward_either(
    distant: RewardClient, core: ScriptedCore, relay: Relay
) -> None:
    episodes = opened(distant, core, interval=LOST_AT, failure="hold")
    handles = submitted(episodes, Accident(core, relay.go_down))
    gathered = episodes.gather(handles)
    words = ["neutral"] * (LOST_AT - 1) + ["failed"] * (STEPS - LOST_AT + 1)
    assert gathered.source.tolist() == [[word] * N for word in words]
    assert gathered.valid.tolist() == [[word != "failed"] * N for word in words]
    assert (gathered.rewards == 0.0).all()


def wait_for(client: RewardClient) -> None:
    """Until the server can be reached again."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with suppress(LrmError):
            client.models()
            return
        time.sleep(0.01)
    pytest.fail("the server did not come back")
