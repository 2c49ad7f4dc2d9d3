"""A query that fails is a failure of its head at that step, and never a reward."""

from __future__ import annotations

import asyncio
import math

import pytest

from lrm_server.errors import DomainError, ErrorCode
from lrm_server.heads.profile import Role
from lrm_server.heads.query import Query
from tests.episodes.support import Bench, failing, shown, sources


@pytest.mark.parametrize(
    "code",
    [
        ErrorCode.LABEL_MASS_LOW,
        ErrorCode.OVERLOADED,
        ErrorCode.UNAVAILABLE,
        ErrorCode.DEADLINE_EXCEEDED,
    ],
)
async def test_a_failed_head_has_no_reward_and_is_due_at_the_next_step(
    bench: Bench, code: ErrorCode
) -> None:
    def answer(query: Query) -> float | DomainError:
        fails = query.head == "contrastive" and shown(query, Role.CURRENT).step == 3
        return failing(code, "because") if fails else 1.0

    bench.scorer.answers = answer
    await bench.open("contrastive", "progress")
    failed, good = (await bench.run_to(3)).rewards
    assert (failed.reward, failed.value, failed.source.value) == (None, None, "failed")
    assert failed.reply is None
    assert failed.error is not None
    assert (failed.error.code, failed.error.message) == (code, "because")
    assert (good.reward, good.error) == (1.0, None)
    again = await bench.take(4)
    assert sources(again) == {"contrastive": "queried", "progress": "held"}
    assert [shown(q, Role.PREVIOUS).step for q in bench.scorer.asked("contrastive")] == [0, 0]
    counted = {key: n for key, n in bench.rewards.items() if key[1].value == "failed"}
    assert {head: n for (head, _), n in counted.items()} == {"contrastive": 1}


async def test_the_last_good_value_stays_held_through_failures(bench: Bench) -> None:
    script = {3: 0.3, 6: failing(), 7: failing(), 8: 0.8}
    bench.scorer.answers = lambda query: script[shown(query, Role.CURRENT).step]
    await bench.open("progress", "completion")
    await bench.run_to(7)
    (answer, _) = (await bench.take(8)).rewards
    assert (answer.reward, answer.age) == (0.8, 0)
    # The other way: nothing succeeded since, so its age says how old it is.
    script.update({9: failing()})
    (answer, _) = (await bench.take(9)).rewards
    assert (answer.value, answer.age) == (None, 1)


async def test_what_breaks_inside_the_scorer_is_an_internal_error_without_its_cause(
    bench: Bench,
) -> None:
    def broken(query: Query) -> float:
        raise RuntimeError("secret detail")

    bench.scorer.answers = broken
    await bench.open("progress")
    (head,) = (await bench.run_to(3)).rewards
    assert head.error is not None
    assert head.error.code is ErrorCode.INTERNAL
    assert "secret" not in head.error.message


@pytest.mark.parametrize("value", [math.nan, math.inf])
async def test_a_value_that_is_no_number_is_a_failure(bench: Bench, value: float) -> None:
    bench.scorer.answers = lambda query: value
    await bench.open("progress")
    (head,) = (await bench.run_to(3)).rewards
    assert (head.reward, head.source.value) == (None, "failed")
    assert head.error is not None
    assert head.error.code is ErrorCode.INTERNAL


async def test_a_query_that_the_engine_gives_up_is_a_failure_and_not_a_cancelled_call(
    bench: Bench,
) -> None:
    async def give_up(query: Query) -> None:
        raise asyncio.CancelledError

    bench.scorer.pause = give_up
    await bench.open("progress")
    (head,) = (await bench.run_to(3)).rewards
    assert head.error is not None
    assert head.error.code is ErrorCode.UNAVAILABLE


async def test_an_error_of_a_frame_names_the_steps_frame(bench: Bench) -> None:
    bench.scorer.answers = lambda query: DomainError(
        ErrorCode.IMAGE_UNDECODABLE, "broken", field="previous"
    )
    await bench.open("contrastive")
    (head,) = (await bench.run_to(3)).rewards
    assert head.error is not None
    assert head.error.field == "frame"


async def test_a_part_that_fails_fails_the_composite_head(bench: Bench) -> None:
    bench.scorer.answers = lambda query: failing() if query.head == "completion" else 0.5
    await bench.open("tri")
    (head,) = (await bench.run_to(3)).rewards
    assert head.error is not None
    assert head.error.code is ErrorCode.COMPONENT_FAILED
    assert "completion" in head.error.message


async def test_an_unforeseen_failure_fails_one_step_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = bench.store.get

    async def get(episode_id: str) -> object:
        if episode_id == "b":
            raise RuntimeError("secret detail")
        return await known(episode_id)

    for name in ("a", "b"):
        await bench.open("progress", episode=name)
    monkeypatch.setattr(bench.store, "get", get)
    assert (await bench.take(0, episode="a")).step == 0
    refused = await bench.refused(0, episode="b")
    assert refused.code is ErrorCode.INTERNAL
    assert "secret" not in refused.message
