"""Robometer's evaluation server: its clients' requests, answered by the heads that are served."""

from __future__ import annotations

from itertools import chain
from typing import Any

import httpx
import numpy as np
import pytest

from lrm_server.app import Server
from lrm_server.engine.protocol import Question
from lrm_server.heads.profile import Readout
from tests.api.compat import robometer_client as robometer
from tests.api.compat.lrm_client import COMPARED, DONE, STAGES
from tests.api.compat.service import CompatEngine, post, running
from tests.api.compat.test_lrm import shown
from tests.api.conftest import settings

BASE = "/compat/robometer"


def judge_by(stages: dict[bytes, float], done: dict[bytes, float]) -> Any:
    """Probabilities whose expectation is what was told for the current frame."""

    def judge(question: Question) -> list[float]:
        current = shown(question)["current"].tobytes()
        if question.form.labels == STAGES:
            told = stages[current]
            return [1.0 - told] + [0.0] * 9 + [told]
        assert question.form.labels == DONE
        return [1.0 - done[current], done[current]]

    return judge


@pytest.mark.parametrize("how", ["npy", "json"])
async def test_samples_of_several_lengths_have_a_value_for_each_frame(
    http: httpx.AsyncClient, engine: CompatEngine, how: str
) -> None:
    films = [robometer.frames(3, 1), robometer.frames(1, 2), robometer.frames(5, 3, side=48)]
    progress = [[0.1, 0.2, 0.3], [0.4], [0.5, 0.6, 0.7, 0.8, 0.9]]
    success = [[0.01, 0.02, 0.03], [0.04], [0.05, 0.06, 0.07, 0.08, 0.95]]
    every = [frame.tobytes() for film in films for frame in film]
    engine.judge = judge_by(
        dict(zip(every, chain(*progress), strict=True)),
        dict(zip(every, chain(*success), strict=True)),
    )
    samples = [robometer.progress(film) for film in films]
    if how == "npy":
        answer = await post(http, f"{BASE}/evaluate_batch_npy", **robometer.form(samples))
    else:
        answer = await post(http, f"{BASE}/evaluate_batch", json=robometer.body(samples))
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"outputs_preference", "outputs_progress", "outputs_success"}
    assert body["outputs_preference"] is None
    for found, told in (
        (body["outputs_progress"]["progress_pred"], progress),
        (body["outputs_success"]["success_probs"], success),
    ):
        assert [len(each) for each in found] == [3, 1, 5]
        for each, wanted in zip(found, told, strict=True):
            assert each == pytest.approx(wanted)
    assert robometer.rewards(body) == pytest.approx([0.3, 0.4, 0.9])


async def test_each_frame_is_judged_against_the_first(
    http: httpx.AsyncClient, engine: CompatEngine
) -> None:
    film = robometer.frames(3)
    sent = robometer.form([robometer.progress(film, "close the door")])
    assert (await post(http, f"{BASE}/evaluate_batch_npy", **sent)).status_code == 200
    asked = [question for _, question in engine.asked if question.form.labels == STAGES]
    for question, frame in zip(asked, film, strict=True):
        np.testing.assert_array_equal(shown(question)["initial"], film[0])
        np.testing.assert_array_equal(shown(question)["current"], frame)
        assert any("close the door" in part for part in question.parts if isinstance(part, str))


async def test_frames_of_an_array_in_columns_are_the_same_frames(
    http: httpx.AsyncClient, engine: CompatEngine
) -> None:
    film = robometer.frames(2)
    sent = robometer.form([robometer.progress(np.asfortranarray(film))])
    assert (await post(http, f"{BASE}/evaluate_batch_npy", **sent)).status_code == 200
    asked = [question for _, question in engine.asked if question.form.labels == STAGES]
    np.testing.assert_array_equal(shown(asked[1])["current"], film[1])


@pytest.mark.parametrize("frame_steps", [True, False])
async def test_frame_steps_have_a_value_for_each_frame(
    http: httpx.AsyncClient, engine: CompatEngine, frame_steps: bool
) -> None:
    samples = [robometer.progress(robometer.frames(count, count)) for count in (4, 2)]
    sent = robometer.form(samples, frame_steps=frame_steps)
    body = (await post(http, f"{BASE}/evaluate_batch_npy", **sent)).json()
    assert [len(each) for each in body["outputs_progress"]["progress_pred"]] == [4, 2]
    assert [len(each) for each in body["outputs_success"]["success_probs"]] == [4, 2]


