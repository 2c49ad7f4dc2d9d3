"""Several engines behind one scorer: who is asked, what is said of them."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from lrm_server.engine.protocol import Conversation, EngineStatus, EngineTimings, Message, Written
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.heads import routing
from lrm_server.heads.catalogue import HeadCatalogue, ModelCard
from lrm_server.heads.manifest import default_manifest, served_heads, with_heads
from lrm_server.heads.profile import Role
from lrm_server.heads.query import Query
from lrm_server.heads.routing import RoutingScorer
from lrm_server.heads.scoring import HeadScorer
from tests.heads.scripted_engine import ScriptedEngine, grey

PAIR = ("ImageA", "ImageB")
DONE = ("no", "yes")
STAGES = tuple(f"{at / 10:.1f}" for at in range(11))
A, B = grey(shade=1), grey(shade=2)
ESTIMATE = Query(head="progress", task="Push.", frames={Role.CURRENT: B})
COMPARE = Query(head="contrastive", task="Push.", frames={Role.PREVIOUS: A, Role.CURRENT: B})
TRI = replace(COMPARE, head="tri")
ASKED = Conversation(messages=(Message("user", ("How does it go?",)),))


class Named(ScriptedEngine):
    """A scripted engine that writes its name, and whose state can be set."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.fingerprint = f"fingerprint-of-{name}"
        self.name = name
        self.state = EngineStatus(True, "", 2, 1)

    async def converse(self, conversation: Conversation) -> Written:
        return Written(self.name, "stop", 1, 1, EngineTimings())

    async def status(self) -> EngineStatus:
        return self.state


def serving(engine: Named, *heads: str) -> HeadScorer:
    manifest = with_heads(default_manifest(engine.name), heads)
    card = ModelCard(engine.name, f"about {engine.name}", engine.fingerprint)
    return HeadScorer(engine, HeadCatalogue(served_heads(manifest, {}), card))


@pytest.fixture
def merged() -> Named:
    return Named("merged")


@pytest.fixture
def base() -> Named:
    return Named("base")


@pytest.fixture
def both(merged: Named, base: Named) -> RoutingScorer:
    """progress on one engine, contrastive and completion on another, tri on both."""
    tri = next(head for head in served_heads(default_manifest(""), {}) if head.name == "tri")
    return RoutingScorer(
        {
            "merged": serving(merged, "progress"),
            "base": serving(base, "contrastive", "completion"),
        },
        {"base": [tri]},
    )


async def test_a_query_goes_to_the_engine_of_its_head_and_the_reply_says_which(
    both: RoutingScorer, merged: Named, base: Named
) -> None:
    estimate, compare = await both.score(ESTIMATE), await both.score(COMPARE)
    assert [question.form.labels for _, question in merged.asked] == [STAGES]
    assert [question.form.labels for _, question in base.asked] == [PAIR]
    assert (estimate.model, compare.model) == (merged.fingerprint, base.fingerprint)


async def test_a_head_is_made_of_parts_on_several_engines(
    both: RoutingScorer, merged: Named, base: Named
) -> None:
    base.shares[PAIR], base.shares[DONE] = [0.0, 1.0], [1.0, 0.0]
    merged.shares[STAGES] = [0.0] * 6 + [1.0] + [0.0] * 4
    reply = await both.score(TRI)
    assert reply.value == pytest.approx((1.0 + 0.6 + 0.0) / 3)
    assert {name: part.model for name, part in reply.components.items()} == {
        "contrastive": base.fingerprint,
        "progress": merged.fingerprint,
        "completion": base.fingerprint,
    }
    assert set(reply.model.split("+")) == {base.fingerprint, merged.fingerprint}


