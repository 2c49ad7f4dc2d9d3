"""A robot's rewards while its server hangs, is away, or starts again."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import grpc
import pytest

from lrm_client import (
    DeadlineExceeded,
    EpisodeNotFound,
    InvalidRequest,
    Overloaded,
    Retry,
    RewardClient,
    Unavailable,
    UnknownHead,
    attempts,
)
from lrm_client.newest import Newest
from lrm_client.readings import NoReward
from lrm_client.robot_session import RobotSession
from tests.client.robot_rig import (
    PATIENCE,
    Hanging,
    Impatient,
    by_frame,
    frame,
    sent_steps,
    session_of,
    settled,
)
from tests.client.scripted import ScriptedCore, ScriptedError, problem
from tests.client.scripted_grpc import serve_grpc

SOON = 0.05
"""A deadline that passes while a call is held back."""


def test_a_call_has_a_deadline_and_its_passing_is_a_reason(
    client: RewardClient, hanging: Hanging
) -> None:
    impatient = Impatient(client)
    with session_of(impatient) as session:
        session.reset(frame(0))
        call = hanging.hold()
        impatient.timeout = SOON
        session.observe(frame(1))
        reading = settled(session)
        assert not call.answered.is_set()
        assert (reading.fresh, reading.reason) == (False, NoReward.UNAVAILABLE)
        assert isinstance(reading.error, DeadlineExceeded)
        assert session.counters.failed == 1
        call.answer()


def test_an_answer_that_came_too_late_is_never_taken_for_another_ticks(
    client: RewardClient, core: ScriptedCore
) -> None:
    core.answer = by_frame

    def too_late() -> None:
        late = problem("deadline_exceeded", "no answer in time")
        raise ScriptedError(grpc.StatusCode.DEADLINE_EXCEEDED, late)

    with session_of(client) as session:
        session.reset(frame(0))
        core.fail_next("StepEpisodes", too_late)
        session.observe(frame(11))
        reading = settled(session)
        assert (reading.step, reading.reason) == (None, NoReward.UNAVAILABLE)
        session.observe(frame(22))
        reading = settled(session)
    assert (reading.step, reading.reward, reading.error) == (2, 0.22, None)
    # The server took step 1 as well, and was not asked about it twice.
    assert [asked.step for asked in core.asked] == [1, 2]


def test_a_server_that_is_killed_and_started_again_gives_fresh_rewards_again() -> None:
    first = ScriptedCore()
    first.answer = by_frame
    with ExitStack() as stack:
        server = stack.enter_context(ExitStack())
        target = server.enter_context(serve_grpc(first))
        quick = Retry(attempts=1, initial_seconds=0.01, maximum_seconds=0.02)
        client = stack.enter_context(RewardClient(target, retry=quick))
        session = stack.enter_context(session_of(client, ("contrastive",), max_age_s=PATIENCE))
        session.reset(frame(0))
        session.observe(frame(11))
        assert settled(session).fresh
        server.close()
        session.observe(frame(12))
        reading = settled(session)
        # The reward before the outage is still young enough, and named by its step.
        assert (reading.fresh, reading.step, reading.reward) == (True, 1, 0.11)
        assert isinstance(reading.error, Unavailable)
        second = ScriptedCore()
        second.answer = by_frame
        stack.enter_context(serve_grpc(second, int(target.rpartition(":")[2])))
        while (reading := session.observe(frame(33))).error is not None:
            settled(session)
        reading = settled(session)
        assert (reading.fresh, reading.reward) == (True, 0.33)
        # Opened again with the initial frame and the last that the old server answered, so
        # that the new one compares with what the old one would have.
        assert sent_steps(second)[1:3] == [0, 1]
        assert second.asked[0].frame[0] == 11


def test_without_a_server_the_loop_goes_on_and_readings_say_why() -> None:
    with serve_grpc(ScriptedCore()) as target:
        pass
    with (
        RewardClient(target, retry=Retry(attempts=1)) as client,
        session_of(client) as session,
    ):
        session.reset(frame(0), wait_s=0)
        while (reading := session.observe(frame(1))).reason is not NoReward.UNAVAILABLE:
            session.latest(wait_s=0.01)
        assert isinstance(reading.error, Unavailable)
        assert reading.explanation.startswith("unavailable: ")


def test_an_episode_that_the_server_lost_is_opened_again(
    client: RewardClient, core: ScriptedCore
) -> None:
    core.answer = by_frame
    with session_of(client) as session:
        session.reset(frame(0))
        session.observe(frame(11))
        settled(session)
        core.lose_episodes()
        session.observe(frame(22))
        reading = settled(session)
        assert (reading.step, reading.reward, reading.error) == (2, 0.22, None)
        assert len(core.episodes) == 1


def test_an_episode_that_could_not_be_opened_is_tried_again_until_it_is(
    client: RewardClient, core: ScriptedCore
) -> None:
    core.answer = by_frame
    down = ScriptedError(grpc.StatusCode.INTERNAL, problem("internal", "engine lost"))
    core.fail_next("OpenEpisodes", down, down)
    core.fail_next("ListModels", down, down)
    with session_of(client) as session:
        session.reset(frame(0))
        # One attempt to open, two questions whether the server is back, two more attempts.
        assert (core.count("OpenEpisodes"), core.count("ListModels")) == (3, 4)
        reading = session.observe()
        assert (reading.reason, reading.error) == (NoReward.NOT_ANSWERED, None)
        session.observe(frame(11))
        assert settled(session).reward == 0.11


def test_a_reset_whose_time_is_over_says_why_and_the_session_goes_on(
    client: RewardClient, hanging: Hanging
) -> None:
    call = hanging.hold("OpenEpisodes")
    with session_of(client) as session:
        with pytest.raises(DeadlineExceeded, match=r"not open after 0\.05 s"):
            session.reset(frame(0), wait_s=SOON)
        session.observe(frame(11))
        call.answer()
        assert settled(session).reward == 0.11


def test_a_reset_does_not_wait_for_what_will_not_pass(client: RewardClient) -> None:
    with session_of(client, ("dexterity",)) as session, pytest.raises(UnknownHead):
        session.reset(frame(0), wait_s=PATIENCE)
    with session_of(client) as session, pytest.raises(InvalidRequest, match="uint8"):
        session.reset(frame(0).astype(float), wait_s=PATIENCE)


def test_a_new_episode_does_not_wait_for_the_end_of_a_pause(
    client: RewardClient, core: ScriptedCore
) -> None:
    core.answer = by_frame
    hour = problem("overloaded", retry_after_seconds=3600.0)
    refusal = ScriptedError(grpc.StatusCode.RESOURCE_EXHAUSTED, hour)
    with session_of(client) as session:
        session.reset(frame(0))
        core.fail_next("StepEpisodes", refusal)
        session.observe(frame(1))
        reading = settled(session)
        assert reading.reason is NoReward.UNAVAILABLE
        assert isinstance(reading.error, Overloaded)
        session.observe(frame(2))
        session.reset(frame(0), wait_s=PATIENCE)
        session.observe(frame(11))
        assert settled(session).reward == 0.11
    assert sent_steps(core) == [0, 1, 0, 1]


def test_a_server_that_asks_for_time_gets_it(
    client: RewardClient, core: ScriptedCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(Newest, "pause", lambda self, seconds, episode: pauses.append(seconds))
    busy = problem("overloaded", retry_after_seconds=3600.0)
    with session_of(client) as session:
        session.reset(frame(0))
        core.fail_next("StepEpisodes", ScriptedError(grpc.StatusCode.RESOURCE_EXHAUSTED, busy))
        session.observe(frame(1))
        settled(session)
    (pause,) = pauses
    assert pause > 3600


def test_what_is_wrong_with_one_frame_delays_no_other(
    client: RewardClient, core: ScriptedCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(Newest, "pause", lambda self, seconds, episode: pauses.append(seconds))
    with session_of(client) as session:
        session.reset(frame(0))
        session.observe(frame(1).astype(float))
        settled(session)
        core.answer = lambda asked: problem("label_mass_low")
        session.observe(frame(2))
        settled(session)
        assert session.counters.failed == 2
    assert pauses == []


def test_waits_grow_to_their_bound_and_are_drawn_at_random(
    grpc_client: RewardClient, core: ScriptedCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounds: list[float] = []

    def drawn(low: float, high: float) -> float:
        bounds.append(high)
        return low

    monkeypatch.setattr(attempts.random, "uniform", drawn)
    down = ScriptedError(grpc.StatusCode.INTERNAL, problem("internal", "engine lost"))
    backoff = Retry(initial_seconds=1.0, maximum_seconds=3.0)
    with session_of(grpc_client, backoff=backoff) as session:
        session.reset(frame(0))
        core.fail_next("StepEpisodes", *[down] * 4)
        for _ in range(5):
            session.observe(frame(1))
            settled(session)
        core.fail_next("StepEpisodes", down)
        session.observe(frame(1))
        settled(session)
    assert bounds == [1.0, 2.0, 3.0, 3.0, 1.0]


def test_closing_ends_although_the_server_hangs(client: RewardClient, hanging: Hanging) -> None:
    impatient = Impatient(client)
    session = session_of(impatient)
    session.reset(frame(0))
    step, close = hanging.hold(), hanging.hold("CloseEpisodes")
    impatient.timeout = SOON
    session.observe(frame(1))
    while session.counters.sent == 0:
        session.latest(wait_s=0.001)
    session.close()
    assert not step.answered.is_set()
    assert not close.answered.is_set()
    assert "lrm-robot-session" not in [thread.name for thread in threading.enumerate()]


def test_closing_makes_no_new_calls_but_the_one_that_closes(
    client: RewardClient, core: ScriptedCore, hanging: Hanging
) -> None:
    call = hanging.hold("OpenEpisodes")
    session = session_of(client)
    session.reset(frame(0), wait_s=0)
    call.wait_arrived()
    closing = threading.Thread(target=session.close)
    closing.start()
    with pytest.raises(EpisodeNotFound, match="closed"):
        observe_for_ever(session)
    call.answer()
    closing.join()
    assert core.count("StepEpisodes") == 0
    assert core.episodes == {}


def observe_for_ever(session: RobotSession) -> None:
    while True:
        session.observe()


def test_closing_does_not_wait_for_a_call_that_outlasts_its_deadline(
    grpc_client: RewardClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    under_way, released = threading.Event(), threading.Event()

    def send(call: object) -> None:
        under_way.set()
        released.wait(PATIENCE)

    monkeypatch.setattr(grpc_client, "send", send)
    session = session_of(grpc_client, timeout_s=SOON)
    session.reset(frame(0), wait_s=0)
    try:
        # A frame that was not sent yet would be dropped.
        assert under_way.wait(PATIENCE)
        session.close()
        assert "outlasts its deadline" in caplog.text
    finally:
        released.set()
