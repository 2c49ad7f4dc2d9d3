"""Opening, stepping and closing episodes by hand, the same on both transports."""

from __future__ import annotations

import numpy as np
import pytest

from lrm_client import (
    EpisodeEnded,
    EpisodeExists,
    EpisodeNotFound,
    EpisodeSpec,
    EpisodeStep,
    FrameRequired,
    InvalidRequest,
    LrmError,
    ModelError,
    OpenedEpisode,
    RewardClient,
    Source,
    StepBehind,
    StepReply,
    UnknownHead,
)
from lrm_client.wire import reward_pb2 as pb
from tests.client.scripted import ScriptedCore, frames_of, problem

TASK = "put the cube on the plate"
FRAME = np.zeros((4, 5, 3), np.uint8)


def opened(client: RewardClient, **options: object) -> str:
    (episode,) = client.open_episodes([EpisodeSpec(TASK, ["progress"], interval=2, **options)])
    assert isinstance(episode, OpenedEpisode)
    return episode.id


def step(client: RewardClient, episode: str, at: int, **options: object) -> StepReply | LrmError:
    (result,) = client.step_episodes([EpisodeStep(episode, at, **options)])
    return result


def test_an_opened_episode_tells_its_first_due_step_and_its_neutral_values(
    client: RewardClient,
) -> None:
    first, second = client.open_episodes(
        [
            EpisodeSpec(TASK, ["tri", "progress"], interval=7),
            EpisodeSpec(TASK, ["progress"], interval=5, phase="aligned", offset=3, id="mine"),
        ]
    )
    assert isinstance(first, OpenedEpisode)
    assert (first.next_query_step, first.neutral) == (7, {"tri": 1 / 6, "progress": 0.0})
    assert len(first.id) == 32
    assert second == OpenedEpisode("mine", 2, {"progress": 0.0})


def test_opening_gives_an_error_in_the_place_of_what_is_not_open(client: RewardClient) -> None:
    opened(client, id="mine")
    results = client.open_episodes(
        [
            EpisodeSpec(TASK, ["progres"]),
            EpisodeSpec(TASK, ["progress"], interval=2, id="mine"),
            EpisodeSpec("another task", ["progress"], id="mine"),
        ]
    )
    assert [type(result) for result in results] == [UnknownHead, OpenedEpisode, EpisodeExists]


def test_a_step_reply_carries_every_field(client: RewardClient) -> None:
    episode = opened(client)
    first = step(client, episode, 0, frame=FRAME)
    assert isinstance(first, StepReply)
    assert (first.episode, first.step, first.rewards, first.next_query_step) == (episode, 0, {}, 2)
    due = step(client, episode, 2, frame=FRAME)
    assert isinstance(due, StepReply)
    head = due.rewards["progress"]
    assert (head.reward, head.value, head.source, head.age) == (0.5, 0.5, Source.QUERIED, 0)
    assert head.reply is not None
    assert head.reply.probabilities == {"no": 0.25, "yes": 0.75}
    assert (due.next_query_step, due.timings.engine_ms) == (4, 3.0)
    final = step(client, episode, 3, frame=FRAME, final=True)
    assert isinstance(final, StepReply)
    assert final.next_query_step is None


def test_a_failed_head_carries_its_error_and_no_reward(
    client: RewardClient, core: ScriptedCore
) -> None:
    episode = opened(client)
    core.answer = lambda asked: problem("answer_not_reached", "512 tokens")
    step(client, episode, 0, frame=FRAME)
    failed = step(client, episode, 1, frame=FRAME, force=True)
    assert isinstance(failed, StepReply)
    head = failed.rewards["progress"]
    assert (head.reward, head.value, head.source, head.age) == (None, None, Source.FAILED, None)
    assert isinstance(head.error, ModelError)
    assert (head.error.code, head.error.message) == ("answer_not_reached", "512 tokens")


