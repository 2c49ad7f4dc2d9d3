"""Opens models that run elsewhere, behind OpenAI-compatible endpoints."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from pydantic import SecretStr

from lrm_server.checkpoint.plan import Plan
from lrm_server.engine.holdings import QueueLimits
from lrm_server.engine.protocol import Engine
from lrm_server.heads.canary import check_canary
from lrm_server.heads.remote import for_endpoint
from lrm_server.heads.scoring import HeadScorer
from lrm_server.heads.subtask_profile import SubtaskProfile
from lrm_server.threads import imported

TokenObserver = Callable[[str, int, int], None]
"""Told a model's name and the tokens of a request to it: those read, those written."""


@asynccontextmanager
async def open_chat(plan: Plan, observe: TokenObserver) -> AsyncIterator[HeadScorer]:
    """A model behind an endpoint. It is not warmed up: that costs tokens."""
    chat = await imported("lrm_server.engine.chat.start")
    settings = plan.settings
    options = chat.ChatOptions(
        url=settings.remote_url,
        model=settings.model,
        key=_clear(settings.remote_key),
        concurrency=settings.remote_concurrency,
        timeout_seconds=settings.remote_timeout_seconds,
        prefill=settings.remote_prefill,
        queue=QueueLimits.of(settings),
        frame_threads=settings.frame_threads,
    )
    async with chat.open_chat_engine(options, plan.adapters, observe) as engine:
        heads = for_endpoint(plan.heads, reads_labels=engine.reads_labels)
        scorer = HeadScorer(engine, plan.catalogue(heads, engine.fingerprint))
        if plan.manifest.canary is not None:
            await check_canary(scorer, plan.manifest.canary, plan.beside)
        yield scorer


@asynccontextmanager
async def open_planner(plan: Plan, observe: TokenObserver) -> AsyncIterator[Engine | None]:
    """The text model that makes subtasks, where heads want them and it is not the served one."""
    settings = plan.settings
    wanted = any(isinstance(head.profile, SubtaskProfile) for head in plan.heads)
    if not settings.planner_url or not wanted:
        yield None
        return
    chat = await imported("lrm_server.engine.chat.start")
    options = chat.ChatOptions(
        url=settings.planner_url,
        model=settings.planner_model,
        key=_clear(settings.planner_key),
        timeout_seconds=settings.remote_timeout_seconds,
        prefill=settings.remote_prefill,
    )
    async with chat.open_chat_engine(options, {}, observe) as engine:
        yield engine


def _clear(key: SecretStr | None) -> str | None:
    return key.get_secret_value() if key is not None else None
