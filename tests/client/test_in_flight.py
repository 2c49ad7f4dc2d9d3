"""What is submitted and not answered is bounded: a slow server slows the rollout."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest

from lrm_client import LrmError, RewardClient, Rewards, StepHandle, VectorEpisodes
from lrm_client.in_flight import Bounds, InFlight, Load
from tests.client.direct import DirectClient
from tests.client.gate import Gate
from tests.client.scripted import Asked, ScriptedCore, ScriptedError, problem

TASK = "put the cube on the plate"
N = 3
FRAMES = np.stack([np.full((4, 5, 3), at, np.uint8) for at in range(N)])
DOWN = ScriptedError(grpc.StatusCode.INTERNAL, problem("internal", "engine lost"))
QUIET_S = 0.1
"""How long a producer that waits is watched for going on."""


def opened(core: ScriptedCore, **options: Any) -> VectorEpisodes:
    core.answer = by_step
    options = {"interval": 1, **options}
    episodes = VectorEpisodes(DirectClient(core), N, TASK, ["progress"], **options)
    episodes.reset(FRAMES)
    return episodes


def by_step(asked: Asked) -> float:
    return asked.step / 100


class Producer:
    """Submits steps from a thread of its own."""

    def __init__(self, count: int, submit: Callable[[], StepHandle]) -> None:
        self.handles: list[StepHandle] = []
        self._thread = threading.Thread(target=self._run, args=(count, submit), daemon=True)
        self._thread.start()

    def _run(self, count: int, submit: Callable[[], StepHandle]) -> None:
        for _ in range(count):
            self.handles.append(submit())

    def stops_at(self, count: int) -> bool:
        """Whether it comes to so many steps and no further."""
        deadline = time.monotonic() + 20
        while len(self.handles) < count and time.monotonic() < deadline:
            time.sleep(0.001)
        self._thread.join(QUIET_S)
        return self._thread.is_alive() and len(self.handles) == count

    def finished(self) -> list[StepHandle]:
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self.handles


@pytest.mark.parametrize(
    ("bound", "before"),
    [
        ({"max_in_flight_queries": 2 * N}, 2),
        ({"max_in_flight_queries": 3 * N - 1}, 2),
        ({"max_in_flight_bytes": 4 * FRAMES.nbytes}, 4),
        ({"max_in_flight_steps": 5}, 5),
        ({"max_in_flight_queries": 1}, 1),
        ({"max_in_flight_bytes": 1}, 1),
    ],
    ids=str,
)
def test_a_server_that_hangs_stops_the_rollout_at_the_bound(
    core: ScriptedCore, gate: Gate, bound: dict[str, int], before: int
) -> None:
    episodes = opened(core, **bound)
    producer = Producer(8, lambda: episodes.submit(FRAMES))
    assert producer.stops_at(before)
    gate.open()
    gathered = episodes.gather(producer.finished())
    assert gathered.source.tolist() == [["queried"] * N] * 8
    assert gathered.rewards[:, 0] == pytest.approx([step / 100 for step in range(1, 9)])
    assert gathered.step[:, 0].tolist() == list(range(1, 9))


def test_every_head_is_a_query(core: ScriptedCore, gate: Gate) -> None:
    core.answer = by_step
    heads = ["progress", "completion"]
    episodes = VectorEpisodes(
        DirectClient(core), N, TASK, heads, interval=1, max_in_flight_queries=2 * N
    )
    episodes.reset(FRAMES)
    producer = Producer(3, lambda: episodes.submit(FRAMES))
    assert producer.stops_at(1)
    gate.open()
    assert episodes.gather(producer.finished()).valid.all()


def test_steps_that_ask_nothing_pass_where_queries_and_bytes_have_no_room(
    core: ScriptedCore, gate: Gate
) -> None:
    episodes = opened(core, interval=4, max_in_flight_queries=1, max_in_flight_bytes=1)
    producer = Producer(12, lambda: episodes.submit(FRAMES))
    assert producer.stops_at(7)
    gate.open()
    words = episodes.gather(producer.finished()).source[:, 0].tolist()
    assert words == ["neutral"] * 3 + (["queried"] + ["held"] * 3) * 2 + ["queried"]


def test_steps_that_ask_nothing_are_bounded_as_well(core: ScriptedCore, gate: Gate) -> None:
    episodes = opened(core, interval=1000, max_in_flight_steps=6)
    episodes.submit(FRAMES, force=[True] * N)
    producer = Producer(9, episodes.submit)
    assert producer.stops_at(5)
    gate.open()
    assert episodes.gather(producer.finished()).source.tolist() == [["held"] * N] * 9


def test_the_initial_frames_of_resets_behind_pending_steps_count(
    core: ScriptedCore, gate: Gate
) -> None:
    episodes = opened(core, max_in_flight_bytes=3 * FRAMES.nbytes)
    ends = [True] * N

    def one_step_episode() -> StepHandle:
        handle = episodes.submit(FRAMES, final=ends)
        episodes.reset(FRAMES)
        return handle

    producer = Producer(4, one_step_episode)
    # A step, a reset, a step: the second reset waits.
    assert producer.stops_at(1)
    gate.open()
    gathered = episodes.gather(producer.finished())
    assert gathered.source.tolist() == [["queried"] * N] * 4
    assert gathered.step.tolist() == [[1] * N] * 4


def test_a_step_that_failed_gives_its_room_back(core: ScriptedCore) -> None:
    episodes = opened(core, failure="mask", max_in_flight_queries=N)
    core.fail_next("StepEpisodes", *[DOWN] * 5)
    handles = [episodes.submit(FRAMES) for _ in range(7)]
    assert episodes.gather(handles).valid[:, 0].tolist() == [False] * 5 + [True] * 2


def test_the_error_of_a_call_keeps_nothing_of_what_the_call_sent(
    client: RewardClient, core: ScriptedCore
) -> None:
    handle, count = core.handle, 24

    def refuse_steps(method: str, request: Any) -> Any:
        if method == "StepEpisodes" and request.steps[0].step:
            raise DOWN
        return handle(method, request)

    frames = np.zeros((N, 256, 256, 3), np.uint8)
    episodes = client.vector_episodes(N, TASK, ["progress"], interval=1, failure="mask")
    episodes.reset(frames)
    core.handle = refuse_steps  # type: ignore[method-assign]
    tracemalloc.start()
    try:
        gathered = episodes.gather([episodes.submit(frames) for _ in range(count)])
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert {error.code for row in gathered.steps for error in errors_of(row)} == {"internal"}
    # Two doubtful steps are kept to be asked for again; the rest is room for all else.
    assert kept < 8 * frames.nbytes < count * frames.nbytes / 2


def errors_of(row: Rewards) -> list[LrmError]:
    return list(row.heads["progress"].errors.values())


@pytest.mark.parametrize("name", ["queries", "bytes", "steps"])
@pytest.mark.parametrize(
    ("value", "error"),
    [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError), ("8", TypeError)],
)
def test_bounds_that_mean_nothing_are_refused(
    core: ScriptedCore, name: str, value: object, error: type[Exception]
) -> None:
    with pytest.raises(error, match=f"max_in_flight_{name} must be"):
        VectorEpisodes(
            DirectClient(core), N, TASK, ["progress"], **{f"max_in_flight_{name}": value}
        )


def test_room_is_counted_by_kind() -> None:
    pending = InFlight(Bounds(queries=4, bytes=100, steps=2))
    assert pending.has_room(Load(queries=9, bytes=900))
    pending.enter(Load(queries=2, bytes=100))
    assert pending.has_room(Load(queries=0, bytes=0))
    assert not pending.has_room(Load(queries=2, bytes=1))
    assert not pending.has_room(Load(queries=3, bytes=0))
    pending.enter(Load(queries=2, bytes=0))
    assert not pending.has_room(Load(queries=0, bytes=0))
    pending.leave(Load(queries=2, bytes=100))
    assert pending.has_room(Load(queries=2, bytes=900))