def test_a_refused_step_gives_its_error_in_its_place(client: RewardClient) -> None:
    episode, ended = opened(client), opened(client)
    step(client, episode, 0, frame=FRAME)
    step(client, episode, 1)
    step(client, ended, 0, frame=FRAME)
    step(client, ended, 1, frame=FRAME, final=True)
    results = client.step_episodes(
        [
            EpisodeStep("nobody", 1),
            EpisodeStep(episode, 0, FRAME),
            EpisodeStep(episode, 2),
            EpisodeStep(ended, 2),
            EpisodeStep(opened(client), 3),
        ]
    )
    kinds = [EpisodeNotFound, StepBehind, FrameRequired, EpisodeEnded, FrameRequired]
    assert [type(result) for result in results] == kinds
    assert [getattr(result, "step", None) for result in results] == [None, 2, 2, None, 0]


def test_steps_of_one_episode_are_taken_in_the_order_of_the_batch(client: RewardClient) -> None:
    ids = [opened(client) for _ in range(3)]
    steps = [EpisodeStep(episode, at, FRAME) for at in range(3) for episode in ids]
    results = client.step_episodes(steps)
    assert [(r.episode, r.step) for r in results if isinstance(r, StepReply)] == [
        (episode, at) for at in range(3) for episode in ids
    ]


def test_a_request_id_is_the_callers_or_made(client: RewardClient, core: ScriptedCore) -> None:
    episode = opened(client)
    step(client, episode, 0, frame=FRAME, request_id="mine")
    assert core.last("StepEpisodes").steps[0].request_id == "mine"
    step(client, episode, 1)
    made = core.last("StepEpisodes").steps[0].request_id
    step(client, episode, 2, frame=FRAME)
    assert made
    assert made != core.last("StepEpisodes").steps[0].request_id


def test_a_step_without_a_frame_sends_none(client: RewardClient, core: ScriptedCore) -> None:
    episode = opened(client)
    step(client, episode, 0, frame=FRAME)
    step(client, episode, 1)
    request = core.last("StepEpisodes")
    assert not request.steps[0].HasField("frame")
    assert frames_of(request.frames) == []


def test_a_frame_of_several_steps_travels_once(
    grpc_client: RewardClient, core: ScriptedCore
) -> None:
    ids = [opened(grpc_client), opened(grpc_client)]
    grpc_client.step_episodes([EpisodeStep(episode, 0, FRAME) for episode in ids])
    request = core.last("StepEpisodes")
    assert frames_of(request.frames) == [FRAME.tobytes()]
    assert [entry.frame for entry in request.steps] == [0, 0]


def test_closing_tells_what_was_open(client: RewardClient) -> None:
    episode = opened(client)
    assert client.close_episodes([episode, "nobody"]) == {episode: True, "nobody": False}
    assert client.close_episodes([episode]) == {episode: False}


def test_an_episode_id_may_hold_any_character(client: RewardClient) -> None:
    episode = opened(client, id="cell 4, left ?#%")
    assert isinstance(step(client, episode, 0, frame=FRAME), StepReply)
    assert client.close_episodes([episode]) == {episode: True}


@pytest.mark.parametrize("heads", [[], "progress", ["progress", "progress"]])
def test_heads_are_a_list_of_different_names(heads: list[str]) -> None:
    with pytest.raises(ValueError, match="heads"):
        EpisodeSpec(TASK, heads)


@pytest.mark.parametrize("wrong", [{"hold": "keep"}, {"phase": "global"}, {"use": "best"}], ids=str)
def test_a_specification_that_no_server_could_take_is_not_sent(
    client: RewardClient, core: ScriptedCore, wrong: dict[str, str]
) -> None:
    with pytest.raises(InvalidRequest):
        client.open_episodes([EpisodeSpec(TASK, ["progress"], **wrong)])
    with pytest.raises(InvalidRequest):
        client.open_episodes([EpisodeSpec(" ", ["progress"])])
    assert core.requests == []


def test_a_specification_leaves_to_the_server_what_is_not_said(
    client: RewardClient, core: ScriptedCore
) -> None:
    client.open_episodes([EpisodeSpec(TASK, ["progress"])])
    spec = core.last("OpenEpisodes").episodes[0]
    assert (spec.interval, spec.scale) == (10, 1.0)
    assert (spec.use, spec.readout) == (pb.USE_UNSPECIFIED, pb.READOUT_UNSPECIFIED)
    assert not spec.HasField("margin")
