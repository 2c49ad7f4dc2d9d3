"""The queue before an engine: who passes next, who is refused, what is left behind."""

from __future__ import annotations

import asyncio
import random
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrm_server.callers import Caller, Priority, asks
from lrm_server.engine.admission import Admission
from lrm_server.engine.holdings import MIB, QueueLimits
from lrm_server.engine.places import FixedPlaces, StepPlaces
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.frames import Encoding, Frame
from tests.engine.queue.conftest import Asking

ROBOT, LEARNER = Priority.INTERACTIVE, Priority.BATCH


def code_of(task: asyncio.Task[None]) -> ErrorCode:
    error = task.exception()
    assert isinstance(error, DomainError), error
    return error.code


async def test_clients_take_turns_whoever_came_first(asking: Asking) -> None:
    admission = Admission(FixedPlaces(2))
    holding = [asking.ask(admission, "earlier") for _ in range(2)]
    await asking.settle()
    greedy = [asking.ask(admission, "greedy") for _ in range(20)]
    modest = [asking.ask(admission, "modest") for _ in range(3)]
    await asking.settle()
    asking.answer(*holding)
    for _ in range(23):
        await asking.settle()
        asking.answer(*greedy, *modest)
    assert asking.passed[2:8] == ["greedy", "modest"] * 3
    assert asking.passed[8:] == ["greedy"] * 17


async def test_interactive_questions_pass_before_batch(asking: Asking) -> None:
    admission = Admission(FixedPlaces(2))
    holding = [asking.ask(admission, "learner") for _ in range(2)]
    await asking.settle()
    for _ in range(5):
        asking.ask(admission, "learner")
    asking.ask(admission, "robot", ROBOT)
    await asking.settle()
    assert asking.passed == ["learner"] * 2
    asking.answer(holding[0])
    await asking.settle()
    assert asking.passed[2:] == ["robot"]


async def test_a_robot_passes_at_once_while_a_learner_fills_its_places(asking: Asking) -> None:
    admission = Admission(StepPlaces(1000, 16))
    for _ in range(100):
        asking.ask(admission, "learner")
    await asking.settle()
    assert asking.passed == ["learner"] * 12
    asking.ask(admission, "robot", ROBOT)
    await asking.settle()
    assert asking.passed[12:] == ["robot"]


@pytest.mark.parametrize("places", [FixedPlaces(8), StepPlaces(1000, 16)])
async def test_robots_that_never_stop_leave_learners_their_share(
    asking: Asking, places: FixedPlaces | StepPlaces
) -> None:
    admission = Admission(places)
    robots = [asking.ask(admission, f"robot-{number}", ROBOT) for number in range(50)]
    learner = [asking.ask(admission, "learner") for _ in range(10)]
    for _ in range(10):
        await asking.settle()
        asking.answer(*robots, *learner)
        robots = [asking.ask(admission, "robot", ROBOT) for _ in range(20)]
    assert asking.passed.count("learner") == 10


async def test_while_nobody_else_asks_interactive_questions_use_all_places(
    asking: Asking,
) -> None:
    admission = Admission(FixedPlaces(8))
    for _ in range(20):
        asking.ask(admission, "robot", ROBOT)
    await asking.settle()
    assert asking.passed == ["robot"] * 8


async def test_the_event_loop_has_a_turn_between_two_questions_that_pass(asking: Asking) -> None:
    admission = Admission(FixedPlaces(100))
    for _ in range(50):
        asking.ask(admission, "learner")
    seen: list[int] = []
    while len(asking.passed) < 50:
        await asyncio.sleep(0)
        seen.append(len(asking.passed))
    assert {after - before for before, after in pairwise(seen)} <= {0, 1}


async def test_what_is_over_a_limit_is_refused_with_a_hint(asking: Asking) -> None:
    admission = Admission(FixedPlaces(2), QueueLimits(max_queue=5, max_client_queue=3))
    tasks = [asking.ask(admission, "greedy") for _ in range(4)]
    tasks += [asking.ask(admission, "other") for _ in range(3)]
    await asking.settle()
    refused = [task for task in tasks if task.done()]
    assert [tasks.index(task) for task in refused] == [3, 6]
    for task, setting in zip(refused, ["max_client_queue", "max_queue"], strict=True):
        error = task.exception()
        assert isinstance(error, DomainError)
        assert error.code is ErrorCode.OVERLOADED
        assert f"raise {setting} " in error.message
        assert error.retry_after_seconds is not None
        assert error.retry_after_seconds > 0
    assert admission.inside == 5


async def test_frames_in_flight_are_bounded(asking: Asking) -> None:
    admission = Admission(FixedPlaces(2), QueueLimits(max_client_queue_mib=1))
    frame = Frame(b"\0" * (MIB - 10), Encoding.JPEG, 8, 8)
    more = Frame(b"\0" * 11, Encoding.JPEG, 8, 8)
    held = [asking.ask(admission, "a", frames=[frame]) for _ in range(3)]
    refused = asking.ask(admission, "a", frames=[more])
    other = asking.ask(admission, "b", frames=[more])
    await asking.settle()
    assert not any(task.done() for task in [*held, other])
    assert code_of(refused) is ErrorCode.OVERLOADED
    await asking.finish()
    let_in = asking.ask(admission, "a", frames=[more])
    await asking.settle()
    assert not let_in.done()


