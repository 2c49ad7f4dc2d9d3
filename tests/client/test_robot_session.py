"""A robot's rewards: what a reading tells, and what it refuses to tell."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from lrm_client import (
    EpisodeNotFound,
    ModelError,
    RewardClient,
    Source,
)
from lrm_client.readings import NoReward
from lrm_client.robot_session import RobotSession
from lrm_client.wire import reward_pb2 as pb
from tests.client.robot_rig import (
    PATIENCE,
    TASK,
    Hanging,
    SetClock,
    by_frame,
    frame,
    session_of,
    settled,
)
from tests.client.scripted import Asked, ScriptedCore, problem


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def session(client: RewardClient, hanging: Hanging, clock: SetClock) -> Iterator[RobotSession]:
    """Every sent frame is a query."""
    with session_of(client, clock=clock) as made:
        made.reset(frame(0))
        yield made
        hanging.answer_all()


def test_a_reading_names_its_step_its_ages_and_the_reply(
    session: RobotSession, clock: SetClock
) -> None:
    session.observe(frame(11))
    settled(session)
    clock.now += 0.5
    reading = session.observe()
    assert (reading.tick, reading.step, reading.age_ticks) == (2, 1, 1)
    assert (reading.reward, reading.fresh, reading.age_s) == (0.11, True, 0.5)
    assert (reading.reason, reading.error, reading.explanation) == (None, None, "")
    assert reading.reply is not None
    assert reading.reply.label == "yes"
    assert reading.reply.probabilities == {"no": 0.25, "yes": 0.75}


def test_a_reward_is_queried_in_its_first_reading_and_held_in_later_ones(
    session: RobotSession,
) -> None:
    sources = [session.observe(frame(1)).source, settled(session).source]
    sources += [session.observe().source, session.observe().source]
    session.observe(frame(2))
    sources += [settled(session).source, session.observe().source]
    queried, held = Source.QUERIED, Source.HELD
    assert sources == [None, queried, held, held, queried, held]
    session.reset(frame(0))
    session.observe(frame(1))
    settled(session)
    session.reset(frame(0))
    session.observe(frame(1))
    assert settled(session).source is Source.QUERIED


def test_observing_goes_on_while_the_server_hangs(session: RobotSession, hanging: Hanging) -> None:
    call = hanging.hold()
    session.observe(frame(1))
    call.wait_arrived()
    readings = [session.observe(frame(at)) for at in range(2, 50)]
    assert not call.answered.is_set()
    assert {reading.reason for reading in readings} == {NoReward.NOT_ANSWERED}
    assert all(math.isnan(reading.reward) and not reading.fresh for reading in readings)
    assert readings[-1].explanation == "no step was answered yet"


def test_the_answer_to_a_frame_is_never_named_as_that_of_a_newer_one(
    session: RobotSession, hanging: Hanging, clock: SetClock
) -> None:
    first, second = hanging.hold(), hanging.hold()
    session.observe(frame(11))
    first.wait_arrived()
    clock.now += 0.25
    session.observe(frame(22))
    first.answer()
    second.wait_arrived()
    reading = session.observe()
    assert (reading.step, reading.reward, reading.age_s) == (1, 0.11, 0.25)
    second.answer()
    reading = settled(session)
    assert (reading.step, reading.reward, reading.age_s) == (2, 0.22, 0.0)


def test_a_reward_older_than_the_limit_is_refused(session: RobotSession, clock: SetClock) -> None:
    session.observe(frame(11))
    settled(session)
    clock.now += 5.0
    assert session.observe().fresh
    clock.now += 0.001
    reading = session.observe()
    assert (reading.fresh, reading.reason, reading.source) == (False, NoReward.TOO_OLD, None)
    assert math.isnan(reading.reward)
    assert reading.reply is None
    assert (reading.step, reading.age_ticks) == (1, 2)
    assert reading.age_s == pytest.approx(5.001)
    assert reading.explanation == (
        "no newer step was answered yet; the reward of step 1 is 5.00 s old, and the limit is 5 s"
    )


def test_an_answer_that_comes_after_the_limit_is_refused(
    session: RobotSession, hanging: Hanging, clock: SetClock
) -> None:
    call = hanging.hold()
    session.observe(frame(11))
    call.wait_arrived()
    clock.now += 6.0
    call.answer()
    reading = settled(session)
    assert (reading.fresh, reading.reason, reading.step) == (False, NoReward.TOO_OLD, 1)


def test_a_query_that_failed_is_no_reward_and_the_next_tick_is_due(
    client: RewardClient, core: ScriptedCore, clock: SetClock
) -> None:
    with session_of(client, interval=3, clock=clock) as session:
        session.reset(frame(0))
        core.answer = lambda asked: problem("label_mass_low", "not an answer")
        for tick in range(1, 4):
            session.observe(frame(tick))
        reading = settled(session)
        assert (reading.fresh, reading.reason, reading.step) == (False, NoReward.FAILED, None)
        assert isinstance(reading.error, ModelError)
        assert "label_mass_low" in reading.explanation
        core.answer = by_frame
        session.observe(frame(4))
        assert settled(session).step == 4
        core.answer = lambda asked: problem("label_mass_low", "not an answer")
        session.observe()
        session.observe(frame(6))
        reading = settled(session)
        # The reward is that of step 4 still, and says so.
        assert (reading.fresh, reading.reward, reading.step) == (True, 0.04, 4)
        assert isinstance(reading.error, ModelError)
        clock.now += 10.0
        reading = session.observe()
        assert (reading.fresh, reading.reason) == (False, NoReward.FAILED)
        assert "the reward of step 4 is 10.00 s old" in reading.explanation


def test_heads_fail_one_by_one(client: RewardClient, core: ScriptedCore) -> None:
    def answer(asked: Asked) -> float | pb.Problem:
        broken = asked.head == "completion" and asked.step == 2
        return problem("answer_unparsable") if broken else by_frame(asked)

    core.answer = answer
    with session_of(client, ("progress", "completion"), interval=2) as session:
        session.reset(frame(0))
        for tick in (1, 2):
            session.observe(frame(tick))
        heads = settled(session).heads
        assert (heads["progress"].step, heads["progress"].reward) == (2, 0.02)
        assert (heads["completion"].fresh, heads["completion"].step) == (False, None)
        session.observe(frame(3))
        heads = settled(session).heads
    # Only the head that failed is asked again between the scheduled steps.
    assert (heads["progress"].step, heads["progress"].age_ticks) == (2, 1)
    assert (heads["completion"].step, heads["completion"].error) == (3, None)
    assert [asked.head for asked in core.asked] == ["progress", "completion", "completion"]


def test_the_answer_to_an_episode_that_was_reset_does_not_appear_in_the_next(
    session: RobotSession, hanging: Hanging, core: ScriptedCore
) -> None:
    session.observe(frame(11))
    assert settled(session).fresh
    call = hanging.hold()
    session.observe(frame(22))
    call.wait_arrived()
    session.observe(frame(33))
    session.reset(frame(0), task="another task", wait_s=0)
    reading = session.observe()
    assert (reading.tick, reading.step, reading.reason) == (1, None, NoReward.NOT_ANSWERED)
    call.answer()
    reading = settled(session)
    assert (reading.fresh, reading.step) == (False, None)
    session.observe(frame(44))
    reading = settled(session)
    assert (reading.tick, reading.step, reading.reward) == (2, 2, 0.44)
    assert session.counters.dropped == 1
    (episode,) = core.episodes.values()
    assert episode.spec.task == "another task"


def test_a_task_holds_from_its_reset_on_although_that_episode_is_never_opened(
    session: RobotSession, hanging: Hanging, core: ScriptedCore
) -> None:
    call = hanging.hold()
    session.observe(frame(11))
    call.wait_arrived()
    session.reset(frame(0), task="another task", wait_s=0)
    session.reset(frame(0), wait_s=0)
    call.answer()
    settled(session)
    (episode,) = core.episodes.values()
    assert episode.spec.task == "another task"


def test_a_session_observes_between_its_first_reset_and_its_end(client: RewardClient) -> None:
    session = session_of(client)
    with pytest.raises(EpisodeNotFound, match="reset"):
        session.observe(frame(1))
    session.close()
    with pytest.raises(EpisodeNotFound, match="closed"):
        session.reset(frame(0))
    with pytest.raises(EpisodeNotFound, match="closed"):
        session.observe(frame(0))


def test_a_session_is_made_by_its_client(client: RewardClient, core: ScriptedCore) -> None:
    core.answer = by_frame
    with client.robot_session(TASK, ["progress"], rate_hz=30, max_age_s=PATIENCE) as session:
        session.reset(frame(0))
        session.observe(frame(5))
        assert settled(session).reward == 0.05
        assert session.rate.hz == 30


def test_ticks_that_the_loop_was_late_for_are_counted(client: RewardClient) -> None:
    with session_of(client, rate_hz=1e9) as session:
        session.reset(frame(0))
        session.rate.sleep()
        session.rate.sleep()
        assert session.counters.overruns == 2


def test_closing_forgets_the_episode_and_leaves_no_thread(
    client: RewardClient, core: ScriptedCore
) -> None:
    with session_of(client) as session:
        session.reset(frame(0))
        session.observe(frame(1))
        settled(session)
        assert "lrm-robot-session" in thread_names()
    session.close()
    assert core.episodes == {}
    assert "lrm-robot-session" not in thread_names()


def thread_names() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate_hz": 0}, "rate"),
        ({"max_age_s": 0.0}, "max_age_s"),
        ({"timeout_s": math.inf}, "timeout_s"),
        ({"interval": 0}, "interval"),
        ({"interval": 10, "max_age_s": 0.5}, "renewed after 1 s at best"),
    ],
)
def test_arguments_out_of_range_are_refused(
    client: RewardClient, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        RobotSession(client, TASK, ["progress"], **{"rate_hz": 10, **options})


@pytest.mark.parametrize(
    ("options", "priority"), [({}, "interactive"), ({"priority": "batch"}, "batch")]
)
def test_a_robots_calls_are_interactive_unless_its_client_says_otherwise(
    target: str, core: ScriptedCore, options: dict[str, Any], priority: str
) -> None:
    with RewardClient(target, **options) as client, session_of(client) as session:
        session.reset(frame(0))
        session.observe(frame(1))
        settled(session)
    assert {said["lrm-priority"] for said in core.metadata} == {priority}
    assert {said["lrm-client"] for said in core.metadata} == {client.name}
