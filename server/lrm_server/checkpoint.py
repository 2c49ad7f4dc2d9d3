"""Opens what a server answers with: its manifest, a model behind it, its heads, the proof."""

from __future__ import annotations

import importlib
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from lrm_server.config import Settings
from lrm_server.engine.environment import prepare_environment
from lrm_server.engine.protocol import Engine
from lrm_server.engine.wordless import WordlessEngine
from lrm_server.errors import invalid
from lrm_server.heads.canary import check_canary, warm_up
from lrm_server.heads.catalogue import HeadCatalogue, ModelCard, ServedHead
from lrm_server.heads.decomposer import Decomposer
from lrm_server.heads.manifest import (
    MANIFEST_NAME,
    ROBOMETER,
    SIMILARITY,
    WRITING,
    Manifest,
    default_manifest,
    read_manifest,
    served_heads,
    with_heads,
)
from lrm_server.heads.profile import Role
from lrm_server.heads.remote import for_endpoint
from lrm_server.heads.scorer import Scorer
from lrm_server.heads.scoring import HeadScorer
from lrm_server.threads import in_daemon_thread

logger = logging.getLogger(__name__)

ROBOMETER_ARCHITECTURE: Final = "RFM"
TokenObserver = Callable[[str, int, int], None]
"""Told a model's name and the tokens of a request to it: those read, those written."""


@asynccontextmanager
async def open_scorer(
    settings: Settings, observe: TokenObserver = lambda *_: None
) -> AsyncIterator[Scorer]:
    """A scorer that has proved itself: warmed up, its canary answered as it should.

    Args:
        settings: what is served, and where it runs.
        observe: told the tokens of every request to a remote model.

    Raises:
        DomainError: the checkpoint, an adapter, the manifest or the canary is wrong.
        Exception: whatever vLLM raises when it cannot load the checkpoint.
    """
    if settings.backend == "chat":
        opening = _open_chat(settings, observe)
    else:
        # vLLM takes seconds to import; health is answered meanwhile.
        prepare_environment(settings.engine_threads)
        files = await _imported("lrm_server.engine.checkpoint_files")
        folder = await in_daemon_thread(lambda: files.locate(settings.model))
        if settings.backend == "clip":
            opening = _open_clip(settings, folder)
        elif _is_robometer(folder):
            opening = _open_robometer(settings, folder, files)
        else:
            opening = _open_checkpoint(settings, folder, files)
    async with opening as scorer, _planner(settings, observe) as planner:
        if planner is not None:
            scorer.decomposer = Decomposer(planner)
        logger.info("%s is ready: %s", scorer.catalogue.model.id, ", ".join(scorer.catalogue))
        yield scorer


@asynccontextmanager
async def _planner(settings: Settings, observe: TokenObserver) -> AsyncIterator[Engine | None]:
    """The text model that makes subtasks, where it is not the served one."""
    if not settings.planner_url:
        yield None
        return
    chat = await _imported("lrm_server.engine.chat.start")
    options = chat.ChatOptions(
        url=settings.planner_url,
        model=settings.planner_model,
        key=settings.planner_key.get_secret_value() if settings.planner_key else None,
        timeout_seconds=settings.remote_timeout_seconds,
        prefill=settings.remote_prefill,
    )
    async with chat.open_chat_engine(options, {}, observe) as engine:
        yield engine


@asynccontextmanager
async def _open_checkpoint(
    settings: Settings, folder: Path, files: Any
) -> AsyncIterator[HeadScorer]:
    """A checkpoint that writes, on vLLM, with its adapters."""
    start = await _imported("lrm_server.engine.start")
    manifest, beside = find_manifest(settings, folder)
    adapters = {
        name: await in_daemon_thread(
            partial(files.locate, _beside(beside, where), f"adapters.{name}")
        )
        for name, where in {**manifest.adapters, **settings.adapters}.items()
    }
    heads = served_heads(manifest, adapters, settings.profiles)
    options = _engine_options(settings, start, heads)
    logger.info("loading %s from %s", manifest.id, folder)
    async with start.open_engine(folder, adapters, options) as (engine, llm):
        scorer = HeadScorer(engine, _catalogue(manifest, heads, engine.fingerprint))
        await llm.prove(partial(_prove, scorer, manifest, beside))
        yield scorer


@asynccontextmanager
async def _open_robometer(
    settings: Settings, folder: Path, files: Any
) -> AsyncIterator[HeadScorer]:
    """A Robometer, whose own heads are read at every frame."""
    start = await _imported("lrm_server.engine.start")
    robometer = await _imported("lrm_server.engine.robometer.start")
    manifest, beside = find_manifest(settings, folder, ROBOMETER)
    base = settings.base or (await _imported("lrm_server.engine.robometer.folder")).base_name(
        folder
    )
    if base is None:
        raise invalid(
            "base",
            f"{folder} brings no tokeniser and no processor files, and its config.yaml names no "
            "base model: name the checkpoint that it was trained from.",
        )
    base_folder = await in_daemon_thread(lambda: files.locate(base, "base"))
    heads = served_heads(manifest, settings.adapters, settings.profiles)
    options = _engine_options(settings, start, heads)
    logger.info("loading %s from %s", manifest.id, folder)
    async with robometer.open_frame_reader(folder, base_folder, options) as (reader, llm):
        engine = WordlessEngine(reader.fingerprint, reader.status)
        catalogue = _catalogue(manifest, heads, reader.fingerprint)
        scorer = HeadScorer(engine, catalogue, reader=reader)
        await llm.prove(partial(_prove, scorer, manifest, beside))
        yield scorer