async def test_a_part_that_fails_on_its_engine_fails_the_head_and_is_named(
    both: RoutingScorer, merged: Named
) -> None:
    merged.failing[STAGES] = DomainError(ErrorCode.LABEL_MASS_LOW, "no mass")
    with pytest.raises(DomainError) as caught:
        await both.score(TRI)
    assert caught.value.code is ErrorCode.COMPONENT_FAILED
    assert "progress" in caught.value.message
    merged.failing[STAGES] = DomainError(ErrorCode.UNAVAILABLE, "it died")
    with pytest.raises(DomainError) as caught:
        await both.score(TRI)
    assert caught.value.code is ErrorCode.UNAVAILABLE
    assert (await both.score(COMPARE)).head == "contrastive"


def test_what_is_wrong_is_found_whoever_serves_the_head(both: RoutingScorer) -> None:
    for query in (ESTIMATE, COMPARE, TRI):
        both.check(query)
        with pytest.raises(DomainError) as caught:
            both.check(replace(query, frames={}))
        assert caught.value.field in ("current", "previous")
    with pytest.raises(DomainError) as caught:
        both.check(replace(ESTIMATE, head="grasp"))
    assert caught.value.code is ErrorCode.UNKNOWN_HEAD
    for head in ("progress", "contrastive", "completion", "tri"):
        assert head in caught.value.message


def test_every_model_is_listed_with_its_own_heads(both: RoutingScorer) -> None:
    assert {each.model.id: list(each) for each in both.catalogue.models} == {
        "merged": ["progress"],
        "base": ["contrastive", "completion", "tri"],
    }
    assert both.catalogue.model_of("tri").id == "base"
    assert both.catalogue.model_of("progress").id == "merged"


async def test_all_engines_must_be_ready_and_the_one_that_is_not_is_named(
    both: RoutingScorer, base: Named
) -> None:
    status = await both.status()
    assert (status.ready, status.reason, status.running, status.waiting) == (True, "", 4, 2)
    base.state = EngineStatus(False, "it died", 0, 0)
    status = await both.status()
    assert not status.ready
    assert status.reason == "engine base: it died"
    assert {name: each.ready for name, each in status.engines.items()} == {
        "merged": True,
        "base": False,
    }


async def test_what_waits_before_all_engines_is_summed_and_an_empty_queue_is_a_zero(
    both: RoutingScorer, merged: Named, base: Named
) -> None:
    merged.state = replace(merged.state, queued={"interactive": 0, "batch": 3})
    base.state = replace(base.state, queued={"interactive": 0, "batch": 4})
    assert (await both.status()).queued == {"interactive": 0, "batch": 7}


async def test_an_engine_that_cannot_say_how_it_is_does_not_hide_the_others(
    both: RoutingScorer, merged: Named, base: Named, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never() -> EngineStatus:
        await asyncio.Event().wait()
        raise AssertionError

    async def broken() -> EngineStatus:
        raise RuntimeError("the secret of the house")

    monkeypatch.setattr(routing, "ANSWER_WITHIN_S", 0.01)
    monkeypatch.setattr(base, "status", never)
    status = await both.status()
    assert (status.ready, status.engines["merged"].ready) == (False, True)
    assert "engine base" in status.reason
    monkeypatch.setattr(merged, "status", broken)
    status = await both.status()
    assert "engine merged" in status.reason
    assert "secret" not in status.reason


async def test_a_conversation_is_continued_by_the_model_that_it_names(both: RoutingScorer) -> None:
    assert (await both.converse(replace(ASKED, model="base"))).text == "base"
    assert (await both.converse(replace(ASKED, model="merged"))).text == "merged"
    assert (await both.converse(ASKED)).text == "merged"
    with pytest.raises(DomainError) as caught:
        await both.converse(replace(ASKED, model="other"))
    assert caught.value.field == "model"


async def test_only_heads_over_subtasks_decompose(both: RoutingScorer) -> None:
    for head in ("progress", "tri"):
        with pytest.raises(DomainError) as caught:
            await both.decompose(head, "Push.")
        assert "no subtasks" in caught.value.message
