"""Robometer's samples and LRM's robometer path, answered by Robometer's own heads."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from importlib import resources
from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio
import yaml

from lrm_server.app import Server
from lrm_server.engine.protocol import Conversation, EngineStatus, Written
from lrm_server.heads.catalogue import HeadCatalogue, ModelCard, ServedHead
from lrm_server.heads.frame_profile import FrameProfile
from lrm_server.heads.profile import Readout
from lrm_server.heads.query import Query, Reply
from tests.api.compat import lrm_client, robometer_client
from tests.api.compat.service import post
from tests.api.compat.test_robometer import BASE
from tests.api.conftest import settings

MOST_SHOWN = 8


class FrameScorer:
    """Answers at every frame, as Robometer's heads do; frames beyond the most are not shown.

    A frame's progress is its brightest value over 255, and its success half of that.
    """

    def __init__(self) -> None:
        heads = []
        for name in ("progress", "preference"):
            path = resources.files("lrm_server.heads") / "profiles" / f"robometer_{name}.yaml"
            profile = FrameProfile.model_validate(yaml.safe_load(path.read_text("utf-8")))
            heads.append(ServedHead(name=name, profile=profile, readout=Readout.LIKELIHOOD))
        self.catalogue = HeadCatalogue(heads, ModelCard("robometer", "", "f0"))
        self.queries: list[Query] = []

    def check(self, query: Query) -> None:
        """Everything is sound."""

    async def score(self, query: Query) -> Reply:
        self.queries.append(query)
        if query.head == "preference":
            return Reply(head="preference", expected=0.6, value=1.0, readout=Readout.LIKELIHOOD)
        shown = set(np.linspace(0, len(query.window) - 1, MOST_SHOWN).round().astype(int).tolist())
        progress = tuple(
            float(each.frame.pixels().max()) / 255 if at in shown else None
            for at, each in enumerate(query.window)
        )
        last = progress[-1]
        assert last is not None
        success = tuple(None if each is None else each / 2 for each in progress)
        return Reply(
            head="progress",
            value=last,
            expected=last,
            series={"progress": progress, "success": success},
            readout=Readout.LIKELIHOOD,
        )

    async def converse(self, conversation: Conversation) -> Written:
        raise AssertionError("nobody asks it to")

    async def status(self) -> EngineStatus:
        return EngineStatus(True, "", 0, 0)


@pytest.fixture
def frame_scorer() -> FrameScorer:
    return FrameScorer()


@pytest_asyncio.fixture
async def own(frame_scorer: FrameScorer) -> AsyncIterator[httpx.AsyncClient]:
    async with Server(settings(), frame_scorer) as server:
        base = f"http://127.0.0.1:{server.http_port}"
        async with httpx.AsyncClient(base_url=base, timeout=20) as http:
            yield http


def brightening(count: int) -> np.ndarray:
    """Frames whose progress is 1/255, 2/255 and so on."""
    film = np.zeros((count, 16, 16, 3), dtype=np.uint8)
    film[...] = np.arange(1, count + 1).reshape(-1, 1, 1, 1)
    return film


async def evaluated(own: httpx.AsyncClient, *samples: Any, **options: Any) -> dict[str, Any]:
    sent = robometer_client.form(list(samples), **options)
    answer = await post(own, f"{BASE}/evaluate_batch_npy", **sent)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_a_trajectory_is_one_question(
    own: httpx.AsyncClient, frame_scorer: FrameScorer
) -> None:
    body = await evaluated(own, *(robometer_client.progress(brightening(n)) for n in (3, 5)))
    short, long = body["outputs_progress"]["progress_pred"]
    assert short == pytest.approx([at / 255 for at in (1, 2, 3)])
    assert long == pytest.approx([at / 255 for at in range(1, 6)])
    assert body["outputs_success"]["success_probs"][0] == pytest.approx(
        [each / 2 for each in short]
    )
    assert [len(query.window) for query in frame_scorer.queries] == [3, 5]


async def test_frame_steps_ask_about_four_frames_of_each_prefix(
    own: httpx.AsyncClient, frame_scorer: FrameScorer
) -> None:
    body = await evaluated(own, robometer_client.progress(brightening(6)), frame_steps=True)
    (progress,) = body["outputs_progress"]["progress_pred"]
    assert progress == pytest.approx([at / 255 for at in range(1, 7)])
    prefixes = [
        [int(each.frame.pixels().max()) for each in query.window] for query in frame_scorer.queries
    ]
    # numpy.linspace(0, i - 1, 4, dtype=int), as Robometer's own server picks them.
    assert prefixes == [
        [1, 1, 1, 1],
        [1, 1, 1, 2],
        [1, 1, 2, 3],
        [1, 2, 3, 4],
        [1, 2, 3, 5],
        [1, 2, 4, 6],
    ]


async def test_frames_that_are_not_shown_have_no_value(own: httpx.AsyncClient) -> None:
    body = await evaluated(own, robometer_client.progress(brightening(20)))
    (progress,) = body["outputs_progress"]["progress_pred"]
    assert len(progress) == MOST_SHOWN
    assert progress[-1] == pytest.approx(20 / 255)


async def test_a_preference_compares_the_whole_trajectories(
    own: httpx.AsyncClient, frame_scorer: FrameScorer
) -> None:
    body = await evaluated(own, robometer_client.preference(brightening(4), brightening(2)))
    assert body["outputs_preference"]["prediction_probs"] == pytest.approx([0.8])
    assert body["outputs_progress"] is None
    (query,) = frame_scorer.queries
    assert (len(query.window), len(query.other_window)) == (4, 2)


async def test_model_info_names_robometers_heads(own: httpx.AsyncClient) -> None:
    info = (await own.get(f"{BASE}/model_info")).json()
    assert info["served_by"] == {
        "progress": "progress",
        "success": "progress",
        "preference": "preference",
    }


@pytest.mark.parametrize("form", ["nested", "flat"])
async def test_lrms_robometer_path_has_the_progress_of_each_frame(
    own: httpx.AsyncClient, form: str
) -> None:
    film = brightening(3)
    body: dict[str, Any] = {"task_description": lrm_client.TASK}
    sent = [lrm_client.nested(frame) for frame in film]
    if form == "nested":
        body["frames"] = sent
    else:
        body["frames"] = [each["data"] for each in sent]
        body |= {"frame_shape": sent[0]["shape"], "frame_dtype": "uint8"}
    answer = (await post(own, "/compat/lrm/compute_robometer", json=body)).json()
    assert answer["success"] is True
    assert answer["score"] == answer["raw_score"] == pytest.approx(3 / 255)
    assert answer["progress_per_frame"] == pytest.approx([1 / 255, 2 / 255, 3 / 255])
    assert json.loads(answer["response"])["final_progress"] == round(3 / 255, 4)
