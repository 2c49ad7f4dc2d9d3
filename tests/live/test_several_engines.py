"""Two real engines in one server, on the CPU.

One serves a checkpoint with an adapter merged into it, the other the base checkpoint with an
adapter beside it; each has a core of its own where there are two.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file, save_file

from lrm_client import Retry, Unavailable
from lrm_server.commands.process import LocalServer
from lrm_server.engine.checkpoint_files import locate
from lrm_server.engine.cores import CoreWish
from tests.engine.lora import deltas, make_adapter
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


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    folder = tmp_path_factory.mktemp("engines")
    checkpoint = locate("embedded")
    adapter = make_adapter(folder / "adapter", checkpoint, seed=1, size=0.05)
    manifest = yaml.safe_load((checkpoint / "lrm.yaml").read_text())
    # The canary is the checkpoint's as it was trained.
    del manifest["canary"]
    (folder / "lrm.yaml").write_text(yaml.safe_dump(manifest))
    settings = {
        **SMALL,
        "manifest": str(folder / "lrm.yaml"),
        "engines": {
            "merged": {"model": str(merged(folder, checkpoint, adapter)), "heads": "progress"},
            "base": {
                "heads": "contrastive,completion,tri",
                "adapters": {"contrastive": str(adapter)},
            },
        },
    }
    with running(folder / "settings.yaml", settings) as process:
        yield process


def merged(folder: Path, checkpoint: Path, adapter: Path) -> Path:
    """A copy of a checkpoint with an adapter added to its weights."""
    target = folder / "merged"
    shutil.copytree(checkpoint, target)
    weights = load_file(target / "model.safetensors")
    for name, delta in deltas(adapter).items():
        weights[name] = (weights[name].float() + delta).to(weights[name].dtype)
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    return target


def fingerprints(server: LocalServer) -> dict[str, str]:
    return {each["id"]: each["fingerprint"] for each in answer(server, "/v1/models").json()["data"]}


def test_heads_are_routed_and_replies_name_the_engine_that_answered(server: LocalServer) -> None:
    known = fingerprints(server)
    assert set(known) == {"merged", "base"}
    assert len(set(known.values())) == 2
    assert ask(server, "progress").model == known["merged"]
    assert ask(server, "contrastive").model == known["base"]
    tri = ask(server, "tri")
    assert {name: part.model for name, part in tri.components.items()} == {
        "progress": known["merged"],
        "contrastive": known["base"],
        "completion": known["base"],
    }


def test_both_engines_metrics_are_there_and_the_one_that_was_asked_counts(
    server: LocalServer,
) -> None:
    name = "vllm:prompt_tokens_total"
    before = counted(server, name)
    assert set(before) == {("merged", "0"), ("base", "0")}
    ask(server, "progress")
    after = counted(server, name)
    assert after["merged", "0"] > before["merged", "0"]
    assert after["base", "0"] == before["base", "0"]


def test_each_engine_has_its_own_room_for_keys_and_values(server: LocalServer) -> None:
    room = counted(server, "lrm_engine_kv_cache_bytes")
    assert set(room) == {("merged", ""), ("base", "")}
    # What is left of the last block is not used.
    assert all(KV_GIB * 1024 - 1 < size / MIB <= KV_GIB * 1024 for size in room.values())
    tokens = counted(server, "lrm_engine_kv_cache_tokens")
    assert all(count > 4096 for count in tokens.values())


@own_cores
def test_each_engine_computes_on_cores_of_its_own(server: LocalServer) -> None:
    expected = {cores for ranks in spread(CoreWish(), CoreWish()) for cores in ranks}
    assert set(engine_cores(server.pid)) == expected


@own_cores
def test_an_engine_that_dies_leaves_the_other_and_comes_back(server: LocalServer) -> None:
    known, before = fingerprints(server), ask(server, "progress")
    share = spread(CoreWish(), CoreWish())[0][0]
    engine_cores(server.pid)[share].kill()
    down = wait_for(lambda: answer(server, "/readyz"), 503)
    assert "engine merged" in down.json()["detail"]
    assert "base" not in down.json()["detail"]
    assert ask(server, "completion").model == known["base"]
    for head in ("progress", "tri"):
        with pytest.raises(Unavailable):
            ask(server, head, retry=Retry(attempts=1))
    assert 'lrm_engine_up{engine_name="merged"} 0.0' in answer(server, "/metrics").text
    wait_for(lambda: answer(server, "/readyz"))
    again = ask(server, "progress")
    assert (again.model, again.value) == (known["merged"], before.value)
    assert share in engine_cores(server.pid)
    assert set(counted(server, "vllm:prompt_tokens_total")) == {("merged", "0"), ("base", "0")}