@asynccontextmanager
async def _open_clip(settings: Settings, folder: Path) -> AsyncIterator[HeadScorer]:
    """A CLIP, which compares frames with the task."""
    clip = await _imported("lrm_server.engine.clip.start")
    manifest, beside = find_manifest(settings, folder, SIMILARITY)
    heads = served_heads(manifest, settings.adapters, settings.profiles)
    options = clip.ClipOptions(
        dtype=settings.dtype,
        max_sequences=settings.max_sequences,
        max_queue=settings.max_queue,
        frame_threads=settings.frame_threads,
    )
    async with clip.open_clip_engine(folder, options) as embedder:
        engine = WordlessEngine(embedder.fingerprint, embedder.status)
        catalogue = _catalogue(manifest, heads, embedder.fingerprint)
        scorer = HeadScorer(engine, catalogue, embedder=embedder)
        await _prove(scorer, manifest, beside)
        yield scorer


@asynccontextmanager
async def _open_chat(settings: Settings, observe: TokenObserver) -> AsyncIterator[HeadScorer]:
    """A model behind an OpenAI-compatible endpoint. It is not warmed up: that costs tokens."""
    chat = await _imported("lrm_server.engine.chat.start")
    manifest, beside = find_manifest(settings, None)
    heads = served_heads(manifest, settings.adapters, settings.profiles)
    options = chat.ChatOptions(
        url=settings.remote_url,
        model=settings.model,
        key=settings.remote_key.get_secret_value() if settings.remote_key else None,
        concurrency=settings.remote_concurrency,
        timeout_seconds=settings.remote_timeout_seconds,
        prefill=settings.remote_prefill,
        max_queue=settings.max_queue,
        frame_threads=settings.frame_threads,
    )
    async with chat.open_chat_engine(options, settings.adapters, observe) as engine:
        served = for_endpoint(heads, reads_labels=engine.reads_labels)
        scorer = HeadScorer(engine, _catalogue(manifest, served, engine.fingerprint))
        if manifest.canary is not None:
            await check_canary(scorer, manifest.canary, beside)
        yield scorer


async def _prove(scorer: Scorer, manifest: Manifest, beside: Path) -> None:
    await warm_up(scorer)
    if manifest.canary is not None:
        await check_canary(scorer, manifest.canary, beside)


async def _imported(name: str) -> Any:
    return await in_daemon_thread(lambda: importlib.import_module(name))


def _is_robometer(folder: Path) -> bool:
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        # Whoever loads the checkpoint says what is wrong with it.
        return False
    named = config.get("architectures") if isinstance(config, dict) else None
    return isinstance(named, list) and ROBOMETER_ARCHITECTURE in named


def find_manifest(
    settings: Settings, checkpoint: Path | None, profiles: tuple[str, ...] = WRITING
) -> tuple[Manifest, Path]:
    """The manifest that is used, with the heads that the settings choose.

    Args:
        settings: may name a manifest, and heads.
        checkpoint: beside whose weights a manifest may lie; None for a remote model.
        profiles: of the heads that are served where there is no manifest.

    Returns:
        The manifest, and the folder to which its files are relative.

    Raises:
        DomainError: INVALID_ARGUMENT of ``manifest`` or ``heads``.
    """
    beside = checkpoint or Path()
    if settings.manifest is not None:
        manifest = read_manifest(settings.manifest)
        beside = settings.manifest.resolve().parent
    elif checkpoint is not None and (checkpoint / MANIFEST_NAME).is_file():
        manifest = read_manifest(checkpoint / MANIFEST_NAME)
    else:
        manifest = default_manifest(settings.model, profiles)
    if settings.head_names:
        manifest = with_heads(manifest, settings.head_names, settings.profiles)
    return manifest, beside


def _catalogue(manifest: Manifest, heads: list[ServedHead], fingerprint: str) -> HeadCatalogue:
    return HeadCatalogue(heads, ModelCard(manifest.id, manifest.description, fingerprint))


def _engine_options(settings: Settings, start: Any, heads: list[ServedHead]) -> Any:
    """Sizes from the settings, and room for what the heads look at."""
    windows = [head.window for head in heads if head.window is not None]
    # Who compares two windows shows both in one question.
    compared = 2 if any(head.profile.head == "preference" for head in heads) else 1
    return start.EngineOptions(
        **{name: getattr(settings, name) for name in start.EngineOptions.SETTINGS},
        max_images=max([len(Role), *(compared * each.most_images for each in windows)]),
        max_video_frames=max([0, *(each.most_video_frames for each in windows)]),
    )


def _beside(folder: Path, where: str) -> str:
    """An adapter's folder beside the manifest, where there is one of that name."""
    return str(folder / where) if (folder / where).is_dir() else where
