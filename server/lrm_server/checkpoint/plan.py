"""What each engine is to serve: found out for all of them before any model is loaded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from lrm_server.config import Settings
from lrm_server.engine.cores import CoreWish, Ranks, allot
from lrm_server.engine.environment import (
    bindable_cores,
    is_cpu_build,
    prepare_environment,
    wait_briefly,
)
from lrm_server.errors import DomainError, invalid
from lrm_server.heads.catalogue import HeadCatalogue, ModelCard, ServedHead
from lrm_server.heads.composite import composite_head
from lrm_server.heads.manifest import (
    MANIFEST_NAME,
    ROBOMETER,
    SIMILARITY,
    WRITING,
    Manifest,
    default_manifest,
    profile_of,
    read_manifest,
    served_heads,
    with_heads,
)
from lrm_server.heads.profile import CompositeProfile
from lrm_server.threads import imported, in_daemon_thread

ROBOMETER_ARCHITECTURE: Final = "RFM"

Kind: TypeAlias = Literal["writing", "robometer", "clip", "chat"]
"""What answers: a checkpoint that writes, one with heads of its own, a CLIP, an endpoint."""

_PROFILES: Final[Mapping[Kind, tuple[str, ...]]] = {
    "writing": WRITING,
    "robometer": ROBOMETER,
    "clip": SIMILARITY,
    "chat": WRITING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one engine is to serve.

    Attributes:
        setting: the engine's name in the settings; "" for the only one.
        settings: of this engine.
        kind: what answers.
        folder: of the checkpoint; None for an endpoint.
        manifest: the heads that this engine answers alone.
        beside: folder to which the manifest's files are relative.
        adapters: name -> folder, or where one is to be found.
        heads: those of the manifest, with their profiles.
        spanning: composite heads that the engine names and whose parts others serve too.
        cores: that a CPU engine is bound to.
    """

    setting: str
    settings: Settings
    kind: Kind
    folder: Path | None
    manifest: Manifest
    beside: Path
    adapters: Mapping[str, Any] = field(default_factory=dict)
    heads: tuple[ServedHead, ...] = ()
    spanning: tuple[ServedHead, ...] = ()
    cores: Ranks = ()

    @property
    def name(self) -> str:
        """What the engine's model is called: by its name in the settings, or its manifest."""
        return self.setting or self.manifest.id

    @property
    def on_vllm(self) -> bool:
        """Whether vLLM runs the model in processes of its own."""
        return self.kind in ("writing", "robometer")

    def catalogue(self, heads: Sequence[ServedHead], fingerprint: str) -> HeadCatalogue:
        """The heads as they are served by a model of this fingerprint."""
        return HeadCatalogue(heads, ModelCard(self.name, self.manifest.description, fingerprint))


@contextmanager
def of_engine(setting: str) -> Iterator[None]:
    """Errors within the block name the engine that they are about, if it has a name."""
    try:
        yield
    except DomainError as error:
        if not setting:
            raise
        raise DomainError(
            error.code,
            f"engine {setting}: {error.message}",
            field=f"engines.{setting}.{error.field}",
        ) from error


async def plan_engines(settings: Settings) -> list[Plan]:
    """What the engines of a server are to serve.

    Raises:
        DomainError: a checkpoint, an adapter or a manifest is not there or wrong, or two
            engines serve the same head.
    """
    each = settings.each_engine()
    if any(engine.backend != "chat" for engine in each.values()):
        # With several engines, and where cores are named, all cores are there to be shared.
        alone = not settings.engines and settings.cores is None
        prepare_environment(settings.engine_threads if alone else None)
    plans = []
    for name, engine in each.items():
        with of_engine(name):
            plans.append(await _plan(name, engine))
    _check_distinct(plans)
    plans = [_with_heads(plan, plans) for plan in plans]
    return _with_cores(plans)


async def _plan(name: str, settings: Settings) -> Plan:
    kind, folder = await _kind(settings)
    manifest, beside = find_manifest(settings, folder, _PROFILES[kind])
    adapters: Mapping[str, Any] = settings.adapters
    if kind == "writing":
        files = await imported("lrm_server.engine.checkpoint_files")
        adapters = {
            adapter: await in_daemon_thread(
                partial(files.locate, _beside(beside, where), f"adapters.{adapter}")
            )
            for adapter, where in {**manifest.adapters, **settings.adapters}.items()
        }
    return Plan(
        setting=name,
        settings=settings,
        kind=kind,
        folder=folder,
        manifest=manifest,
        beside=beside,
        adapters=adapters,
    )


async def _kind(settings: Settings) -> tuple[Kind, Path | None]:
    if settings.backend == "chat":
        return "chat", None
    # It brings transformers, which takes seconds to import; health is answered meanwhile.
    files = await imported("lrm_server.engine.checkpoint_files")
    folder: Path = await in_daemon_thread(lambda: files.locate(settings.model))
    if settings.backend == "clip":
        return "clip", folder
    return "robometer" if _is_robometer(folder) else "writing", folder


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


def _beside(folder: Path, where: str) -> str:
    """An adapter's folder beside the manifest, where there is one of that name."""
    return str(folder / where) if (folder / where).is_dir() else where


def _check_distinct(plans: Sequence[Plan]) -> None:
    owners: dict[str, str] = {}
    for plan in plans:
        for head in plan.manifest.heads:
            first = owners.setdefault(head, plan.setting)
            if first != plan.setting:
                raise invalid(
                    "engines",
                    f"the engines {first} and {plan.setting} both serve head {head}: choose with "
                    "`heads:` which heads each of them serves.",
                )


def _with_heads(plan: Plan, plans: Sequence[Plan]) -> Plan:
    """The plan with its heads; those whose parts other engines serve are set apart."""
    with of_engine(plan.setting):
        named = {
            head: profile_of(head, entry, plan.settings.profiles)
            for head, entry in plan.manifest.heads.items()
        }
        apart = {
            head: profile
            for head, profile in named.items()
            if isinstance(profile, CompositeProfile)
            and len(plans) > 1
            and not all(part.head in named for part in profile.components)
        }
        everywhere = {
            head: profile_of(head, entry, other.settings.profiles)
            for other in plans
            for head, entry in other.manifest.heads.items()
        }
        spanning = tuple(
            composite_head(head, profile, everywhere, plan.manifest.heads[head].readout)
            for head, profile in apart.items()
        )
        own = {head: entry for head, entry in plan.manifest.heads.items() if head not in apart}
        manifest = plan.manifest.model_copy(update={"heads": own})
        heads = served_heads(manifest, plan.adapters, plan.settings.profiles)
    return replace(plan, manifest=manifest, heads=tuple(heads), spanning=spanning)


def _with_cores(plans: Sequence[Plan]) -> list[Plan]:
    """The plans with the cores of their CPU engines."""
    cores = bindable_cores() if is_cpu_build() else ()
    bound = {plan.setting: plan for plan in plans if plan.on_vllm}
    if not cores or not bound:
        return list(plans)
    shares = allot(
        cores,
        {
            name: CoreWish(
                plan.settings.cores, plan.settings.engine_threads, plan.settings.data_parallel
            )
            for name, plan in bound.items()
        },
    )
    wait_briefly({core for ranks in shares.values() for rank in ranks for core in rank})
    return [replace(plan, cores=shares.get(plan.setting, ())) for plan in plans]
