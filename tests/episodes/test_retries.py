"""A step that is sent again: the same answer, and no query."""

from __future__ import annotations

import asyncio

import pytest

from lrm_client.clock import ClockConfig
from lrm_server.episodes.opening import MAX_ID_LENGTH
from lrm_server.episodes.state import REMEMBERED_STEPS
from lrm_server.episodes.types import StepAnswer
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.heads.query import Query
from tests.episodes.support import Bench, failing, frame, sources, step

EVERY_STEP = ClockConfig(interval=1)


async def test_a_due_step_sent_twice_is_one_query(bench: Bench) -> None:
    await bench.open("contrastive")
    first = await bench.run_to(3)
    assert await bench.take(3) == first
    assert len(bench.scorer.queries) == 1
    assert sources(await bench.take(4)) == {"contrastive": "held"}


async def test_a_request_id_is_enough_whatever_else_the_retry_brings(bench: Bench) -> None:
    await bench.open("contrastive")
    await bench.run_to(2)
    first = await bench.take(3, request_id="attempt")
    assert await bench.take(3, request_id="attempt", frame=None) == first
    assert len(bench.scorer.queries) == 1


async def test_a_new_request_id_with_the_same_content_is_a_retry(bench: Bench) -> None:
    await bench.open("contrastive")
    await bench.run_to(2)
    first = await bench.take(3, request_id="one")
    assert await bench.take(3, request_id="two") == first


@pytest.mark.parametrize(
    "other",
    [{"frame": frame(99)}, {"frame": None}, {"final": True}, {"force": True}],
    ids=["frame", "no frame", "final", "force"],
)
async def test_a_step_behind_with_other_content_is_refused_with_the_next_step(
    bench: Bench, other: dict[str, object]
) -> None:
    await bench.open("contrastive")
    await bench.run_to(4)
    refused = await bench.refused(3, **other, request_id="other")
    assert (refused.code, refused.field, refused.step) == (ErrorCode.STEP_BEHIND, "step", 5)
    assert len(bench.scorer.queries) == 1


async def test_a_request_id_of_another_step_is_no_retry(bench: Bench) -> None:
    await bench.open("contrastive")
    await bench.run_to(2)
    await bench.take(3, request_id="attempt")
    refused = await bench.refused(2, request_id="attempt", force=True)
    assert refused.code is ErrorCode.STEP_BEHIND


async def test_a_request_id_that_is_too_long_to_remember_is_refused(bench: Bench) -> None:
    await bench.open("progress")
    refused = await bench.refused(0, request_id="r" * (MAX_ID_LENGTH + 1))
    assert (refused.code, refused.field) == (ErrorCode.INVALID_ARGUMENT, "request_id")
    assert str(MAX_ID_LENGTH) in refused.message
    assert (await bench.take(0, request_id="r" * MAX_ID_LENGTH)).step == 0


async def test_a_step_that_was_skipped_is_behind(bench: Bench) -> None:
    await bench.open("progress")
    await bench.take(0)
    await bench.take(5)
    assert (await bench.refused(4)).step == 6


async def test_step_zero_is_retried_by_its_frame(bench: Bench) -> None:
    await bench.open("contrastive")
    first = await bench.take(0)
    await bench.run_to(4)
    assert await bench.take(0) == first
    assert (await bench.refused(0, frame=frame(99))).code is ErrorCode.STEP_BEHIND


async def test_a_held_step_is_retried_with_or_without_the_frame_it_ignored(bench: Bench) -> None:
    await bench.open("progress")
    first = await bench.run_to(4)
    assert await bench.take(4, frame=None) == first
    assert await bench.take(4, frame=frame(99)) == first


async def test_the_final_step_is_still_answered_after_the_end(bench: Bench) -> None:
    await bench.open("progress")
    await bench.run_to(3)
    last = await bench.take(4, final=True)
    assert await bench.take(4, final=True) == last
    assert len(bench.scorer.queries) == 2
    assert (await bench.refused(4)).code is ErrorCode.EPISODE_ENDED


async def test_a_step_whose_query_failed_is_answered_so_again(bench: Bench) -> None:
    bench.scorer.answers = lambda query: failing()
    await bench.open("progress")
    first = await bench.run_to(3)
    bench.scorer.answers = lambda query: 0.5
    assert await bench.take(3) == first
    assert sources(first) == {"progress": "failed"}
    assert sources(await bench.take(4)) == {"progress": "queried"}


async def test_a_step_that_was_refused_is_no_answer_to_repeat(bench: Bench) -> None:
    await bench.open("progress")
    await bench.run_to(2)
    assert (await bench.refused(3, frame=None, request_id="a")).code is ErrorCode.FRAME_REQUIRED
    assert sources(await bench.take(3, request_id="a")) == {"progress": "queried"}


async def test_a_bounded_number_of_answers_is_remembered(bench: Bench) -> None:
    await bench.open("progress", clock=EVERY_STEP)
    last = REMEMBERED_STEPS + 3
    await bench.run_to(last)
    oldest = last - REMEMBERED_STEPS + 1
    assert (await bench.take(oldest)).step == oldest
    assert (await bench.refused(oldest - 1)).code is ErrorCode.STEP_BEHIND
    assert len((await bench.store.get("e")).answered) == REMEMBERED_STEPS


async def test_a_retry_while_the_first_is_asked_waits_and_gets_its_answer(bench: Bench) -> None:
    go = asyncio.Event()

    async def hold(query: Query) -> None:
        await go.wait()

    bench.scorer.pause = hold
    await bench.open("progress")
    await bench.run_to(2)
    tries = [asyncio.create_task(bench.take(3, request_id=str(n))) for n in range(3)]
    while not bench.scorer.running:
        await asyncio.sleep(0)
    go.set()
    first, *others = await asyncio.gather(*tries)
    assert others == [first, first]
    assert len(bench.scorer.queries) == 1


async def test_a_retry_counts_no_reward(bench: Bench) -> None:
    await bench.open("progress", "completion")
    await bench.run_to(4)
    await bench.take(4)
    await bench.take(3)
    counted = {(head, source.value): n for (head, source), n in bench.rewards.items()}
    assert counted == {
        (head, source): n
        for head in ("progress", "completion")
        for source, n in (("neutral", 2), ("queried", 1), ("held", 1))
    }


async def test_a_batch_may_hold_a_step_twice(bench: Bench) -> None:
    await bench.open("progress", clock=EVERY_STEP)
    results = await bench.service.step([step(0), step(1), step(1), step(1, force=True), step(2)])
    assert isinstance(results[1], StepAnswer)
    assert results[2] == results[1]
    assert isinstance(results[3], DomainError)
    assert results[3].code is ErrorCode.STEP_BEHIND
    assert isinstance(results[4], StepAnswer)
    assert len(bench.scorer.queries) == 2
