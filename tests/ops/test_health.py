"""Readiness: the server's state and what the engine says."""

from __future__ import annotations

import asyncio

import pytest

from lrm_server.engine.protocol import EngineStatus
from lrm_server.ops import health as health_module
from lrm_server.ops.health import Health, Phase
from tests.scripted_scorer import ScriptedScorer


async def test_a_server_without_an_engine_is_not_ready() -> None:
    readiness = await Health().readiness()
    assert (readiness.ready, readiness.phase) == (False, Phase.STARTING)
    assert "loading" in readiness.reason


async def test_the_engine_itself_is_asked() -> None:
    health, scorer = Health(), ScriptedScorer()
    health.serve(scorer)
    assert (await health.readiness()).ready
    scorer.engine = EngineStatus(False, "restarting", 1, 2)
    readiness = await health.readiness()
    assert (readiness.ready, readiness.reason, readiness.engine) == (
        False,
        "restarting",
        scorer.engine,
    )


async def test_a_stopping_server_is_not_ready_whatever_the_engine_says() -> None:
    health = Health()
    health.serve(ScriptedScorer())
    health.stop()
    readiness = await health.readiness()
    assert (readiness.ready, readiness.phase) == (False, Phase.STOPPING)
    assert "stopping" in readiness.reason


async def test_an_engine_that_cannot_be_asked_is_not_ready() -> None:
    class Broken(ScriptedScorer):
        async def status(self) -> EngineStatus:
            raise RuntimeError("the secret of the house")

    health = Health()
    health.serve(Broken())
    readiness = await health.readiness()
    assert not readiness.ready
    assert "secret" not in readiness.reason


async def test_an_engine_that_does_not_answer_is_not_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Silent(ScriptedScorer):
        async def status(self) -> EngineStatus:
            await asyncio.sleep(60)
            return self.engine

    monkeypatch.setattr(health_module, "STATUS_TIMEOUT_SECONDS", 0.05)
    health = Health()
    health.serve(Silent())
    readiness = await health.readiness()
    assert not readiness.ready
    assert "did not answer" in readiness.reason
