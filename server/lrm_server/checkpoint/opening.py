"""Opens what a server answers with: the models behind its heads, and the proof of each."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from lrm_server.checkpoint.plan import Plan, of_engine, plan_engines
from lrm_server.checkpoint.remote import TokenObserver, open_chat, open_planner
from lrm_server.config import Settings
from lrm_server.engine.environment import is_cpu_build
from lrm_server.engine.holdings import QueueLimits
from lrm_server.engine.wordless import WordlessEngine
from lrm_server.errors import invalid
from lrm_server.heads.canary import check_canary, warm_up
from lrm_server.heads.decomposer import Decomposer
from lrm_server.heads.manifest import Manifest
from lrm_server.heads.profile import Role
from lrm_server.heads.routing import RoutingScorer
from lrm_server.heads.scorer import Scorer
from lrm_server.heads.scoring import HeadScorer
from lrm_server.threads import imported, in_daemon_thread

logger = logging.getLogger(__name__)


@asynccontextmanager
async def open_scorer(
    settings: Settings, observe: TokenObserver = lambda *_: None
) -> AsyncIterator[Scorer]:
    """A scorer that has proved itself: warmed up, its canary answered as it should.

    With several engines they are opened one after another, and it is ready when all are.

    Args:
        settings: what is served, and where it runs.
        observe: told the tokens of every request to a remote model.

    Raises:
        DomainError: a checkpoint, an adapter, a manifest or a canary is wrong, or two
            engines serve the same head.
        Exception: whatever vLLM raises when it cannot load a checkpoint.
    """
    plans = await plan_engines(settings)
    await _say_memory(plans)
    async with AsyncExitStack() as stack:
        scorers: dict[str, Scorer] = {}
        for plan in plans:
            with of_engine(plan.setting):
                scorers[plan.name] = await stack.enter_async_context(_open(plan, observe))
        if settings.engines:
            yield RoutingScorer(scorers, {plan.name: plan.spanning for plan in plans})
        else:
            yield scorers[plans[0].name]


@asynccontextmanager
async def _open(plan: Plan, observe: TokenObserver) -> AsyncIterator[Scorer]:
    """One engine's heads."""
    match plan.kind:
        case "writing":
            opening = _open_checkpoint(plan)
        case "robometer":
            opening = _open_robometer(plan)
        case "clip":
            opening = _open_clip(plan)
        case "chat":
            opening = open_chat(plan, observe)
    async with opening as scorer, open_planner(plan, observe) as planner:
        scorer.decomposer = Decomposer(
            planner or scorer.engine,
            most_kept=plan.settings.max_decompositions,
            most_at_once=plan.settings.max_decomposing,
        )
        logger.info("%s is ready: %s", plan.name, ", ".join(scorer.catalogue))
        yield scorer


@asynccontextmanager
async def _open_checkpoint(plan: Plan) -> AsyncIterator[HeadScorer]:
    """A checkpoint that writes, on vLLM, with its adapters."""
    start = await imported("lrm_server.engine.start")
    logger.info("loading %s from %s", plan.name, plan.folder)
    async with start.open_engine(plan.folder, plan.adapters, _options(plan, start)) as opened:
        engine, llm = opened
        scorer = HeadScorer(engine, plan.catalogue(plan.heads, engine.fingerprint))
        await llm.prove(partial(_prove, scorer, plan.manifest, plan.beside))
        yield scorer


@asynccontextmanager
async def _open_robometer(plan: Plan) -> AsyncIterator[HeadScorer]:
    """A Robometer, whose own heads are read at every frame."""
    start = await imported("lrm_server.engine.start")
    robometer = await imported("lrm_server.engine.robometer.start")
    naming = await imported("lrm_server.engine.robometer.folder")
    files = await imported("lrm_server.engine.checkpoint_files")
    base = plan.settings.base or naming.base_name(plan.folder)
    if base is None:
        raise invalid(
            "base",
            f"{plan.folder} brings no tokeniser and no processor files, and its config.yaml names "
            "no base model: name the checkpoint that it was trained from.",
        )
    base_folder = await in_daemon_thread(lambda: files.locate(base, "base"))
    logger.info("loading %s from %s", plan.name, plan.folder)
    options = _options(plan, start)
    async with robometer.open_frame_reader(plan.folder, base_folder, options) as (reader, llm):
        engine = WordlessEngine(reader.fingerprint, reader.status)
        catalogue = plan.catalogue(plan.heads, reader.fingerprint)
        scorer = HeadScorer(engine, catalogue, reader=reader)
        await llm.prove(partial(_prove, scorer, plan.manifest, plan.beside))
        yield scorer


@asynccontextmanager
async def _open_clip(plan: Plan) -> AsyncIterator[HeadScorer]:
    """A CLIP, which compares frames with the task."""
    clip = await imported("lrm_server.engine.clip.start")
    settings = plan.settings
    options = clip.ClipOptions(
        dtype=settings.dtype,
        max_sequences=settings.max_sequences,
        queue=QueueLimits.of(settings),
        frame_threads=settings.frame_threads,
    )
    async with clip.open_clip_engine(plan.folder, options) as embedder:
        engine = WordlessEngine(embedder.fingerprint, embedder.status)
        catalogue = plan.catalogue(plan.heads, embedder.fingerprint)
        scorer = HeadScorer(engine, catalogue, embedder=embedder)
        await _prove(scorer, plan.manifest, plan.beside)
        yield scorer


async def _prove(scorer: Scorer, manifest: Manifest, beside: Path) -> None:
    await warm_up(scorer)
    if manifest.canary is not None:
        await check_canary(scorer, manifest.canary, beside)


def _options(plan: Plan, start: Any) -> Any:
    """Sizes from the settings, and room for what the heads look at."""
    windows = [head.window for head in plan.heads if head.window is not None]
    # Who compares two windows shows both in one question.
    compared = 2 if any(head.profile.head == "preference" for head in plan.heads) else 1
    return start.EngineOptions(
        **{name: getattr(plan.settings, name) for name in start.EngineOptions.SETTINGS},
        max_images=max([len(Role), *(compared * each.most_images for each in windows)]),
        max_video_frames=max([0, *(each.most_video_frames for each in windows)]),
        name=plan.name,
        cores=plan.cores,
        queue=QueueLimits.of(plan.settings),
    )


async def _say_memory(plans: list[Plan]) -> None:
    """Says what several copies of models on one CPU take for keys and values together."""
    sizes = [plan.settings for plan in plans if plan.on_vllm]
    copies = sum(each.data_parallel for each in sizes)
    if copies < 2 or not is_cpu_build():
        return
    start = await imported("lrm_server.engine.start")
    default: float = start.CPU_KV_CACHE_GIB
    total = sum(each.data_parallel * (each.kv_cache_gib or default) for each in sizes)
    logger.info("%d copies of models keep keys and values in %.2f GiB", copies, total)
