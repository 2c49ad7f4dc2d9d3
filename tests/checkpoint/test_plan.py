"""What several engines are to serve, found out before a model is loaded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from lrm_server.checkpoint.plan import Plan, plan_engines
from lrm_server.config import Settings
from lrm_server.engine import environment
from lrm_server.errors import DomainError

ENDPOINT = {"backend": "chat", "remote_url": "https://host/v1"}


async def plan(**changes: Any) -> dict[str, Plan]:
    return {each.name: each for each in await plan_engines(Settings(**changes))}


def heads(plan: Plan) -> list[str]:
    return [head.name for head in plan.heads]


async def test_without_engines_the_only_one_has_its_manifests_name_and_all_heads() -> None:
    (only,) = (await plan(**ENDPOINT, model="a-model")).values()
    assert (only.name, heads(only)) == (
        "a-model",
        ["contrastive", "progress", "completion", "tri"],
    )


async def test_engines_serve_the_heads_that_they_are_given() -> None:
    found = await plan(
        **ENDPOINT,
        engines={"one": {"heads": "progress"}, "two": {"heads": "completion", "model": "b"}},
    )
    assert {name: heads(each) for name, each in found.items()} == {
        "one": ["progress"],
        "two": ["completion"],
    }
    assert found["two"].settings.model == "b"
    assert found["two"].settings.remote_url == ENDPOINT["remote_url"]


async def test_a_head_that_two_engines_serve_names_both_and_what_to_do() -> None:
    with pytest.raises(DomainError) as caught:
        await plan(**ENDPOINT, engines={"one": {"heads": "progress"}, "two": {}})
    for said in ("one", "two", "progress", "heads:"):
        assert said in caught.value.message


async def test_a_head_whose_parts_are_elsewhere_is_set_apart_with_their_frames() -> None:
    found = await plan(
        **ENDPOINT,
        engines={"one": {"heads": "progress"}, "two": {"heads": "contrastive,completion,tri"}},
    )
    assert heads(found["two"]) == ["contrastive", "completion"]
    (tri,) = found["two"].spanning
    assert [role.value for role in tri.required_frames] == ["previous", "current"]
    assert tri.neutral == pytest.approx(1 / 6)
    assert not found["one"].spanning


@pytest.mark.parametrize("engines", [{}, {"two": {"heads": "progress,tri"}}])
async def test_a_head_whose_part_nobody_serves_is_refused(engines: dict[str, Any]) -> None:
    with pytest.raises(DomainError) as caught:
        await plan(**ENDPOINT, heads="completion,tri", engines=engines)
    assert "contrastive" in caught.value.message


async def test_what_is_wrong_with_an_engine_names_it(tmp_path: Path) -> None:
    with pytest.raises(DomainError) as caught:
        await plan(engines={"one": {"heads": "progress"}, "two": {"model": str(tmp_path / "no")}})
    assert caught.value.field == "engines.two.model"
    assert caught.value.message.startswith("engine two: ")


async def test_engines_on_a_cpu_share_its_cores_and_endpoints_take_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "0-7")
    monkeypatch.setattr(environment, "is_cpu_build", lambda: True)
    monkeypatch.setattr("lrm_server.checkpoint.plan.is_cpu_build", lambda: True)
    found = await plan(
        engines={
            "one": {"heads": "progress", "data_parallel": 2},
            "two": {"heads": "completion"},
            "far": {**ENDPOINT, "model": "m", "heads": "contrastive"},
        }
    )
    assert {name: each.cores for name, each in found.items()} == {
        "one": ((0, 1), (2, 3)),
        "two": ((4, 5, 6, 7),),
        "far": (),
    }


@pytest.mark.parametrize(
    ("engines", "briefly"),
    [
        ({"one": {"heads": "progress"}, "two": {"heads": "completion"}}, True),
        ({"one": {"heads": "progress", "cores": "0-2"}}, False),
        ({"one": {"heads": "progress", "engine_threads": 7}}, False),
    ],
)
async def test_threads_wait_briefly_where_engines_leave_the_server_no_core(
    monkeypatch: pytest.MonkeyPatch, engines: dict[str, Any], briefly: bool
) -> None:
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "0-7")
    # Set first, so that it is put back as it was, also where it was not there.
    monkeypatch.setenv("GOMP_SPINCOUNT", "")
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setattr(environment, "is_cpu_build", lambda: True)
    monkeypatch.setattr(environment, "_usable_cores", lambda: list(range(8)))
    monkeypatch.setattr("lrm_server.checkpoint.plan.is_cpu_build", lambda: True)
    await plan(engines=engines)
    assert ("GOMP_SPINCOUNT" in os.environ) == briefly
