"""LRM's service: its clients' requests, and what they read of the replies."""

from __future__ import annotations

import asyncio
import json

import httpx
import numpy as np
import pytest

from lrm_server.engine.protocol import FrameSlot, Question, VideoSlot
from lrm_server.heads.profile import Readout
from tests.api.compat import lrm_client as lrm
from tests.api.compat.service import CompatEngine, post, running

BASE = "/compat/lrm"


def shown(question: Question) -> dict[str, np.ndarray]:
    """The frames of a question by their roles."""
    slots = [part for part in question.parts if isinstance(part, FrameSlot)]
    return {slot.name: slot.frame.pixels() for slot in slots}


def share(labels: tuple[str, ...], best: str) -> list[float]:
    return [0.9 if label == best else 0.05 / len(labels) for label in labels]


async def test_health_says_which_heads_are_loaded(http: httpx.AsyncClient) -> None:
    answer = await http.get(f"{BASE}/health")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "healthy",
        "model_loaded": True,
        "adapters": ["completion", "contrastive", "progress"],
    }


async def test_a_reward_is_the_progress_and_the_json_that_the_model_would_have_written(
    http: httpx.AsyncClient, engine: CompatEngine
) -> None:
    engine.shares[lrm.STAGES] = share(lrm.STAGES, "0.7")
    pixels = lrm.image()
    answer = await post(http, f"{BASE}/compute_reward", json=lrm.reward(pixels))
    assert answer.status_code == 200
    assert answer.json() == {
        "success": True,
        "score": 0.7,
        "response": '{ "completion_progress": 0.7 }',
    }
    assert json.loads(answer.json()["response"]) == {"completion_progress": 0.7}
    ((_, question),) = engine.asked
    np.testing.assert_array_equal(shown(question)["current"], pixels)
    assert any(lrm.TASK in part for part in question.parts if isinstance(part, str))


@pytest.mark.parametrize("form", ["flat", "nested"])
async def test_initial_and_goal_images_stand_where_the_prompt_has_them(
    http: httpx.AsyncClient, engine: CompatEngine, form: str
) -> None:
    images = {name: lrm.image(seed) for seed, name in enumerate(("goal_image", "initial_image"), 1)}
    body = lrm.reward(lrm.image(), **images)
    if form == "nested":
        body = {name: value for name, value in body.items() if "_shape" not in name}
        body |= {"image": lrm.nested(lrm.image())}
        body |= {name: lrm.nested(pixels) for name, pixels in images.items()}
    assert (await post(http, f"{BASE}/compute_reward", json=body)).status_code == 200
    ((_, question),) = engine.asked
    frames = shown(question)
    assert list(frames) == ["goal", "initial", "current"]
    np.testing.assert_array_equal(frames["goal"], images["goal_image"])
    np.testing.assert_array_equal(frames["initial"], images["initial_image"])


async def test_an_initial_image_that_says_no_shape_has_that_of_the_image(
    http: httpx.AsyncClient, engine: CompatEngine
) -> None:
    first = lrm.image(5)
    body = {**lrm.reward(lrm.image()), "initial_image": lrm.nested(first)["data"]}
    assert (await post(http, f"{BASE}/compute_reward", json=body)).status_code == 200
    ((_, question),) = engine.asked
    np.testing.assert_array_equal(shown(question)["initial"], first)


async def test_floats_are_shares_of_255_as_the_service_takes_them(
    http: httpx.AsyncClient, engine: CompatEngine
) -> None:
    shares = np.random.default_rng(0).random((32, 32, 3), dtype=np.float32)
    body = {**lrm.flat("image", shares), "task_description": lrm.TASK}
    assert (await post(http, f"{BASE}/compute_reward", json=body)).status_code == 200
    ((_, question),) = engine.asked
    np.testing.assert_array_equal(shown(question)["current"], (shares * 255.0).astype(np.uint8))


@pytest.mark.parametrize(("label", "done"), [("yes", True), ("no", False)])
async def test_completion_says_whether_the_task_is_done(
    http: httpx.AsyncClient, engine: CompatEngine, label: str, done: bool
) -> None:
    engine.shares[lrm.DONE] = share(lrm.DONE, label)
    body = lrm.completion(lrm.image())
    answer = (await post(http, f"{BASE}/compute_completion", json=body)).json()
    assert answer == {
        "success": True,
        "score": float(done),
        "completed": done,
        "response": f'{{ "task_completed": "{label}" }}',
    }


@pytest.mark.parametrize(("result", "score"), [("ImageA", -1.0), ("ImageB", 1.0)])
async def test_comparison_names_the_image_that_is_closer(
    http: httpx.AsyncClient, engine: CompatEngine, result: str, score: float
) -> None:
    engine.shares[lrm.COMPARED] = share(lrm.COMPARED, result)
    first, second = lrm.image(1), lrm.image(2)
    body = lrm.comparison(first, second)
    answer = (await post(http, f"{BASE}/compute_comparison", json=body)).json()
    assert answer == {
        "success": True,
        "result": result,
        "score": score,
        "response": f'{{ "more_complete_image": "{result}" }}',
    }
    ((_, question),) = engine.asked
    np.testing.assert_array_equal(shown(question)["previous"], first)
    np.testing.assert_array_equal(shown(question)["current"], second)


async def test_the_response_has_the_reasoning_where_the_model_wrote_one(
    engine: CompatEngine,
) -> None:
    engine.text = "The gripper holds the cube in B."
    engine.shares[lrm.COMPARED] = share(lrm.COMPARED, "ImageB")
    async with running(engine, readout=Readout.REASON_THEN_READ) as http:
        body = lrm.comparison(lrm.image(1), lrm.image(2))
        answer = (await post(http, f"{BASE}/compute_comparison", json=body)).json()
    assert answer["response"] == f'{engine.text}\n{{ "more_complete_image": "ImageB" }}'


