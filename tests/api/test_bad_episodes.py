"""Bad episodes and steps: the same code and field on both wires, the others answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from lrm_client.wire import reward_pb2 as pb
from tests.api.bad_input import GOOD, TASK, Sent, limited
from tests.api.conftest import Served
from tests.api.frames import png

__all__ = ["limited"]


@dataclass(frozen=True)
class BadSpec:
    name: str
    code: str
    at: str
    changes: Mapping[str, Any]


BAD_SPECS = [
    BadSpec("empty task", "invalid_argument", "task", {"task": ""}),
    BadSpec("no heads", "invalid_argument", "heads", {"heads": []}),
    BadSpec("unknown head", "unknown_head", "heads[1]", {"heads": ["progress", "nosuch"]}),
    BadSpec("a head twice", "invalid_argument", "heads[1]", {"heads": ["progress", "progress"]}),
    BadSpec("interval", "invalid_argument", "interval", {"interval": 0}),
    BadSpec("margin", "invalid_argument", "margin", {"heads": ["contrastive"], "margin": 0.9}),
]


@pytest.mark.parametrize("bad", BAD_SPECS, ids=lambda bad: bad.name)
async def test_a_bad_specification_fails_alone_and_alike_on_both_wires(
    limited: Served, bad: BadSpec
) -> None:
    stub, http = await limited.stub(), await limited.http()
    good = {"task": TASK, "heads": ["progress"]}
    specs = [pb.EpisodeSpec(**good), pb.EpisodeSpec(**{**good, **bad.changes})]
    results = (await stub.OpenEpisodes(pb.OpenEpisodesRequest(episodes=specs))).results
    assert [result.WhichOneof("outcome") for result in results] == ["episode", "error"]
    problem = results[1].error
    assert (problem.code, problem.field) == (bad.code, f"episodes[1].{bad.at}")
    response = await http.post("/v1/episodes", json={**good, **bad.changes})
    assert response.status_code == (404 if bad.code == "unknown_head" else 400)
    body = response.json()
    assert (body["code"], body["field"]) == (bad.code, bad.at)


@dataclass(frozen=True)
class BadStep:
    """A step after step 1 of an episode with interval 2, the first episode of a batch."""

    name: str
    code: str
    at: str | None
    status: int
    step: int = 2
    frame: Sent | None = GOOD
    final: bool = False
    episode: str = "good"
    request_id: str = ""
    wants: int | None = None


BAD_STEPS = [
    BadStep("behind", "step_behind", "step", 409, step=1, final=True, wants=2),
    BadStep("due without a frame", "frame_required", "frame", 409, frame=None, wants=2),
    BadStep("unknown episode", "episode_not_found", "episode", 404, episode="nosuch"),
    BadStep("closed episode", "episode_not_found", "episode", 404, episode="closed"),
    BadStep("ended episode", "episode_ended", "step", 409, step=9, episode="ended"),
    BadStep("long request id", "invalid_argument", "request_id", 400, request_id="r" * 201),
    BadStep("undecodable", "image_undecodable", "frame", 400, frame=Sent(png()[:-30], "png")),
    BadStep(
        "over the pixel limit", "image_too_large", "frame", 413, frame=Sent(png(80, 80), "png")
    ),
    BadStep(
        "four channels",
        "invalid_argument",
        "frame",
        400,
        frame=Sent(bytes(32 * 32 * 4), "raw", (32, 32, 4)),
    ),
]


@pytest.mark.parametrize("bad", BAD_STEPS, ids=lambda bad: bad.name)
async def test_a_bad_step_fails_alone_and_alike_on_both_wires(
    limited: Served, bad: BadStep
) -> None:
    stub, http = await limited.stub(), await limited.http()
    await _two_steps_in(stub, bad.name)
    episode = f"{bad.episode} {bad.name}"
    request = pb.StepEpisodesRequest()
    request.frames.list.frames.append(GOOD.wire())
    request.steps.add(episode=f"other {bad.name}", step=2, frame=0)
    step = request.steps.add(
        episode=episode, step=bad.step, final=bad.final, request_id=bad.request_id
    )
    if bad.frame is not None:
        request.frames.list.frames.append(bad.frame.wire())
        step.frame = 1
    body: dict[str, Any] = {
        "step": bad.step,
        "final": bad.final,
        "request_id": bad.request_id,
    }
    if bad.frame is not None:
        body["frame"] = bad.frame.json()
    response = await http.post(f"/v1/episodes/{episode}/steps", json=body)
    results = (await stub.StepEpisodes(request)).results
    assert [result.WhichOneof("outcome") for result in results] == ["reply", "error"]
    problem = results[1].error
    assert (problem.code, problem.field) == (bad.code, f"steps[1].{bad.at}" if bad.at else "")
    assert (problem.step if problem.HasField("step") else None) == bad.wants
    assert response.status_code == bad.status
    assert response.json()["code"] == bad.code
    assert response.json().get("field", None) == bad.at
    assert response.json().get("step", None) == bad.wants


async def _two_steps_in(stub: Any, test: str) -> None:
    """Opens a test's episodes of interval 2 and takes their steps 0 and 1."""
    names = [f"{name} {test}" for name in ("good", "other", "closed", "ended")]
    specs = [pb.EpisodeSpec(id=name, task=TASK, heads=["progress"], interval=2) for name in names]
    await stub.OpenEpisodes(pb.OpenEpisodesRequest(episodes=specs))
    for number in (0, 1):
        request = pb.StepEpisodesRequest()
        request.frames.list.frames.append(GOOD.wire())
        for name in names:
            final = name == f"ended {test}" and number == 1
            request.steps.add(episode=name, step=number, frame=0, final=final)
        results = (await stub.StepEpisodes(request)).results
        assert all(result.HasField("reply") for result in results)
    await stub.CloseEpisodes(pb.CloseEpisodesRequest(episodes=[f"closed {test}"]))


async def test_an_id_of_another_episode_is_refused_alike_on_both_wires(limited: Served) -> None:
    stub, http = await limited.stub(), await limited.http()
    await _two_steps_in(stub, "exists")
    other = {"id": "good exists", "task": "another task", "heads": ["progress"]}
    request = pb.OpenEpisodesRequest(episodes=[pb.EpisodeSpec(**other)])
    problem = (await stub.OpenEpisodes(request)).results[0].error
    response = await http.post("/v1/episodes", json=other)
    assert (problem.code, problem.field) == ("episode_exists", "episodes[0].id")
    assert response.status_code == 409
    assert (response.json()["code"], response.json()["field"]) == ("episode_exists", "id")


async def test_a_bad_frame_at_a_step_that_needs_none_is_ignored(limited: Served) -> None:
    stub = await limited.stub()
    spec = pb.EpisodeSpec(id="e", task=TASK, heads=["progress"], interval=5)
    await stub.OpenEpisodes(pb.OpenEpisodesRequest(episodes=[spec]))
    request = pb.StepEpisodesRequest()
    request.frames.list.frames.extend([GOOD.wire(), Sent(b"broken", "jpeg").wire()])
    request.steps.add(episode="e", step=0, frame=0)
    request.steps.add(episode="e", step=1, frame=1)
    results = (await stub.StepEpisodes(request)).results
    assert [result.WhichOneof("outcome") for result in results] == ["reply", "reply"]
