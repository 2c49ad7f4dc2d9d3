"""LRM's paths when things go wrong: HTTP 500, why, and never a score."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
import requests

from lrm_server.app import Server
from lrm_server.errors import DomainError, ErrorCode
from tests.api.compat import lrm_client as lrm
from tests.api.compat.service import CompatEngine, post, running
from tests.api.compat.test_lrm import BASE, share, shown
from tests.api.conftest import settings

HUSH = "hush"
PATHS = {
    "compute_reward": lrm.reward(lrm.image()),
    "compute_rewards_batch": lrm.rewards([lrm.image()]),
    "compute_completion": lrm.completion(lrm.image()),
    "compute_comparison": lrm.comparison(lrm.image(0), lrm.image(1)),
    "compute_roboreward": lrm.film(3, fps=1.0),
    "compute_topreward": lrm.film(3, fps=2.0),
    "compute_robometer": lrm.film(3),
}


def failed(answer: httpx.Response, status: int = 500) -> str:
    """What a failure says, after it was seen to be one and nothing else."""
    body = answer.json()
    assert answer.status_code == status, body
    assert body["success"] is False
    assert set(body) == {"success", "error", "code"}
    return str(body["error"])


@pytest.mark.parametrize(
    ("path", "head"),
    [
        ("compute_reward", "progress"),
        ("compute_rewards_batch", "progress"),
        ("compute_completion", "completion"),
        ("compute_comparison", "contrastive"),
        ("compute_roboreward", "roboreward"),
        ("compute_topreward", "topreward"),
        ("compute_robometer", "robometer_progress"),
    ],
)
async def test_a_path_whose_model_is_not_loaded_says_what_to_serve(
    engine: CompatEngine, path: str, head: str
) -> None:
    other = "completion" if head != "completion" else "progress"
    async with running(engine, [other]) as http:
        said = failed(await post(http, f"{BASE}/{path}", json=PATHS[path]))
    assert f"{path} needs the head {head}" in said
    assert f"Served are: {other}" in said


@pytest.mark.parametrize("path", PATHS)
async def test_while_the_engine_loads_every_path_fails(path: str) -> None:
    async with Server(settings()) as server:
        base = f"http://127.0.0.1:{server.http_port}"
        async with httpx.AsyncClient(base_url=base, timeout=20) as http:
            assert "loading" in failed(await post(http, f"{BASE}/{path}", json=PATHS[path]))
            assert (await http.get(f"{BASE}/health")).json()["model_loaded"] is False


@pytest.mark.parametrize("path", ["compute_reward", "compute_completion", "compute_comparison"])
async def test_an_engine_that_fails_is_no_reward_of_zero(
    http: httpx.AsyncClient, engine: CompatEngine, path: str
) -> None:
    engine.judge = lambda _: DomainError(ErrorCode.LABEL_MASS_LOW, "it was not answering")
    assert "not answering" in failed(await post(http, f"{BASE}/{path}", json=PATHS[path]))


async def test_an_image_that_fails_leaves_the_others_of_its_batch_their_scores(
    http: httpx.AsyncClient, engine: CompatEngine
) -> None:
    lost = lrm.image(1).tobytes()

    def judge(question: Any) -> Any:
        if shown(question)["current"].tobytes() == lost:
            return DomainError(ErrorCode.LABEL_MASS_LOW, "it was not answering")
        return share(lrm.STAGES, "0.5")

    engine.judge = judge
    body = lrm.rewards([lrm.image(seed) for seed in range(4)])
    body["images"][3]["data"] = "not base64"
    answer = await post(http, f"{BASE}/compute_rewards_batch", json=body)
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [result.get("score") for result in results] == [0.5, None, 0.5, None]
    assert results[1] == {
        "success": False,
        "error": "it was not answering",
        "code": "label_mass_low",
    }
    assert results[3]["error"].startswith("images[3].data: data is not base64")


async def test_a_batch_of_which_nothing_is_left_fails_as_a_whole(
    http: httpx.AsyncClient, engine: CompatEngine
) -> None:
    engine.judge = lambda _: DomainError(ErrorCode.LABEL_MASS_LOW, "it was not answering")
    body = lrm.rewards([lrm.image(0), lrm.image(1)])
    failed(await post(http, f"{BASE}/compute_rewards_batch", json=body))


def changed(**fields: Any) -> dict[str, Any]:
    body = {**PATHS["compute_reward"], **fields}
    return {name: value for name, value in body.items() if value is not ...}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (changed(image="@@@@"), "image: data is not base64"),
        (changed(image=f" {PATHS['compute_reward']['image']}"), "image: data is not base64"),
        (changed(image="https://example.org/a.png"), "image: data is not base64"),
        (changed(image=17), "image: it is 17"),
        (changed(image=...), "image: it is None"),
        (changed(image_shape=[32, 49, 3]), "image_shape: shape [32, 49, 3] of uint8 has 4704"),
        (changed(image_shape=[-32, -48, 3]), "image_shape: the shape of a frame is"),
        (changed(image_shape=[32, 48]), "image_shape: the shape of a frame is"),
        (changed(image_shape=[32, 48, 4]), "image_shape: the shape of a frame is"),
        (changed(image_shape=[32.0, 48, 3]), "image_shape: the shape of a frame is"),
        (changed(image_shape="32x48"), "image_shape: the shape of a frame is"),
        (changed(image_shape=[10**9, 10**9, 3]), "image: the frame has a number of more than"),
        (changed(image_shape=[True, 4608, 3]), "image_shape: the shape of a frame is"),
        (changed(image_dtype="int32"), "image_dtype: dtype is 'int32'"),
        (changed(image_dtype="object"), "image_dtype: dtype is 'object'"),
        (changed(image_dtype="float32"), "image_shape: shape [32, 48, 3] of float32 has 18432"),
        (changed(task_description=...), "task_description: task_description is missing"),
        (changed(task_description=["pick"]), "task_description: task_description is ['pick']"),
        (changed(task_description="  "), "task: the task is empty"),
        (changed(reward_type=3), "reward_type: reward_type is 3"),
    ],
)
async def test_a_request_that_is_wrong_names_the_field(
    still: httpx.AsyncClient, body: dict[str, Any], said: str
) -> None:
    assert failed(await post(still, f"{BASE}/compute_reward", json=body)).startswith(said)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"a": NaN}'])
async def test_a_body_that_is_no_json_object_is_refused(
    still: httpx.AsyncClient, content: bytes
) -> None:
    answer = await still.post(f"{BASE}/compute_completion", content=content)
    assert "body" in failed(answer)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"frames": []}, "frames: frames is []"),
        ({"frames": "abc"}, "frames: frames is 'abc'"),
        ({"frames": [None]}, "frames[0]: it is None"),
        ({"frames": ["QUJD"]}, "frame_shape: the shape of a frame"),
        ({"fps": 0}, "fps: fps is 0"),
        ({"fps": "2"}, "fps: fps is '2'"),
    ],
)
async def test_a_film_that_is_wrong_names_the_field(
    engine: CompatEngine, change: dict[str, Any], said: str
) -> None:
    async with running(engine, ["roboreward"]) as http:
        body = {**lrm.film(3, fps=1.0), **change}
        assert failed(await post(http, f"{BASE}/compute_roboreward", json=body)).startswith(said)


async def test_tasks_and_images_must_be_as_many(still: httpx.AsyncClient) -> None:
    body = lrm.rewards([lrm.image(0), lrm.image(1)])
    body["task_descriptions"].pop()
    said = failed(await post(still, f"{BASE}/compute_rewards_batch", json=body))
    assert said.startswith("task_descriptions: there are 2 images and task_descriptions is 1")


async def test_floats_out_of_their_range_are_refused(still: httpx.AsyncClient) -> None:
    pixels = lrm.image().astype("float32")
    body = {**lrm.flat("image", pixels), "task_description": lrm.TASK}
    said = failed(await post(still, f"{BASE}/compute_reward", json=body))
    assert "not in [0, 1]" in said


async def test_limits_are_told_in_the_form_that_the_client_reads(engine: CompatEngine) -> None:
    async with running(engine, max_message_mib=1, max_batch=2, max_frame_pixels=2000) as http:
        body = lrm.rewards([lrm.image(0)] * 3)
        assert "limit is 2" in failed(await post(http, f"{BASE}/compute_rewards_batch", json=body))
        large = lrm.completion(lrm.image(0, 60, 60))
        assert "2000 pixels" in failed(await post(http, f"{BASE}/compute_completion", json=large))
        answer = await http.post(f"{BASE}/compute_completion", content=b" " * (1 << 20) + b"{}")
        assert "max_message_mib" in failed(answer, 413)


async def test_the_token_is_asked_for_in_the_form_that_the_client_reads(
    engine: CompatEngine,
) -> None:
    async with running(engine, token=HUSH) as http:
        path = f"{BASE}/compute_completion"
        refused = await post(http, path, json=lrm.completion(lrm.image()))
        assert "token" in failed(refused, 401)
        # Their clients are given an address and nothing else.
        address = str(http.base_url.join(path)).replace("http://", f"http://lrm:{HUSH}@")
        sent = requests.Request("POST", address, json=lrm.completion(lrm.image())).prepare()
        allowed = await http.post(path, content=sent.body, headers=dict(sent.headers))
        assert allowed.status_code == 200


async def test_a_path_that_is_not_there_fails_in_the_form_that_the_client_reads(
    still: httpx.AsyncClient,
) -> None:
    failed(await still.post(f"{BASE}/compute_magic", content=b"{}"), 404)
    failed(await still.get(f"{BASE}/compute_reward"), 405)


async def test_a_full_server_lets_requests_wait(engine: CompatEngine) -> None:
    release = asyncio.Event()
    engine.pause = release.wait  # type: ignore[assignment]
    async with running(engine, max_requests=2) as http:
        bodies = [lrm.completion(lrm.image(seed)) for seed in range(6)]
        asked = [
            asyncio.ensure_future(post(http, f"{BASE}/compute_completion", json=body))
            for body in bodies
        ]
        while engine.at_once < 2:
            await asyncio.sleep(0.01)
        # Of the paths that are told to come back, a request is refused meanwhile.
        assert (await http.get("/v1/models")).status_code == 429
        assert engine.at_once == 2
        release.set()
        answers = await asyncio.gather(*asked)
    assert [answer.status_code for answer in answers] == [200] * 6
    assert engine.at_once == 2


async def test_requests_that_wait_too_long_fail(engine: CompatEngine) -> None:
    release = asyncio.Event()
    engine.pause = release.wait  # type: ignore[assignment]
    async with running(engine, max_requests=1, request_timeout_seconds=0.3) as http:
        bodies = [lrm.completion(lrm.image(seed)) for seed in range(2)]
        answers = await asyncio.gather(
            *(post(http, f"{BASE}/compute_completion", json=body) for body in bodies)
        )
    assert {answer.json()["success"] for answer in answers} == {False}


async def test_a_full_engine_is_asked_again(http: httpx.AsyncClient, engine: CompatEngine) -> None:
    refusals = iter([True, True, False])

    def judge(_: Any) -> Any:
        if next(refusals):
            return DomainError(ErrorCode.OVERLOADED, "full", retry_after_seconds=0.01)
        return share(lrm.DONE, "yes")

    engine.judge = judge
    answer = await post(http, f"{BASE}/compute_completion", json=lrm.completion(lrm.image()))
    assert answer.json()["score"] == 1.0