async def test_a_question_that_expires_in_the_queue_never_passes(asking: Asking) -> None:
    admission = Admission(FixedPlaces(2))
    for _ in range(2):
        asking.ask(admission, "learner")
    await asking.settle()
    late = asking.ask(admission, "late", deadline=time.monotonic() + 0.02)
    # Nobody else does anything: the deadline itself ends the wait.
    await asyncio.wait([late], timeout=10)
    assert code_of(late) is ErrorCode.DEADLINE_EXCEEDED
    await asking.finish()
    assert "late" not in asking.passed
    assert admission.inside == 0


async def test_a_deadline_that_has_passed_is_refused_before_the_queue(asking: Asking) -> None:
    admission = Admission(FixedPlaces(2))
    late = asking.ask(admission, "late", deadline=time.monotonic() - 1)
    await asking.settle()
    assert code_of(late) is ErrorCode.DEADLINE_EXCEEDED
    assert asking.passed == []


async def test_a_deadline_ends_what_is_being_answered() -> None:
    admission = Admission(FixedPlaces(2))
    with pytest.raises(DomainError) as late:
        async with admission.enter(time.monotonic() + 0.02):
            await asyncio.sleep(30)
    assert late.value.code is ErrorCode.DEADLINE_EXCEEDED
    assert admission.inside == 0


async def test_a_time_out_of_the_work_itself_stays_one() -> None:
    admission = Admission(FixedPlaces(2))
    with pytest.raises(TimeoutError):
        async with admission.enter(time.monotonic() + 30):
            raise TimeoutError
    assert admission.inside == 0


async def test_the_waiting_is_told(asking: Asking) -> None:
    admission = Admission(FixedPlaces(2))
    held = [asking.ask(admission, "learner") for _ in range(4)]
    await asking.settle()
    asking.ask(admission, "robot", ROBOT)
    await asking.settle()
    status = admission.status()
    assert (status.ready, status.running, status.waiting) == (True, 2, 3)
    assert status.queued == {"interactive": 1, "batch": 2}
    assert not admission.status("it is down").ready

    async def waited() -> float:
        async with admission.enter(None) as place:
            return place.waited_ms

    waiting = asyncio.create_task(waited())
    await asyncio.sleep(0.02)
    asking.answer(*held)
    await asking.finish()
    assert await waiting >= 15


async def test_names_that_are_made_up_leave_nothing_behind(asking: Asking) -> None:
    admission = Admission(FixedPlaces(4))
    for number in range(300):
        asking.ask(admission, f"made-up-{number}")
    await asking.finish()
    assert admission.holdings.clients == 0
    assert admission.holdings.nbytes == 0


ACTIONS = st.lists(
    st.sampled_from(["robot", "learner", "other", "late", "cancel", "answer", "turn"]),
    max_size=60,
)


@given(ACTIONS, st.integers(0, 2**32))
def test_whatever_happens_to_questions_nothing_leaks(actions: list[str], seed: int) -> None:
    chosen = random.Random(seed)

    async def play() -> None:
        asking, admission = Asking(), Admission(FixedPlaces(3), QueueLimits(max_client_queue=8))
        tasks: list[asyncio.Task[None]] = []
        for action in actions:
            match action:
                case "turn":
                    await asyncio.sleep(0)
                case "cancel" if tasks:
                    chosen.choice(tasks).cancel()
                case "answer" if tasks:
                    asking.answer(chosen.choice(tasks))
                case "late":
                    soon = time.monotonic() + 1e-4
                    tasks.append(asking.ask(admission, "late", deadline=soon))
                case "robot":
                    tasks.append(asking.ask(admission, "robot", ROBOT))
                case _:
                    tasks.append(asking.ask(admission, action))
            assert admission.status().running <= 3
        await asking.finish()
        await asyncio.sleep(0)
        status = admission.status()
        assert (status.running, status.waiting, admission.inside) == (0, 0, 0)
        assert status.queued == {"interactive": 0, "batch": 0}
        assert (admission.holdings.clients, admission.holdings.nbytes) == (0, 0)
        # All places are free again.
        after = Asking()
        for _ in range(3):
            after.ask(admission, "after")
        await after.settle()
        assert after.passed == ["after"] * 3
        await after.finish()

    asyncio.run(play())


async def test_a_question_that_is_cancelled_just_when_it_may_pass_gives_its_place_on(
    asking: Asking,
) -> None:
    admission = Admission(FixedPlaces(2))
    holding = [asking.ask(admission, "learner") for _ in range(2)]
    await asking.settle()
    leaving, staying = (asking.ask(admission, name) for name in ("leaving", "staying"))
    await asking.settle()
    asking.answer(holding[0])
    while admission.status().running < 2 or holding[0] in asyncio.all_tasks():
        await asyncio.sleep(0)
    leaving.cancel()
    await asking.settle()
    assert not staying.done()
    assert asking.passed[-1] == "staying"


async def test_the_hint_follows_the_pace() -> None:
    async def hint(seconds_an_answer: float) -> float:
        admission = Admission(FixedPlaces(2), QueueLimits(max_client_queue=1))
        with asks(Caller("a")):
            for _ in range(3):
                async with admission.enter(None):
                    await asyncio.sleep(seconds_an_answer)
            async with admission.enter(None):
                with pytest.raises(DomainError) as refused:
                    async with admission.enter(None):
                        pytest.fail("let in over the limit")
        return float(refused.value.retry_after_seconds or 0)

    assert await hint(0.4) > await hint(0.0)
