"""Which steps need a frame, which frames a query gets, and which are kept."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest
from PIL import Image

from lrm_client.clock import ClockConfig
from lrm_server.episodes.types import StepAnswer
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.frames import Encoding, Frame, FrameLimits, open_frame
from lrm_server.heads.profile import Role
from lrm_server.heads.query import Query
from tests.episodes.support import SIDE, Bench, failing, frame, shown, sources, step

EVERY_STEP = ClockConfig(interval=1)
FRAME_BYTES = SIDE * SIDE * 3


def png(side: int = SIDE) -> Frame:
    """An encoded frame, large enough in pixels to be worth decoding."""
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return open_frame(file.getvalue(), Encoding.PNG, FrameLimits())


def truncated() -> Frame:
    """A frame whose header is whole and whose pixels are not."""
    whole = png(64)
    return Frame(bytes(whole._data)[: whole.nbytes // 2], Encoding.PNG, 64, 64)


async def test_step_zero_without_its_frame_is_refused_and_then_taken(bench: Bench) -> None:
    await bench.open("progress")
    refused = await bench.refused(0, frame=None)
    assert (refused.code, refused.field, refused.step) == (ErrorCode.FRAME_REQUIRED, "frame", 0)
    answer = await bench.take(0)
    assert (answer.rewards, answer.next_query_step) == ((), 3)
    assert bench.scorer.queries == []


async def test_a_due_step_without_its_frame_moves_nothing(bench: Bench) -> None:
    await bench.open("contrastive")
    await bench.run_to(2)
    refused = await bench.refused(3, frame=None)
    assert (refused.code, refused.field, refused.step) == (ErrorCode.FRAME_REQUIRED, "frame", 3)
    assert sources(await bench.take(3)) == {"contrastive": "queried"}


async def test_a_step_before_step_zero_names_step_zero(bench: Bench) -> None:
    await bench.open("progress")
    refused = await bench.refused(1)
    assert (refused.code, refused.step) == (ErrorCode.FRAME_REQUIRED, 0)


@pytest.mark.parametrize("number", [-1, 2**31])
async def test_a_number_that_is_no_step_is_refused(bench: Bench, number: int) -> None:
    await bench.open("progress")
    refused = await bench.refused(number, frame=frame(0))
    assert (refused.code, refused.field) == (ErrorCode.INVALID_ARGUMENT, "step")


async def test_a_refused_frame_fails_only_steps_that_need_it(bench: Bench) -> None:
    refusal = DomainError(ErrorCode.IMAGE_TOO_LARGE, "too many bytes")
    await bench.open("progress")
    at_reset = await bench.refused(0, frame=refusal)
    assert (at_reset.code, at_reset.field) == (ErrorCode.IMAGE_TOO_LARGE, "frame")
    await bench.take(0)
    assert sources(await bench.take(1, frame=refusal)) == {"progress": "neutral"}
    await bench.take(2)
    assert (await bench.refused(3, frame=refusal)).code is ErrorCode.IMAGE_TOO_LARGE
    assert sources(await bench.take(3)) == {"progress": "queried"}


async def test_a_frame_that_does_not_decode_refuses_the_step_that_needs_it(bench: Bench) -> None:
    await bench.open("progress")
    at_reset = await bench.refused(0, frame=truncated())
    assert (at_reset.code, at_reset.field) == (ErrorCode.IMAGE_UNDECODABLE, "frame")
    await bench.run_to(2)
    assert (await bench.refused(3, frame=truncated())).code is ErrorCode.IMAGE_UNDECODABLE
    assert bench.scorer.queries == []
    assert sources(await bench.take(3)) == {"progress": "queried"}


async def test_a_frame_at_a_step_that_is_not_due_is_neither_decoded_nor_kept(
    bench: Bench,
) -> None:
    await bench.open("contrastive")
    await bench.take(0)
    kept = bench.service.frame_bytes
    assert sources(await bench.take(1, frame=truncated())) == {"contrastive": "neutral"}
    assert bench.service.frame_bytes == kept


async def test_a_pair_of_different_sizes_refuses_the_step(bench: Bench) -> None:
    await bench.open("progress", "contrastive")
    await bench.run_to(2)
    refused = await bench.refused(3, frame=frame(3, side=2 * SIDE))
    assert (refused.code, refused.field) == (ErrorCode.INVALID_ARGUMENT, "frame")
    assert "16x16" in refused.message
    assert bench.scorer.queries == []
    assert sources(await bench.take(3)) == {"progress": "queried", "contrastive": "queried"}


async def test_a_query_gets_the_frames_of_its_heads_roles(bench: Bench) -> None:
    await bench.open("contrastive", "progress", "completion", "tri")
    await bench.run_to(6)
    by_head = {query.head: query for query in bench.scorer.queries[-4:]}
    steps = {
        name: {role.value: shown(query, role).step for role in query.frames}
        for name, query in by_head.items()
    }
    assert steps == {
        "contrastive": {"previous": 3, "current": 6},
        "progress": {"initial": 0, "current": 6},
        "completion": {"current": 6},
        "tri": {"initial": 0, "previous": 3, "current": 6},
    }


async def test_a_query_carries_what_the_episode_was_opened_with(bench: Bench) -> None:
    opened = {"swap": True, "margin": 0.1}
    await bench.open("contrastive", clock=EVERY_STEP, **opened)
    await bench.take(0)
    deadline = time.monotonic() + 60
    await bench.take(1, deadline=deadline)
    (query,) = bench.scorer.queries
    assert (query.task, query.swap, query.margin) == ("put the cube on the plate", True, 0.1)
    assert query.deadline == deadline


async def test_each_head_compares_with_the_frame_of_its_own_last_success(bench: Bench) -> None:
    fails = {("contrastive", 3)}

    def answer(query: Query) -> float | DomainError:
        asked = (query.head, shown(query, Role.CURRENT).step)
        return failing() if asked in fails else 0.5

    bench.scorer.answers = answer
    await bench.open("contrastive", "progress")
    await bench.run_to(3)
    assert bench.service.frame_bytes == FRAME_BYTES, "the initial frame serves both heads"
    await bench.take(4)
    assert bench.service.frame_bytes == 2 * FRAME_BYTES
    await bench.take(5)
    await bench.take(6)
    compared = [shown(query, Role.PREVIOUS).step for query in bench.scorer.asked("contrastive")]
    assert compared == [0, 0, 4]
    assert bench.service.frame_bytes == 2 * FRAME_BYTES


async def test_heads_that_failed_apart_keep_a_frame_each_until_both_succeed(bench: Bench) -> None:
    async def fail_tri_at_two(query: Query) -> None:
        if query.head == "tri" and shown(query, Role.CURRENT).step == 2:
            raise failing()

    bench.scorer.pause = fail_tri_at_two
    await bench.open("contrastive", "tri", clock=EVERY_STEP)
    await bench.run_to(2)
    assert bench.service.frame_bytes == 3 * FRAME_BYTES, "steps 0, 1 for tri, 2 for contrastive"
    await bench.take(3)
    compared = [shown(query, Role.PREVIOUS).step for query in bench.scorer.asked("tri")]
    assert compared == [0, 1, 1]
    assert bench.service.frame_bytes == 2 * FRAME_BYTES, "steps 0 and 3"


async def test_frames_that_no_head_looks_at_again_are_not_kept(bench: Bench) -> None:
    await bench.open("completion", clock=EVERY_STEP)
    await bench.run_to(3)
    assert bench.service.frame_bytes == 0


async def test_the_final_step_lets_all_frames_go(bench: Bench) -> None:
    await bench.open("contrastive", "progress")
    await bench.run_to(3)
    await bench.take(4, final=True)
    assert bench.service.frame_bytes == 0


async def test_kept_frames_are_encoded_bytes_of_their_own(bench: Bench) -> None:
    message = memoryview(bytes(1_000_000) + frame(0)._data)
    encoded, part = png(), Frame(message[1_000_000:], Encoding.RAW, SIDE, SIDE)
    await bench.open("contrastive", clock=EVERY_STEP)
    await bench.take(0, frame=part)
    await bench.take(1, frame=encoded)
    kept = (await bench.store.get("e")).frames
    assert kept == {1: encoded}
    assert encoded._pixels is None
    assert isinstance(part._data, bytes)
    assert len(part._data) == FRAME_BYTES


async def test_a_composite_head_is_one_query(bench: Bench) -> None:
    bench.scorer.answers = lambda query: {"contrastive": 1.0, "progress": 0.3, "completion": 0.0}[
        query.head
    ]
    await bench.open("tri")
    answer = await bench.run_to(3)
    assert [query.head for query in bench.scorer.queries] == ["tri"]
    (head,) = answer.rewards
    assert head.value == pytest.approx(1.3 / 3)
    assert head.reply is not None
    assert set(head.reply.components) == {"contrastive", "progress", "completion"}


async def test_an_ended_episode_takes_no_more_steps(bench: Bench) -> None:
    await bench.open("progress")
    await bench.run_to(3)
    ended = await bench.take(4, final=True)
    assert (sources(ended), ended.next_query_step) == ({"progress": "queried"}, None)
    for number in (4, 5):
        refused = await bench.refused(number, frame=frame(99))
        assert refused.code is ErrorCode.EPISODE_ENDED


async def test_a_forced_step_is_queried_whatever_the_clock_says(bench: Bench) -> None:
    await bench.open("progress", "completion")
    await bench.take(0)
    answer = await bench.take(1, force=True)
    assert sources(answer) == {"progress": "queried", "completion": "queried"}
    assert answer.next_query_step == 3


async def test_a_step_says_where_its_time_went(bench: Bench) -> None:
    await bench.open("progress", "completion")
    answer = await bench.run_to(3)
    assert isinstance(answer, StepAnswer)
    assert (answer.timings.queue_ms, answer.timings.engine_ms) == (2.0, 3.0)
    assert answer.timings.decode_ms > 1.0
    assert answer.timings.total_ms > 0.0


async def test_steps_of_a_batch_fail_alone(bench: Bench) -> None:
    for name in ("a", "b"):
        await bench.open("progress", episode=name, clock=EVERY_STEP)
        await bench.take(0, episode=name)
    results = await bench.service.step(
        [
            step(1, episode="nobody"),
            step(1, episode="a"),
            step(1, episode="b", frame=None),
            step(2, episode="b"),
        ]
    )
    codes = [r.code.value if isinstance(r, DomainError) else r.step for r in results]
    assert codes == ["episode_not_found", 1, "frame_required", 2]
