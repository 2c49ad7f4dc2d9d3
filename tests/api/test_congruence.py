"""The real client against the real server: both transports give the same answers."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest

from lrm_client import (
    AsyncRewardClient,
    EpisodeSpec,
    EpisodeStep,
    FrameEncoder,
    LrmError,
    Query,
    UnknownHead,
)
from lrm_client.types import Tokens
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.heads import query as server_query
from lrm_server.heads.profile import Readout, Role, Use
from tests.api.conftest import Served
from tests.api.frames import pixels
from tests.api.waiting import until
from tests.scripted_scorer import ScriptedScorer

TASK = "pick up the cube"


async def test_a_reply_has_every_field(client: AsyncRewardClient, scorer: ScriptedScorer) -> None:
    scorer.answers = lambda query: 0.3
    reply = await client.score(Query("progress", TASK, current=pixels(), return_text=True))
    assert (reply.head, reply.label, reply.value) == ("progress", "0.3", 0.3)
    assert sum(reply.probabilities.values()) == pytest.approx(1.0)
    assert (reply.label_mass, reply.expected, reply.confidence) == (0.9, 0.3, 1.0)
    assert reply.text == "scripted"
    assert reply.readout == "likelihood"
    assert (reply.model, reply.profile) == ("s0", scorer.catalogue["progress"].profile.digest)
    assert (reply.timings.decode_ms, reply.timings.queue_ms, reply.timings.engine_ms) == (1, 2, 3)
    assert reply.timings.total_ms > 0
    assert reply.tokens == Tokens(prompt=180, cached=96, written=7)


async def test_a_reply_whose_tokens_nobody_counts_has_none(client: AsyncRewardClient) -> None:
    queries = [Query("tri", TASK, current=pixels(), previous=pixels(seed=1))]
    (reply,) = await client.score_batch(queries)
    assert not isinstance(reply, LrmError)
    assert reply.tokens is None
    assert {part.tokens for part in reply.components.values()} == {Tokens(180, 96, 7)}


async def test_a_query_arrives_as_it_was_asked(
    client: AsyncRewardClient, scorer: ScriptedScorer
) -> None:
    previous, current = pixels(seed=1), pixels(seed=2)
    await client.contrastive(
        previous, current, TASK, readout="generate", use="expected", swap=True, margin=0.25
    )
    (asked,) = scorer.queries
    assert (asked.head, asked.task) == ("contrastive", TASK)
    assert np.array_equal(asked.frames[Role.PREVIOUS].pixels(), previous)
    assert np.array_equal(asked.frames[Role.CURRENT].pixels(), current)
    assert (asked.readout, asked.use) == (Readout.GENERATE, Use.EXPECTED)
    assert (asked.swap, asked.margin, asked.return_text) == (True, 0.25, False)
    assert asked.deadline is not None


@pytest.mark.parametrize("form", ["raw", "png", "jpeg"])
async def test_every_encoding_arrives(
    served: Served, transport: str, scorer: ScriptedScorer, form: str
) -> None:
    client = await served.client(transport, encoder=FrameEncoder(form))
    smooth = np.repeat(np.arange(0, 256, 4, dtype=np.uint8)[:, None, None], 64, 1).repeat(3, 2)
    await client.progress(smooth, TASK)
    seen = scorer.queries[0].frames[Role.CURRENT].pixels()
    assert seen.shape == (64, 64, 3)
    assert np.abs(seen.astype(int) - smooth).max() <= (3 if form == "jpeg" else 0)


async def test_a_composite_reply_brings_its_parts(
    client: AsyncRewardClient, scorer: ScriptedScorer
) -> None:
    scorer.answers = lambda query: {"contrastive": 1.0, "progress": 0.3}.get(query.head, 0.0)
    reply = await client.score(Query("tri", TASK, previous=pixels(), current=pixels(seed=1)))
    assert reply.value == pytest.approx((1 + 0.3 + 0) / 3)
    assert {name: part.value for name, part in reply.components.items()} == {
        "contrastive": 1.0,
        "progress": 0.3,
        "completion": 0.0,
    }


async def test_each_query_of_a_batch_is_answered_on_its_own(
    client: AsyncRewardClient, scorer: ScriptedScorer
) -> None:
    def answer(query: server_query.Query) -> float | DomainError:
        if query.task == "fail":
            return DomainError(ErrorCode.LABEL_MASS_LOW, "not answering")
        if query.task == "break":
            raise ZeroDivisionError("nobody expected this")
        return 0.7

    scorer.answers = answer
    frame = pixels()
    results = await client.score_batch(
        [
            Query("progress", TASK, current=frame),
            Query("nosuch", TASK, current=frame),
            Query("progress", "fail", current=frame),
            Query("progress", "break", current=frame),
            Query("progress", TASK, current=frame),
        ]
    )
    codes = [r.code if isinstance(r, LrmError) else r.value for r in results]
    assert codes == [0.7, "unknown_head", "label_mass_low", "internal", 0.7]
    assert isinstance(results[1], UnknownHead)
    assert "nobody expected" not in str(results[3])


async def test_models_tell_heads_and_limits(
    client: AsyncRewardClient, scorer: ScriptedScorer
) -> None:
    served = await client.models()
    (model,) = served.models
    assert (model.id, model.fingerprint) == ("scripted", "s0")
    assert list(model.heads) == ["contrastive", "progress", "completion", "tri"]
    contrastive = model.heads["contrastive"]
    assert contrastive.labels == {"previous": -1.0, "current": 1.0}
    assert set(contrastive.required_frames) == {"previous", "current"}
    assert contrastive.default_readout == scorer.catalogue["contrastive"].readout.value
    assert contrastive.profile_digest == scorer.catalogue["contrastive"].profile.digest
    assert served.limits.max_batch == 4096
    assert served.limits.max_message_bytes == 64 * 1024 * 1024
    assert served.limits.max_frame_bytes == 8 * 1024 * 1024
    assert served.limits.max_labels > 0


async def test_a_deadline_ends_a_query_that_takes_too_long(
    client: AsyncRewardClient, scorer: ScriptedScorer
) -> None:
    scorer.pause = lambda query: asyncio.sleep(30)
    with pytest.raises(LrmError) as caught:
        await client.score(Query("progress", TASK, current=pixels()), timeout=0.3)
    assert caught.value.code == "deadline_exceeded"
    await until(lambda: scorer.running == 0)
    assert scorer.cancelled == 1


async def test_a_query_that_the_engine_gives_up_is_unavailable_and_not_late(
    client: AsyncRewardClient, scorer: ScriptedScorer
) -> None:
    async def pause(query: server_query.Query) -> None:
        if query.task == "given up":
            raise asyncio.CancelledError

    scorer.pause = pause
    queries = [Query("progress", task, current=pixels()) for task in ("given up", TASK)]
    given_up, answered = await client.score_batch(queries)
    assert isinstance(given_up, LrmError)
    assert given_up.code == "unavailable"
    assert not isinstance(answered, LrmError)


async def test_how_long_the_caller_waits_is_known_to_the_query(
    client: AsyncRewardClient, scorer: ScriptedScorer
) -> None:
    before = time.monotonic()
    await client.score(Query("progress", TASK, current=pixels()), timeout=7.0)
    (query,) = scorer.queries
    assert query.deadline is not None
    assert query.deadline <= before + 7.5


async def test_the_servers_own_limit_names_the_queries_that_were_late(
    serve, transport: str, scorer: ScriptedScorer
) -> None:
    served = await serve(request_timeout_seconds=0.3)
    client = await served.client(transport)

    async def pause(query: server_query.Query) -> None:
        if query.task == "slow":
            await asyncio.sleep(30)

    scorer.pause = pause
    results = await client.score_batch(
        [Query("progress", "slow", current=pixels()), Query("progress", TASK, current=pixels())]
    )
    assert isinstance(results[0], LrmError)
    assert results[0].code == "deadline_exceeded"
    assert not isinstance(results[1], LrmError)


async def test_an_overloaded_server_refuses_the_call_with_a_hint(
    client: AsyncRewardClient, scorer: ScriptedScorer
) -> None:
    scorer.answers = lambda query: DomainError(
        ErrorCode.OVERLOADED, "full", retry_after_seconds=1.5
    )
    with pytest.raises(LrmError) as caught:
        await client.progress(pixels(), TASK)
    assert caught.value.code == "overloaded"
    assert caught.value.retry_after_seconds == 1.5


async def test_a_call_is_unavailable_while_the_engine_loads_and_then_answered(
    serve, transport: str, scorer: ScriptedScorer
) -> None:
    served = await serve(attach=False)
    client = await served.client(transport)
    calls = [
        lambda: client.progress(pixels(), TASK),
        lambda: client.models(),
        lambda: client.open_episodes([EpisodeSpec(TASK, ["progress"])]),
        lambda: client.step_episodes([EpisodeStep("e", 0, frame=pixels())]),
        lambda: client.close_episodes(["e"]),
    ]
    for call in calls:
        with pytest.raises(LrmError) as caught:
            await call()
        assert caught.value.code == "unavailable"
    served.server.attach(scorer)
    assert (await client.progress(pixels(), TASK)).value == 0.5
