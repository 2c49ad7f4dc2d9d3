"""Trajectories end to end: a video and frames through the real server and the real model."""

from __future__ import annotations

import io
import json

import av
import httpx
import numpy as np
import pytest
from PIL import Image

from lrm_client import Query, RewardClient
from lrm_client.types import Reply
from tests.conftest import LiveServer
from tests.rollout_frames import episodes

ROLLOUT = next(e for e in episodes() if e.env_id == "PushCube-v1" and e.success)
JPEGS = [ROLLOUT.jpeg(at) for at in range(len(ROLLOUT.frames))]
PIXELS = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in JPEGS]
HEADS = ["contrastive", "progress", "completion", "tri"]
EVERY = 3
GRID = [at for at in range(len(JPEGS)) if at % EVERY == 0 or at == len(JPEGS) - 1]


@pytest.fixture(params=["grpc", "http"])
def client(request: pytest.FixtureRequest, live_server: LiveServer):
    target = live_server.http if request.param == "http" else f"grpc://{live_server.grpc}"
    with RewardClient(target) as client:
        yield client


def singles(client: RewardClient, head: str) -> list[float]:
    """The same questions, one by one."""
    queries = []
    for place, at in enumerate(GRID):
        frames = {"current": JPEGS[at]}
        if head in ("contrastive", "tri"):
            if place == 0:
                continue
            frames["previous"] = JPEGS[GRID[place - 1]]
        if head in ("progress", "tri"):
            frames["initial"] = JPEGS[0]
        queries.append(Query(head, ROLLOUT.task, use="expected", **frames))
    replies = client.score_batch(queries, timeout=120)
    return [reply.value for reply in replies if isinstance(reply, Reply)]


def test_dense_values_are_those_of_single_queries(client: RewardClient) -> None:
    scores = client.score_trajectory(
        JPEGS, ROLLOUT.task, HEADS, every=EVERY, fps=10, use="expected"
    )
    assert scores.frames == len(JPEGS)
    for head in HEADS:
        asked = GRID[1:] if head in ("contrastive", "tri") else GRID
        assert scores[head].indices.tolist() == asked
        # Batches of another size round otherwise.
        assert scores[head].values == pytest.approx(singles(client, head), abs=0.05)
        assert scores[head].times == pytest.approx([at / 10 for at in asked])
    assert scores["progress"].values[-1] > scores["progress"].values[0] + 0.3


def video() -> bytes:
    """The rollout as an MP4, good enough to the eye."""
    buffer = io.BytesIO()
    height, width = PIXELS[0].shape[:2]
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for pixels in PIXELS:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def test_a_video_is_scored_as_its_frames_are(client: RewardClient) -> None:
    asked = {"every": EVERY, "use": "expected"}
    filmed = client.score_trajectory(video(), ROLLOUT.task, ["progress"], **asked)
    frames = client.score_trajectory(JPEGS, ROLLOUT.task, ["progress"], **asked)
    assert filmed["progress"].indices.tolist() == GRID
    assert filmed.fps == pytest.approx(10)
    assert np.abs(filmed["progress"].values - frames["progress"].values).mean() < 0.1


def test_a_form_of_files_is_answered_in_json(live_server: LiveServer) -> None:
    asked = {"task": ROLLOUT.task, "heads": ["completion"], "every": EVERY}
    broken = len(GRID) - 2
    files = [("frames", (f"{at}.jpg", data)) for at, data in enumerate(JPEGS)]
    files[GRID[broken]] = ("frames", ("broken.jpg", JPEGS[0][:400]))
    response = httpx.post(
        f"{live_server.http}/v1/trajectories",
        data={"request": json.dumps(asked)},
        files=files,
        timeout=120,
        trust_env=False,
    )
    assert response.status_code == 200, response.text
    results = response.json()["results"]
    assert [result["index"] for result in results] == GRID
    failed = [at for at, result in enumerate(results) if "error" in result["rewards"]["completion"]]
    assert failed == [broken]
    assert response.json()["summary"]["heads"]["completion"]["failed"] == 1