async def test_the_response_is_what_was_written_where_the_answer_is_written(
    engine: CompatEngine,
) -> None:
    engine.text = 'It is nearly there. { "completion_progress": 0.9 }'
    async with running(engine, readout=Readout.GENERATE) as http:
        answer = (await post(http, f"{BASE}/compute_reward", json=lrm.reward(lrm.image()))).json()
    assert answer == {"success": True, "score": 0.9, "response": engine.text}


async def test_a_batch_is_answered_in_order_and_together(
    http: httpx.AsyncClient, engine: CompatEngine
) -> None:
    stages = {lrm.image(seed).tobytes(): lrm.STAGES[seed] for seed in range(5)}
    engine.judge = lambda question: share(lrm.STAGES, stages[shown(question)["current"].tobytes()])
    everyone = asyncio.Barrier(5)

    async def together() -> None:
        await everyone.wait()

    engine.pause = together
    body = lrm.rewards([lrm.image(seed) for seed in range(5)])
    answer = (await post(http, f"{BASE}/compute_rewards_batch", json=body)).json()
    assert answer["success"] is True
    assert [result["score"] for result in answer["results"]] == [0.0, 0.1, 0.2, 0.3, 0.4]
    assert answer["results"][3]["response"] == '{ "completion_progress": 0.3 }'


async def test_requests_are_answered_at_the_same_time(
    http: httpx.AsyncClient, engine: CompatEngine
) -> None:
    everyone = asyncio.Barrier(8)

    async def together() -> None:
        await everyone.wait()

    engine.pause = together
    bodies = [lrm.reward(lrm.image(seed)) for seed in range(8)]
    answers = await asyncio.gather(
        *(post(http, f"{BASE}/compute_reward", json=body) for body in bodies)
    )
    assert [answer.status_code for answer in answers] == [200] * 8


async def test_roboreward_gives_its_grade(engine: CompatEngine) -> None:
    grades = tuple("12345")
    engine.shares[grades] = share(grades, "4")
    async with running(engine, ["roboreward"]) as http:
        body = lrm.film(4, fps=2.5)
        answer = (await post(http, f"{BASE}/compute_roboreward", json=body)).json()
    assert answer == {"success": True, "score": 0.75, "raw_score": 4, "response": "ANSWER: 4"}
    ((_, question),) = engine.asked
    (video,) = [part for part in question.parts if isinstance(part, VideoSlot)]
    assert video.times == pytest.approx((0.0, 0.4, 0.8, 1.2))
    np.testing.assert_array_equal(video.frames[2].pixels(), lrm.image(2))


async def test_topreward_gives_the_log_probability_and_its_place_on_the_fixed_scale(
    engine: CompatEngine,
) -> None:
    engine.shares[(" True",)] = [float(np.exp(-9.0))]
    async with running(engine, ["topreward"]) as http:
        answer = (await post(http, f"{BASE}/compute_topreward", json=lrm.film(3))).json()
    assert answer == {
        "success": True,
        "score": pytest.approx((-9.0 + 25.0) / 20.0),
        "log_prob": pytest.approx(-9.0),
        "token_count": 1,
        "response": "logP(True)=-9.0000",
    }
    ((_, question),) = engine.asked
    (video,) = [part for part in question.parts if isinstance(part, VideoSlot)]
    assert video.times == pytest.approx((0.0, 0.5, 1.0))


@pytest.mark.parametrize("written", ["0.8", " Score: 0.8.", '{ "completion_progress": 0.8 }'])
async def test_other_reward_types_are_asked_as_the_service_asks_them(
    http: httpx.AsyncClient, engine: CompatEngine, written: str
) -> None:
    engine.writes = lambda _: written
    body = {**lrm.reward(lrm.image()), "reward_type": "quality"}
    answer = (await post(http, f"{BASE}/compute_reward", json=body)).json()
    assert answer["success"] is True
    assert answer["score"] == 0.8
    (conversation,) = engine.conversations
    text, frame = conversation.parts
    assert isinstance(text, str)
    assert text.startswith(f"Task: {lrm.TASK}\n\nEvaluate how well the robot is performing")
    assert isinstance(frame, FrameSlot)
    assert (conversation.max_tokens, conversation.temperature) == (128, 0.0)


@pytest.mark.parametrize("written", ["The robot moved 1 cube.", "1.7", "", "[0.4]"])
async def test_no_score_is_guessed_in_what_the_model_wrote(
    http: httpx.AsyncClient, engine: CompatEngine, written: str
) -> None:
    engine.writes = lambda _: written
    body = {**lrm.reward(lrm.image()), "reward_type": "quality"}
    answer = await post(http, f"{BASE}/compute_reward", json=body)
    assert answer.status_code == 500
    assert answer.json()["code"] == "answer_unparsable"
    assert "score" not in answer.json()


async def test_a_batch_of_another_type_fails_image_by_image(
    http: httpx.AsyncClient, engine: CompatEngine
) -> None:
    written = iter(["0.4", "no idea"])
    engine.writes = lambda _: next(written)
    body = lrm.rewards([lrm.image(0), lrm.image(1)], "quality")
    answer = (await post(http, f"{BASE}/compute_rewards_batch", json=body)).json()
    assert answer["results"][0]["score"] == 0.4
    assert "score" not in answer["results"][1]
