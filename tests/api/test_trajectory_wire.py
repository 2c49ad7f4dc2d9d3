"""Trajectories as the wire brings them: forms over HTTP, messages over gRPC."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import grpc
import pytest

from lrm_client.wire import reward_pb2 as pb
from tests.api.conftest import Serve, Served
from tests.api.frames import jpeg, png
from tests.api.wire import FRAME, TASK, problem_of
from tests.scripted_scorer import ScriptedScorer
from tests.trajectories.support import video

ASKED = {"task": TASK, "heads": ["progress"]}
FILES = [("frames", (f"{at}.png", png(seed=at))) for at in range(3)]


async def post(served: Served, files: Any, **asked: Any) -> tuple[int, dict[str, Any]]:
    form = {"request": json.dumps({**ASKED, **asked})}
    response = await (await served.http()).post("/v1/trajectories", data=form, files=files)
    return response.status_code, response.json()


async def test_frames_are_answered_one_by_one(served: Served) -> None:
    files = [FILES[0], ("frames", ("b", jpeg()[:-200])), ("frames", ("g", b"GIF89a")), FILES[2]]
    status, body = await post(served, files, fps=2)
    assert status == 200
    assert (body["task"], body["fps"], body["frames"]) == (TASK, 2.0, 4)
    assert [(r["index"], r["time_s"]) for r in body["results"]] == [
        (0, 0.0),
        (1, 0.5),
        (2, 1.0),
        (3, 1.5),
    ]
    rewards = [result["rewards"]["progress"] for result in body["results"]]
    assert rewards[0]["value"] == 0.5
    assert rewards[1]["error"]["code"] == "image_undecodable"
    assert rewards[2]["error"]["field"] == "frame"
    summary = body["summary"]["heads"]["progress"]
    assert (summary["points"], summary["failed"], summary["mean"]) == (4, 2, 0.5)
    assert "normalised" not in summary


async def test_what_is_asked_may_come_as_a_file(served: Served) -> None:
    request = ("request", ("request.json", json.dumps(ASKED), "application/json"))
    http = await served.http()
    response = await http.post("/v1/trajectories", files=[request, *FILES])
    assert response.status_code == 200, response.text
    assert len(response.json()["results"]) == 3


async def test_a_video_is_one_file(served: Served) -> None:
    status, body = await post(served, {"video": ("v.mp4", video([10, 90, 200]))}, every=2)
    assert status == 200
    assert [result["index"] for result in body["results"]] == [0, 2]


@pytest.mark.parametrize(
    ("data", "files", "field"),
    [
        ({}, FILES, "request"),
        ({"request": "{"}, FILES, "request"),
        ({"request": json.dumps({"task": TASK})}, FILES, "heads"),
        ({"request": json.dumps({**ASKED, "evry": 2})}, FILES, "evry"),
        ({"request": json.dumps({**ASKED, "every": 0})}, FILES, "every"),
        ({"request": json.dumps({**ASKED, "every": "2"})}, FILES, "every"),
        ({"request": json.dumps({**ASKED, "heads": ["beauty"]})}, FILES, "heads[0]"),
        ({"request": json.dumps({**ASKED, "times": [1.0]})}, FILES, "times"),
        ({"request": json.dumps(ASKED)}, [*FILES, ("video", b"x")], "video"),
        ({"request": json.dumps(ASKED)}, [("video", b"x")] * 2, "video"),
        ({"request": json.dumps(ASKED)}, [("film", b"x")], "film"),
        ({"request": json.dumps(ASKED), "video": "http://host/v.mp4"}, FILES, "video"),
        ({"request": json.dumps(ASKED), "frames": "/etc/passwd"}, FILES, "frames"),
    ],
)
async def test_a_wrong_form_names_its_field(
    served: Served, scorer: ScriptedScorer, data: dict[str, str], files: Any, field: str
) -> None:
    http = await served.http()
    response = await http.post("/v1/trajectories", data=data, files=files)
    assert 400 <= response.status_code < 500
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["field"] == field
    assert scorer.queries == []


async def test_another_kind_of_body_is_refused(served: Served) -> None:
    response = await (await served.http()).post("/v1/trajectories", json=ASKED)
    assert response.json()["field"] == "content-type"


async def test_a_body_may_be_larger_than_a_message_and_not_than_a_trajectory(serve: Serve) -> None:
    served = await serve(max_message_mib=1, max_trajectory_mib=2)
    large = [("frames", (str(at), png(640, 640, seed=at))) for at in range(2)]
    assert sum(len(data) for _, (_, data) in large) > 2 * 1024 * 1024
    status, body = await post(served, large)
    assert status == 413
    assert "max_trajectory_mib" in body["detail"]
    status, _ = await post(served, large[:1])
    assert status == 200


def opened(**changes: Any) -> pb.ScoreTrajectoryRequest:
    return pb.ScoreTrajectoryRequest(trajectory=pb.TrajectorySpec(**{**ASKED, **changes}))


def brought(*frames: pb.Frame, times: Sequence[float] = ()) -> pb.ScoreTrajectoryRequest:
    batch = pb.FrameBatch(list=pb.FrameList(frames=frames))
    return pb.ScoreTrajectoryRequest(frames=pb.TrajectoryFrames(frames=batch, times=times))


async def answers(served: Served, *messages: pb.ScoreTrajectoryRequest) -> list[Any]:
    call = (await served.stub()).ScoreTrajectory(iter(messages))
    return [response async for response in call]


async def refusal(served: Served, *messages: pb.ScoreTrajectoryRequest) -> pb.Problem:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await answers(served, *messages)
    return problem_of(refused.value)


async def test_a_point_is_answered_before_the_next_frame_is_sent(served: Served) -> None:
    call = (await served.stub()).ScoreTrajectory()
    await call.write(opened())
    for at in range(3):
        await call.write(brought(FRAME))
        response = await call.read()
        assert response.point.index == at
        assert response.point.results[0].reply.value == 0.5
    await call.done_writing()
    summary = (await call.read()).summary
    assert (summary.frames, summary.points) == (3, 3)
    assert not summary.HasField("fps")
    assert await call.read() is grpc.aio.EOF


async def test_a_tensor_brings_many_frames(served: Served) -> None:
    tensor = pb.RawTensor(data=bytes(4 * 16 * 16 * 3), count=4, height=16, width=16)
    frames = pb.TrajectoryFrames(frames=pb.FrameBatch(tensor=tensor), times=[0, 1, 2, 3])
    *points, last = await answers(served, opened(), pb.ScoreTrajectoryRequest(frames=frames))
    assert [response.point.time for response in points] == [0, 1, 2, 3]
    assert last.summary.fps == 1.0


async def test_a_video_may_come_in_pieces(served: Served) -> None:
    data = video([10, 90, 200])
    pieces = [data[at : at + 500] for at in range(0, len(data), 500)]
    messages = [pb.ScoreTrajectoryRequest(video=piece) for piece in pieces]
    *points, _ = await answers(served, opened(), *messages)
    assert [response.point.index for response in points] == [0, 1, 2]


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([], "trajectory"),
        ([brought(FRAME)], "trajectory"),
        ([opened()], "frames"),
        ([opened(), opened()], "frames"),
        ([opened(), brought(FRAME), pb.ScoreTrajectoryRequest(video=b"x")], "frames"),
        ([opened(), pb.ScoreTrajectoryRequest(video=b"x"), brought(FRAME)], "video"),
        ([opened(heads=["beauty"])], "heads[0]"),
        ([opened(windows=9)], "trajectory.windows"),
        ([opened(), brought(FRAME, times=[0, 1])], "times"),
    ],
)
async def test_a_wrong_stream_names_its_field(
    served: Served, messages: list[pb.ScoreTrajectoryRequest], field: str
) -> None:
    assert (await refusal(served, *messages)).field == field


async def test_a_tensor_that_says_it_is_huge_is_refused_before_it_is_made(served: Served) -> None:
    tensor = pb.RawTensor(data=b"", count=2**32 - 1, height=8, width=8)
    message = pb.ScoreTrajectoryRequest(
        frames=pb.TrajectoryFrames(frames=pb.FrameBatch(tensor=tensor))
    )
    assert (await refusal(served, opened(), message)).field == "frames"


async def test_bytes_are_counted_over_all_messages(serve: Serve) -> None:
    served = await serve(max_trajectory_mib=1)
    piece = pb.ScoreTrajectoryRequest(video=bytes(600 * 1024))
    problem = await refusal(served, opened(), piece, piece)
    assert problem.field == "video"
    assert "max_trajectory_mib" in problem.message
