"""Queries to questions, readings to replies, and everything that is refused."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from lrm_server.engine.protocol import FrameSlot, TokenCounts
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.heads.profile import Readout, Role, Use
from lrm_server.heads.query import Query, WindowFrame
from tests.heads.scripted_engine import READ, WROTE, ScriptedEngine, grey, scorer

PAIR = ("ImageA", "ImageB")
DONE = ("no", "yes")
STAGES = tuple(f"{at / 10:.1f}" for at in range(11))
A, B = grey(shade=1), grey(shade=2)
COMPARE = Query(head="contrastive", task="Push.", frames={Role.PREVIOUS: A, Role.CURRENT: B})
ESTIMATE = Query(head="progress", task="Push.", frames={Role.CURRENT: B})
TRI = Query(head="tri", task="Push.", frames={Role.INITIAL: A, Role.PREVIOUS: A, Role.CURRENT: B})


async def test_a_reply_carries_what_the_engine_read() -> None:
    engine = ScriptedEngine()
    engine.shares[PAIR] = [0.2, 0.6]
    reply = await scorer(engine).score(COMPARE)
    assert reply.probabilities == pytest.approx({"previous": 0.25, "current": 0.75})
    assert reply.label_mass == pytest.approx(0.8)
    assert (reply.label, reply.value) == ("current", 1.0)
    assert reply.expected == pytest.approx(0.5)
    assert reply.confidence == pytest.approx(0.75)
    assert reply.model == engine.fingerprint
    assert len(reply.profile) == 12
    assert reply.timings.engine_ms == 3


async def test_a_reply_counts_the_tokens_of_all_that_was_asked_for_it() -> None:
    ask = scorer(engine := ScriptedEngine()).score
    engine.text = '{ "completion_progress": 0.5 }'
    assert (await ask(ESTIMATE)).tokens == READ
    both_orders = replace(COMPARE, swap=True, readout=Readout.LIKELIHOOD)
    assert (await ask(both_orders)).tokens == READ + READ
    reasoned = await ask(replace(ESTIMATE, readout=Readout.REASON_THEN_READ))
    assert reasoned.tokens == TokenCounts(prompt=190, cached=64, written=12)
    assert (await ask(replace(ESTIMATE, readout=Readout.GENERATE))).tokens == WROTE
    tri = await ask(replace(TRI, readout=Readout.LIKELIHOOD))
    assert tri.tokens == READ + READ + READ
    assert tri.components["progress"].tokens == READ


async def test_swap_asks_with_the_frames_exchanged() -> None:
    engine = ScriptedEngine()
    engine.shares[PAIR] = [0.1, 0.9]
    reply = await scorer(engine).score(replace(COMPARE, swap=True))
    shown = [
        [part.frame for part in question.parts if isinstance(part, FrameSlot)]
        for _, question in engine.asked
    ]
    assert shown == [[A, B], [B, A]]
    # A model that says "the second" whatever it sees knows nothing.
    assert reply.probabilities["current"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("readout", "asked"),
    [(None, "forced"), (Readout.LIKELIHOOD, "forced"), (Readout.REASON_THEN_READ, "reasoned")],
)
async def test_the_readout_says_how_the_engine_is_asked(
    readout: Readout | None, asked: str
) -> None:
    engine = ScriptedEngine()
    await scorer(engine).score(replace(ESTIMATE, readout=readout))
    assert [how for how, _ in engine.asked] == [asked]


async def test_generate_gives_a_label_and_no_probabilities() -> None:
    engine = ScriptedEngine()
    engine.text = '{ "completion_progress": 0.4 }'
    query = replace(ESTIMATE, readout=Readout.GENERATE)
    reply = await scorer(engine).score(query)
    assert (reply.label, reply.value, reply.text) == ("0.4", 0.4, None)
    assert reply.probabilities == {}
    assert (reply.expected, reply.confidence, reply.label_mass) == (None, None, None)
    assert (await scorer(engine).score(replace(query, return_text=True))).text == engine.text


async def test_tri_weighs_its_parts_and_gives_each_the_frames_it_looks_at() -> None:
    engine = ScriptedEngine()
    engine.shares = {PAIR: [0.25, 0.75], DONE: [0.4, 0.6], STAGES: [0.0] * 3 + [1.0] + [0.0] * 7}
    reply = await scorer(engine).score(TRI)
    assert reply.value == pytest.approx((1 + 0.3 + 1) / 3)
    assert reply.expected == pytest.approx((0.75 + 0.3 + 0.6) / 3)
    assert set(reply.components) == {"contrastive", "progress", "completion"}
    slots = {
        question.form.labels: [p.name for p in question.parts if isinstance(p, FrameSlot)]
        for _, question in engine.asked
    }
    assert slots == {
        PAIR: ["previous", "current"],
        STAGES: ["initial", "current"],
        DONE: ["current"],
    }
    expected = await scorer(engine).score(replace(TRI, use=Use.EXPECTED))
    assert expected.value == pytest.approx((0.75 + 0.3 + 0.6) / 3)


async def test_tri_fails_and_names_the_part_that_failed() -> None:
    engine = ScriptedEngine()
    engine.shares[DONE] = [0.001, 0.001]
    with pytest.raises(DomainError, match="its part completion failed") as error:
        await scorer(engine).score(TRI)
    assert error.value.code is ErrorCode.COMPONENT_FAILED


@pytest.mark.parametrize(
    "code", [ErrorCode.OVERLOADED, ErrorCode.UNAVAILABLE, ErrorCode.IMAGE_UNDECODABLE]
)
async def test_a_part_that_may_be_asked_again_keeps_its_error(code: ErrorCode) -> None:
    engine = ScriptedEngine()
    engine.failing[DONE] = DomainError(code, "busy", field="current")
    with pytest.raises(DomainError) as error:
        await scorer(engine).score(TRI)
    assert (error.value.code, error.value.field) == (code, "current")


BAD = {
    "empty task": (replace(ESTIMATE, task=" \n"), "task"),
    "long task": (replace(ESTIMATE, task="a" * 2001), "task"),
    "unknown head": (replace(ESTIMATE, head="victory"), "head"),
    "no pair": (replace(COMPARE, frames={Role.CURRENT: B}), "previous"),
    "no frame": (replace(ESTIMATE, frames={}), "current"),
    "strange frame": (replace(ESTIMATE, frames={Role.CURRENT: A, Role.PREVIOUS: B}), "previous"),
    "two sizes": (
        replace(COMPARE, frames={Role.PREVIOUS: A, Role.CURRENT: grey(16, 24)}),
        "current",
    ),
    "two sizes in tri": (
        replace(TRI, frames={Role.PREVIOUS: grey(24, 16), Role.CURRENT: B}),
        "current",
    ),
    "margin": (replace(COMPARE, margin=0.6), "margin"),
    "margin nan": (replace(COMPARE, margin=math.nan), "margin"),
    "fps": (replace(ESTIMATE, fps=0.0), "fps"),
    "window": (replace(ESTIMATE, window=(WindowFrame(A),)), "window"),
    "expected of text": (replace(ESTIMATE, readout=Readout.GENERATE, use=Use.EXPECTED), "use"),
    "swap of text": (replace(COMPARE, readout=Readout.GENERATE, swap=True), "swap"),
}


@pytest.mark.parametrize("case", BAD)
async def test_a_wrong_query_is_refused_by_its_field_and_never_asked(case: str) -> None:
    query, field = BAD[case]
    engine = ScriptedEngine()
    with pytest.raises(DomainError) as error:
        await scorer(engine).score(query)
    assert error.value.field == field
    assert error.value.code in (ErrorCode.INVALID_ARGUMENT, ErrorCode.UNKNOWN_HEAD)
    assert engine.asked == []
