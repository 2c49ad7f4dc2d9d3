"""Servers with small engines on the CPU, and what their processes and metrics say."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import psutil
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from lrm_client import Query, Reply, RewardClient
from lrm_server.commands.process import LocalServer, local_server
from lrm_server.engine.cores import CoreWish, Ranks, allot
from tests.live.test_process import ENVIRONMENT, PATIENCE_S, answer
from tests.rollout_frames import episodes

CORE: Final = "EngineCore"
KV_GIB: Final = 0.0625
SMALL: Final = {"enforce_eager": True, "max_sequences": 16, "kv_cache_gib": KV_GIB}
MIB: Final = 1024**2

own_cores = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="on one core all engines share it"
)


@contextmanager
def running(file: Path, settings: dict[str, object]) -> Iterator[LocalServer]:
    file.write_text(yaml.safe_dump(settings, sort_keys=False))
    with local_server([f"--config={file}"], ENVIRONMENT) as process:
        process.wait_until_ready(PATIENCE_S)
        yield process


def ask(server: LocalServer, head: str, **options: Any) -> Reply:
    rollout = episodes()[0]
    looks = {"current": rollout.jpeg(6)}
    if head in ("contrastive", "tri"):
        looks["previous"] = rollout.jpeg(0)
    with RewardClient(f"grpc://{server.grpc}", timeout=60, **options) as client:
        return client.score(Query(head, rollout.task, **looks))


def counted(server: LocalServer, name: str) -> dict[tuple[str, str], float]:
    """A metric of vLLM's, by the engine and its copy of the model."""
    return {
        (sample.labels["engine_name"], sample.labels.get("engine", "")): sample.value
        for family in text_string_to_metric_families(answer(server, "/metrics").text)
        for sample in family.samples
        if sample.name == name
    }


def spread(*wishes: CoreWish) -> list[Ranks]:
    cores = sorted(os.sched_getaffinity(0))
    return list(allot(cores, {str(at): wish for at, wish in enumerate(wishes)}).values())


def engine_cores(server: int) -> dict[tuple[int, ...], psutil.Process]:
    """The processes of a server's engines, by the processor's cores that they compute on.

    vLLM calls an engine's process its core; the model may run in a child of it.

    Args:
        server: the server's process.
    """
    found = {}
    for process in psutil.Process(server).children(recursive=True):
        if cores := bound_to(process):
            of = process if CORE in process.name() else process.parent()
            assert of is not None
            assert CORE in of.name()
            found[cores] = of
    return found


def bound_to(process: psutil.Process) -> tuple[int, ...]:
    """The cores that a process's threads keep to; () where they may use all that there are."""
    used: set[int] = set()
    for thread in process.threads():
        with suppress(ProcessLookupError):
            used |= os.sched_getaffinity(thread.id)
    return tuple(sorted(used)) if used < os.sched_getaffinity(0) else ()
