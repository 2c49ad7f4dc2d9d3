"""A trajectory on its way: which frames travel, what is tried again, what is raised."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrm_client import FrameEncoder, InvalidRequest, RewardClient, ServerError, Unavailable
from lrm_client.errors import TrajectoryFailed
from lrm_client.thinning import Thinning
from lrm_client.trajectory_requests import SentTrajectory
from lrm_client.wire import reward_pb2 as pb
from tests.client.scripted import Asked, ScriptedCore, ScriptedError, frames_of, problem

TASK = "lift"
FRAMES = np.stack([np.full((8, 8, 3), level, np.uint8) for level in range(0, 70, 10)])


@given(count=st.integers(0, 40), every=st.integers(1, 12))
def test_every_nth_and_the_last_are_taken_once_and_in_order(count: int, every: int) -> None:
    thinning: Thinning[str] = Thinning(every)
    taken = [found for at in range(count) if (found := thinning.take(f"item {at}"))]
    taken += [found] if (found := thinning.rest()) else []
    wanted = [at for at in range(count) if at % every == 0 or at == count - 1]
    assert taken == [(at, f"item {at}") for at in wanted]
    assert thinning.rest() is None
    assert thinning.count == count


def sent(frames: Any, **options: Any) -> SentTrajectory:
    return SentTrajectory(frames, TASK, ["progress"], FrameEncoder(), **options)


def test_frames_that_are_not_scored_do_not_travel_and_still_take_their_time() -> None:
    trajectory = sent(FRAMES, every=3, fps=10)
    spec, *messages = trajectory.messages()
    assert spec.trajectory.fps == 10
    assert not spec.trajectory.HasField("every")
    assert [list(message.frames.times) for message in messages] == [[0.0], [0.3], [0.6]]
    levels = [frames_of(message.frames.frames)[0][0] for message in messages]
    assert levels == [0, 30, 60]
    assert [trajectory.index_of(at) for at in range(3)] == [0, 3, 6]


def test_times_are_those_of_the_frames_that_travel_and_tell_the_rate_of_all() -> None:
    times = [0, 1, 2, 3, 4, 5, 12]
    spec, *messages = sent(FRAMES, every=2, times=times).messages()
    assert [list(message.frames.times) for message in messages] == [[0], [2], [4], [12]]
    assert spec.trajectory.fps == 0.5


def test_a_video_travels_in_pieces() -> None:
    data = bytes(range(256)) * 10_000
    spec, *messages = sent(data, every=4).messages()
    assert spec.trajectory.every == 4
    assert len(messages) == 3
    assert b"".join(message.video for message in messages) == data


def test_cameras_are_sent_moment_by_moment() -> None:
    both = {"front": list(FRAMES[:2]), "wrist": list(FRAMES[2:4])}
    spec, *messages = sent(both).messages()
    assert list(spec.trajectory.views) == ["front", "wrist"]
    levels = [[frame[0] for frame in frames_of(m.frames.frames)] for m in messages]
    assert levels == [[0, 20], [10, 30]]


@pytest.mark.parametrize(
    ("frames", "options", "field"),
    [
        (FRAMES, {"every": 0}, "every"),
        (b"video", {"times": [0.0]}, "times"),
        (FRAMES, {"windows": "some"}, "windows"),
        (FRAMES, {"normalise": "mean"}, "normalise"),
    ],
)
def test_what_no_server_could_take_is_not_sent(
    frames: Any, options: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        sent(frames, **options)
    assert refused.value.field == field


@pytest.mark.parametrize("bad", ["no frame", np.zeros((8, 8, 3), np.float32)])
def test_a_frame_that_is_none_is_told_and_ends_the_call(
    grpc_client: RewardClient, core: ScriptedCore, bad: Any
) -> None:
    with pytest.raises(InvalidRequest):
        grpc_client.score_trajectory([FRAMES[0], bad, FRAMES[1]], TASK, ["progress"])


def test_what_the_callers_own_iterator_raises_comes_out(grpc_client: RewardClient) -> None:
    def frames() -> Iterator[Any]:
        yield FRAMES[0]
        raise RuntimeError("the camera fell")

    with pytest.raises(RuntimeError, match="the camera fell"):
        grpc_client.score_trajectory(frames(), TASK, ["progress"])


def test_frames_are_sent_again_when_the_server_was_away(
    grpc_client: RewardClient, core: ScriptedCore
) -> None:
    core.fail_next("ScoreTrajectory", *[ScriptedError(grpc.StatusCode.UNAVAILABLE)] * 2)
    scores = grpc_client.score_trajectory(FRAMES, TASK, ["progress"], every=3)
    assert scores["progress"].indices.tolist() == [0, 3, 6]
    assert core.count("ScoreTrajectory") == 3


def test_frames_of_an_iterator_are_gone_and_not_sent_again(
    grpc_client: RewardClient, core: ScriptedCore
) -> None:
    core.fail_next("ScoreTrajectory", ScriptedError(grpc.StatusCode.UNAVAILABLE))
    with pytest.raises(Unavailable):
        grpc_client.score_trajectory(iter(FRAMES), TASK, ["progress"])
    assert core.count("ScoreTrajectory") == 1


def test_failures_are_raised_with_what_there_is_and_can_be_pickled(
    grpc_client: RewardClient, core: ScriptedCore
) -> None:
    def answer(asked: Asked) -> float | pb.Problem:
        return problem("label_mass_low") if asked.step % 2 else 0.5

    core.answer = answer
    with pytest.raises(TrajectoryFailed) as raised:
        grpc_client.score_trajectory(FRAMES, TASK, ["progress", "contrastive"])
    assert [(f.frame, f.head) for f in raised.value.failures] == [
        (frame, head) for frame in (1, 3, 5) for head in ("progress", "contrastive")
    ]
    again = pickle.loads(pickle.dumps(raised.value))  # noqa: S301
    assert again.scores["progress"].valid.tolist() == [True, False] * 3 + [True]
    assert "and 1 more" in str(again)


@pytest.mark.parametrize(
    "responses",
    [
        [],
        [pb.ScoreTrajectoryResponse(point=pb.TrajectoryPoint(index=99))],
        [
            pb.ScoreTrajectoryResponse(
                summary=pb.TrajectorySummary(
                    heads=[pb.HeadSummary(head="progress", normalised=[pb.NormalisedValue()])]
                )
            )
        ],
    ],
)
def test_an_answer_that_cannot_be_is_an_error(
    grpc_client: RewardClient,
    core: ScriptedCore,
    monkeypatch: pytest.MonkeyPatch,
    responses: list[pb.ScoreTrajectoryResponse],
) -> None:
    monkeypatch.setattr(core, "_ScoreTrajectory", lambda messages: responses)
    with pytest.raises(ServerError):
        grpc_client.score_trajectory(FRAMES, TASK, ["progress"])


def test_an_unknown_failure_policy_is_refused(grpc_client: RewardClient) -> None:
    with pytest.raises(ValueError, match="hold"):
        grpc_client.score_trajectory(FRAMES, TASK, ["progress"], failure="hold")  # type: ignore[typeddict-item]
