"""Opens a checkpoint: its manifest, its adapters, an engine on it, its heads, the proof."""

from __future__ import annotations

import importlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from lrm_server.config import Settings
from lrm_server.engine.environment import prepare_environment
from lrm_server.heads.canary import check_canary, warm_up
from lrm_server.heads.catalogue import HeadCatalogue, ModelCard
from lrm_server.heads.manifest import (
    MANIFEST_NAME,
    Manifest,
    default_manifest,
    read_manifest,
    served_heads,
)
from lrm_server.heads.scorer import Scorer
from lrm_server.heads.scoring import HeadScorer
from lrm_server.threads import in_daemon_thread

logger = logging.getLogger(__name__)


@asynccontextmanager
async def open_scorer(settings: Settings) -> AsyncIterator[Scorer]:
    """A scorer that has proved itself: warmed up, its canary answered as it should.

    Raises:
        DomainError: the checkpoint, an adapter, the manifest or the canary is wrong.
        Exception: whatever vLLM raises when it cannot load the checkpoint.
    """
    prepare_environment(settings.engine_threads)
    # vLLM takes seconds to import; health is answered meanwhile.
    start = await _imported("lrm_server.engine.start")
    files = await _imported("lrm_server.engine.checkpoint_files")
    folder = await in_daemon_thread(lambda: files.locate(settings.model))
    manifest, beside = find_manifest(settings, folder)
    adapters = {
        name: await in_daemon_thread(
            partial(files.locate, _beside(beside, where), f"adapters.{name}")
        )
        for name, where in {**manifest.adapters, **settings.adapters}.items()
    }
    heads = served_heads(manifest, adapters, settings.profiles)
    logger.info("loading %s from %s", manifest.id, folder)
    options = start.EngineOptions(
        **{name: getattr(settings, name) for name in start.EngineOptions.SETTINGS}
    )
    async with start.open_engine(folder, adapters, options) as (engine, llm):
        card = ModelCard(manifest.id, manifest.description, engine.fingerprint)
        scorer = HeadScorer(engine, HeadCatalogue(heads, card))

        async def proof() -> None:
            await warm_up(scorer)
            if manifest.canary is not None:
                await check_canary(scorer, manifest.canary, beside)

        await llm.prove(proof)
        logger.info("%s is ready: %s", manifest.id, ", ".join(scorer.catalogue))
        yield scorer


async def _imported(name: str) -> Any:
    return await in_daemon_thread(lambda: importlib.import_module(name))


def find_manifest(settings: Settings, checkpoint: Path) -> tuple[Manifest, Path]:
    """The manifest that is used, and the folder to which its files are relative."""
    if settings.manifest is not None:
        return read_manifest(settings.manifest), settings.manifest.resolve().parent
    if (checkpoint / MANIFEST_NAME).is_file():
        return read_manifest(checkpoint / MANIFEST_NAME), checkpoint
    return default_manifest(settings.model), checkpoint


def _beside(folder: Path, where: str) -> str:
    """An adapter's folder beside the manifest, where there is one of that name."""
    return str(folder / where) if (folder / where).is_dir() else where