async def test_without_a_head_of_completion_success_is_not_told(engine: CompatEngine) -> None:
    async with running(engine, ["progress"]) as http:
        sent = robometer.form([robometer.progress(robometer.frames())])
        body = (await post(http, f"{BASE}/evaluate_batch_npy", **sent)).json()
    assert body["outputs_success"] is None
    assert len(body["outputs_progress"]["progress_pred"][0]) == 3


async def test_a_preference_is_that_of_the_last_frames_in_both_orders(
    http: httpx.AsyncClient, engine: CompatEngine
) -> None:
    chosen, rejected = robometer.frames(4, 1), robometer.frames(2, 2)
    # The image that stands second is preferred a little, whichever it is.
    engine.judge = lambda question: (
        [0.1, 0.9] if np.array_equal(shown(question)["current"], chosen[-1]) else [0.7, 0.3]
    )
    samples = [robometer.preference(chosen, rejected), robometer.progress(robometer.frames(1))]
    engine_judge = engine.judge
    engine.judge = lambda question: (
        engine_judge(question) if question.form.labels == COMPARED else None
    )
    answer = await post(http, f"{BASE}/evaluate_batch_npy", **robometer.form(samples))
    preference = answer.json()["outputs_preference"]
    odds = np.log(9) / 2 + np.log(7 / 3) / 2
    assert preference == {
        "predictions": [1],
        "prediction_probs": [pytest.approx(1 / (1 + np.exp(-odds)))],
        "preference_labels": [1.0],
    }
    pairs = [shown(question) for _, question in engine.asked if question.form.labels == COMPARED]
    straight, swapped = pairs
    np.testing.assert_array_equal(straight["previous"], rejected[-1])
    np.testing.assert_array_equal(straight["current"], chosen[-1])
    np.testing.assert_array_equal(swapped["previous"], chosen[-1])
    assert len(answer.json()["outputs_progress"]["progress_pred"]) == 1


async def test_a_preference_without_probabilities_is_an_error(engine: CompatEngine) -> None:
    engine.text = '{ "more_complete_image": "ImageB" }'
    sent = robometer.form([robometer.preference(robometer.frames(), robometer.frames(3, 1))])
    async with running(engine, readout=Readout.GENERATE) as http:
        answer = await post(http, f"{BASE}/evaluate_batch_npy", **sent)
    assert answer.status_code == 500
    assert "gives no probability" in answer.json()["detail"]
    assert answer.json()["outputs_preference"] is None


async def test_preference_without_a_head_for_it_is_null_with_an_error(
    engine: CompatEngine,
) -> None:
    films = robometer.frames(2, 1), robometer.frames(2, 2)
    sent = robometer.form([robometer.progress(films[0]), robometer.preference(*films)])
    async with running(engine, ["progress"]) as http:
        answer = await post(http, f"{BASE}/evaluate_batch_npy", **sent)
        info = (await http.get(f"{BASE}/model_info")).json()
    assert answer.status_code == 404
    body = answer.json()
    assert body["outputs_preference"] is None
    assert len(body["outputs_progress"]["progress_pred"][0]) == 2
    assert body["errors"][0]["sample"] == 1
    assert "head contrastive" in body["errors"][0]["detail"]
    assert info["served_by"] == {"progress": "progress", "success": None, "preference": None}


async def test_the_server_says_how_it_is_and_who_answers(http: httpx.AsyncClient) -> None:
    health = await http.get(f"{BASE}/health")
    assert (health.status_code, health.json()) == (
        200,
        {"status": "healthy", "available_gpus": 1, "total_gpus": 1},
    )
    status = (await http.get(f"{BASE}/gpu_status")).json()
    assert (status["total_gpus"], status["available_gpus"]) == (1, 1)
    assert status["gpu_stats"]["0"]["status"] == "ready"
    info = (await http.get(f"{BASE}/model_info")).json()
    assert info["model_path"] == "scripted"
    assert info["served_by"] == {
        "progress": "progress",
        "success": "completion",
        "preference": "contrastive",
    }


async def test_a_server_that_loads_is_not_healthy() -> None:
    async with Server(settings()) as server:
        base = f"http://127.0.0.1:{server.http_port}"
        async with httpx.AsyncClient(base_url=base, timeout=20) as http:
            health = await http.get(f"{BASE}/health")
            assert health.status_code == 503
            assert health.json()["status"] == "unhealthy"
            assert health.json()["available_gpus"] == 0
            sent = robometer.form([robometer.progress(robometer.frames())])
            answer = await post(http, f"{BASE}/evaluate_batch_npy", **sent)
            assert answer.status_code == 503
            assert "loading" in answer.json()["detail"]
