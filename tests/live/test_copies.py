"""Two copies of a model in one engine (data parallel), on the CPU."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lrm_client import Query, Reply, Retry, RewardClient, Unavailable
from lrm_server.commands.process import LocalServer
from lrm_server.engine.cores import CoreWish
from tests.live.served_engines import (
    KV_GIB,
    MIB,
    SMALL,
    ask,
    counted,
    engine_cores,
    own_cores,
    running,
    spread,
)
from tests.live.test_process import answer, wait_for
from tests.rollout_frames import episodes

ROUNDING = 0.03
"""By how much a probability depends on what else was in the engine's batch."""


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    file = tmp_path_factory.mktemp("copies") / "settings.yaml"
    with running(file, {**SMALL, "data_parallel": 2}) as process:
        yield process


@own_cores
def test_copies_of_a_model_share_the_work_each_on_its_core(copies: LocalServer) -> None:
    (ranks,) = spread(CoreWish(copies=2))
    assert set(engine_cores(copies.pid)) == set(ranks)
    before = counted(copies, "vllm:prompt_tokens_total")
    rollout = episodes()[0]
    queries = [
        Query("progress", rollout.task, current=rollout.jpeg(at))
        for at in range(len(rollout.frames))
    ]
    with RewardClient(f"grpc://{copies.grpc}", timeout=60) as client:
        together = client.score_batch(queries)
        alone = [client.score(query) for query in queries[:2]]
    for batched, single in zip(together, alone, strict=False):
        assert isinstance(batched, Reply)
        assert batched.expected == pytest.approx(single.expected, abs=ROUNDING)
    after = counted(copies, "vllm:prompt_tokens_total")
    assert len(after) == 2
    assert all(after[rank] > before[rank] for rank in after)
    (room,) = counted(copies, "lrm_engine_kv_cache_bytes").values()
    assert room / MIB == pytest.approx(2 * KV_GIB * 1024, rel=0.02)


@own_cores
def test_a_copy_that_dies_makes_the_engine_not_ready_and_is_started_again(
    copies: LocalServer,
) -> None:
    before = ask(copies, "progress").value
    next(iter(engine_cores(copies.pid).values())).kill()
    wait_for(lambda: answer(copies, "/readyz"), 503)
    with pytest.raises(Unavailable):
        ask(copies, "progress", retry=Retry(attempts=1))
    wait_for(lambda: answer(copies, "/readyz"))
    assert ask(copies, "progress").value == before
    assert set(engine_cores(copies.pid)) == set(spread(CoreWish(copies=2))[0])
