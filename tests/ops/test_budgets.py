"""How many queries a run may ask, and which of them count."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lrm_client.clock import ClockConfig, Source
from lrm_server.engine.protocol import Conversation, EngineTimings, Message, Written
from lrm_server.episodes.service import EpisodeService
from lrm_server.episodes.store import MemoryEpisodeStore
from lrm_server.episodes.types import EpisodeSpec, EpisodeStep, StepAnswer
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.heads.profile import Role
from lrm_server.heads.query import Query
from lrm_server.ops.budgets import (
    MAX_QUERIES,
    BudgetedScorer,
    Run,
    RunBudgets,
    ask_for,
    on_behalf_of,
)
from tests.heads.scripted_engine import grey
from tests.scripted_scorer import ScriptedScorer

RUN = "ppo-stack-7"


def query(head: str = "progress", **changes: Any) -> Query:
    frames = {Role.CURRENT: grey()}
    if head == "tri":
        frames[Role.PREVIOUS] = grey(shade=1)
    return Query(**{"head": head, "task": "push the cube", "frames": frames, **changes})


def refused(code: ErrorCode) -> ScriptedScorer:
    return ScriptedScorer(lambda query: DomainError(code, "refused"))


class Rig:
    """A scorer behind the budget of one run."""

    def __init__(self, queries: int, scorer: ScriptedScorer | None = None) -> None:
        self.scorer = scorer or ScriptedScorer()
        self.budgets = RunBudgets()
        self.budgets.open(RUN, queries)
        self.budgeted = BudgetedScorer(self.scorer, self.budgets)

    @property
    def used(self) -> int:
        return self.budgets.get(RUN).used

    async def code(self, asked: Query, run: str | None = RUN) -> str:
        """How a query ends."""
        with on_behalf_of(run):
            try:
                await self.budgeted.score(asked)
            except DomainError as error:
                return error.code.value
        return "answered"


async def test_a_run_asks_its_queries_and_no_more() -> None:
    rig = Rig(3)
    assert [await rig.code(query()) for _ in range(5)] == ["answered"] * 3 + ["warm_up_over"] * 2
    assert rig.budgets.get(RUN) == Run(RUN, queries=3, used=3)
    assert rig.budgets.get(RUN).over
    assert len(rig.scorer.queries) == 3


async def test_the_refusal_says_what_was_asked_and_how_the_learner_goes_on() -> None:
    rig = Rig(2)
    for _ in range(2):
        await rig.code(query())
    with on_behalf_of(RUN), pytest.raises(DomainError) as raised:
        await rig.budgeted.score(query())
    assert raised.value.message.startswith(f"the warm-up of run '{RUN}' is over: it asked 2 que")
    assert "value function" in raised.value.message
    assert raised.value.retry_after_seconds is None


async def test_queries_at_once_never_overrun_the_budget() -> None:
    rig = Rig(10)
    waiting = asyncio.Event()

    async def hold(query: Query) -> None:
        await waiting.wait()

    rig.scorer.pause = hold
    asked = [asyncio.ensure_future(rig.code(query())) for _ in range(64)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert rig.scorer.running == 10
    waiting.set()
    codes = await asyncio.gather(*asked)
    assert codes.count("answered") == 10
    assert codes.count("warm_up_over") == 54
    assert rig.scorer.most_running == 10


@pytest.mark.parametrize(
    ("code", "counts"),
    [
        (ErrorCode.LABEL_MASS_LOW, True),
        (ErrorCode.COMPONENT_FAILED, True),
        (ErrorCode.DEADLINE_EXCEEDED, True),
        (ErrorCode.INTERNAL, True),
        (ErrorCode.OVERLOADED, False),
        (ErrorCode.UNAVAILABLE, False),
        (ErrorCode.IMAGE_UNDECODABLE, False),
    ],
)
async def test_a_query_that_fails_counts_unless_it_was_refused(
    code: ErrorCode, counts: bool
) -> None:
    rig = Rig(1, refused(code))
    assert await rig.code(query()) == code.value
    assert rig.used == int(counts)


async def test_a_query_that_is_wrong_does_not_count() -> None:
    rig = Rig(1)
    assert await rig.code(query(task=" ")) == "invalid_argument"
    assert await rig.code(query(frames={})) == "invalid_argument"
    assert rig.used == 0


async def test_a_query_that_was_given_up_counts() -> None:
    rig = Rig(1)
    forever = asyncio.Event()

    async def hold(query: Query) -> None:
        await forever.wait()

    rig.scorer.pause = hold
    asked = asyncio.ensure_future(rig.code(query()))
    await asyncio.sleep(0)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    assert rig.used == 1


async def test_a_composite_heads_query_is_one() -> None:
    rig = Rig(1)
    assert await rig.code(query("tri")) == "answered"
    assert rig.used == 1


async def test_who_names_no_run_is_not_counted() -> None:
    rig = Rig(0)
    assert await rig.code(query(), run=None) == "answered"
    assert rig.used == 0


async def test_a_run_that_is_not_open_asks_nothing() -> None:
    rig = Rig(5)
    assert await rig.code(query(), run="a misspelt one") == "run_not_found"
    rig.budgets.close(RUN)
    assert await rig.code(query()) == "run_not_found"
    assert rig.scorer.queries == []


async def test_runs_are_counted_apart() -> None:
    rig = Rig(1)
    rig.budgets.open("other", 1)
    both = [await rig.code(query(), run=run) for run in (RUN, "other", RUN, "other")]
    assert both == ["answered", "answered", "warm_up_over", "warm_up_over"]


async def test_a_conversation_is_a_query() -> None:
    class Talker(ScriptedScorer):
        async def converse(self, conversation: Conversation) -> Written:
            return Written("yes", "stop", 1, 1, EngineTimings())

    rig = Rig(1, Talker())
    said = Conversation(messages=(Message("user", ("well?",)),))
    with on_behalf_of(RUN):
        await rig.budgeted.converse(said)
        with pytest.raises(DomainError) as raised:
            await rig.budgeted.converse(said)
    assert raised.value.code is ErrorCode.WARM_UP_OVER


async def test_a_block_within_another_gives_the_run_back() -> None:
    rig = Rig(5)

    async def in_a_task_of_its_own() -> None:
        ask_for(RUN)
        with on_behalf_of(None):
            await rig.budgeted.score(query())
        await rig.budgeted.score(query())

    await asyncio.create_task(in_a_task_of_its_own())
    assert rig.used == 1
    await rig.budgeted.score(query())
    assert rig.used == 1


async def test_due_steps_of_episodes_count_and_retries_of_them_do_not() -> None:
    rig = Rig(1)
    store = MemoryEpisodeStore(max_episodes=4, max_frame_mib=4, idle_seconds=60)
    episodes = EpisodeService(rig.budgeted, store)
    spec = EpisodeSpec(id="e", task="push", heads=("progress",), clock=ClockConfig(interval=2))
    with on_behalf_of(RUN):
        await episodes.open([spec])
        steps = [EpisodeStep(episode="e", step=step, frame=grey(shade=step)) for step in range(5)]
        steps.insert(3, steps[2])
        answers = await episodes.step(steps)
    assert all(isinstance(answer, StepAnswer) for answer in answers)
    rewards = [answer.rewards[0] for answer in answers if answer.rewards]  # type: ignore[union-attr]
    assert [reward.source for reward in rewards] == [
        Source.NEUTRAL,
        Source.QUERIED,
        Source.QUERIED,
        Source.HELD,
        Source.FAILED,
    ]
    assert rewards[-1].error is not None
    assert rewards[-1].error.code is ErrorCode.WARM_UP_OVER
    assert rewards[-1].reward is None
    assert rig.used == 1


def test_opening_a_run_again_changes_its_budget_and_keeps_what_it_asked() -> None:
    budgets = RunBudgets()
    budgets.open(RUN, 1)
    with budgets.asking(RUN):
        pass
    assert budgets.get(RUN).over
    assert budgets.open(RUN, 3) == Run(RUN, queries=3, used=1)
    assert budgets.open(RUN, 0).over


def test_a_run_that_was_closed_begins_anew() -> None:
    budgets = RunBudgets()
    budgets.open(RUN, 1)
    with budgets.asking(RUN):
        assert budgets.close(RUN)
    assert not budgets.close(RUN)
    assert budgets.open(RUN, 1).used == 0


@pytest.mark.parametrize("run", ["", " a", "a b\n", "ä", "a/b", "x" * 201])
def test_an_id_that_no_header_can_carry_is_refused(run: str) -> None:
    with pytest.raises(DomainError) as raised:
        RunBudgets().open(run, 1)
    assert (raised.value.code, raised.value.field) == (ErrorCode.INVALID_ARGUMENT, "id")


@pytest.mark.parametrize("queries", [-1, MAX_QUERIES + 1])
def test_a_budget_that_is_none_is_refused(queries: int) -> None:
    with pytest.raises(DomainError) as raised:
        RunBudgets().open(RUN, queries)
    assert raised.value.field == "queries"


def test_runs_are_bounded_and_idle_ones_are_forgotten() -> None:
    now = [0.0]
    budgets = RunBudgets(most=2, idle_seconds=10, clock=lambda: now[0])
    budgets.open("a", 1)
    budgets.open("b", 1)
    with pytest.raises(DomainError) as raised:
        budgets.open("c", 1)
    assert raised.value.code is ErrorCode.OVERLOADED
    now[0] = 6
    with budgets.asking("a"):
        pass
    now[0] = 12
    budgets.open("c", 1)
    assert budgets.get("a").used == 1
    with pytest.raises(DomainError) as raised:
        budgets.get("b")
    assert raised.value.code is ErrorCode.RUN_NOT_FOUND
