"""N environments on the client's clock."""

from __future__ import annotations

import numpy as np
import pytest

from lrm_client import (
    EpisodeEnded,
    EpisodeNotFound,
    FrameRequired,
    Hold,
    InvalidRequest,
    Phase,
    RewardClient,
    UnknownHead,
)
from lrm_client.wire import reward_pb2 as pb
from tests.client.scripted import ScriptedCore, frames_of

TASK = "put the cube on the plate"
N = 3


def frames(step: int) -> np.ndarray:
    """Frames that tell their environment and their step."""
    batch = np.zeros((N, 4, 5, 3), np.uint8)
    for environment in range(N):
        batch[environment] = 10 * step + environment
    return batch


def test_every_array_has_one_entry_per_environment(client: RewardClient) -> None:
    episodes = client.vector_episodes(N, TASK, ["contrastive", "progress"], interval=2)
    episodes.reset(frames(0))
    for step in (1, 2):
        rewards = episodes.step(frames(step))
        for arrays in (rewards, *rewards.heads.values()):
            assert (arrays.rewards.shape, arrays.rewards.dtype) == ((N,), np.float32)
            assert (arrays.valid.shape, arrays.valid.dtype) == ((N,), np.bool_)
            assert arrays.source.shape == (N,)
    progress = rewards.heads["progress"]
    assert progress.values.tolist() == [0.5] * N
    assert (progress.age.dtype, progress.age.tolist()) == (np.int32, [0] * N)
    assert [progress.replies[at].label for at in range(N)] == ["yes"] * N
    assert rewards.source.tolist() == ["queried"] * N


def test_only_due_steps_reach_the_server_with_one_call_for_all(
    grpc_client: RewardClient, core: ScriptedCore
) -> None:
    episodes = grpc_client.vector_episodes(N, TASK, ["progress"], interval=3)
    episodes.reset(frames(0))
    assert (core.count("OpenEpisodes"), core.count("StepEpisodes")) == (1, 1)
    sources = [episodes.step(frames(step)).source.tolist() for step in range(1, 8)]
    assert core.count("StepEpisodes") == 3
    assert core.asked == [
        (episodes.episode_ids[at], step, "progress", frames(step)[at].tobytes())
        for step in (3, 6)
        for at in range(N)
    ]
    words = ["neutral", "neutral", "queried", "held", "held", "queried", "held"]
    assert sources == [[word] * N for word in words]


def test_frames_of_one_size_travel_as_one_tensor(
    grpc_client: RewardClient, core: ScriptedCore
) -> None:
    episodes = grpc_client.vector_episodes(N, TASK, ["progress"], interval=1)
    episodes.reset(frames(0))
    request = core.last("StepEpisodes")
    assert request.frames.WhichOneof("layout") == "tensor"
    tensor = request.frames.tensor
    assert (tensor.count, tensor.height, tensor.width) == (N, 4, 5)
    assert tensor.data == frames(0).tobytes()


def test_a_renderer_is_called_once_with_the_wanted_environments_alone(
    client: RewardClient, core: ScriptedCore
) -> None:
    rendered: list[list[int]] = []

    def render(indices: np.ndarray) -> np.ndarray:
        assert indices.dtype == np.intp
        rendered.append(indices.tolist())
        return frames(7)[indices]

    episodes = client.vector_episodes(N, TASK, ["progress"], interval=2)
    episodes.reset(render)
    episodes.step(render)
    episodes.step(render, force=np.array([False, True, False]), mask=np.array([True, True, False]))
    episodes.step(render, final=np.array([False, True, False]))
    assert rendered == [[0, 1, 2], [0, 1], [1, 2]]
    taken = {asked.frame for asked in core.asked if asked.episode == episodes.episode_ids[2]}
    assert taken == {frames(7)[2].tobytes()}


def test_wants_foretells_whose_frames_are_taken(client: RewardClient) -> None:
    episodes = client.vector_episodes(N, TASK, ["progress"], interval=2)
    assert episodes.wants().tolist() == [False] * N
    episodes.reset(frames(0))
    assert episodes.wants().tolist() == [False] * N
    assert episodes.wants([True, False, False]).tolist() == [True, False, False]
    assert episodes.wants(force=[False, False, True]).tolist() == [False, False, True]
    episodes.step()
    assert episodes.wants().dtype == np.bool_
    assert episodes.wants().tolist() == [True] * N


def test_a_step_that_is_not_due_needs_no_frames_and_one_that_is_does(
    client: RewardClient, core: ScriptedCore
) -> None:
    episodes = client.vector_episodes(N, TASK, ["progress"], interval=2)
    with pytest.raises(FrameRequired):
        episodes.reset(None)
    episodes.reset(frames(0))
    episodes.step()
    with pytest.raises(FrameRequired) as required:
        episodes.step()
    assert required.value.step == 2
    assert episodes.step(frames(2)).source.tolist() == ["queried"] * N


def test_a_final_step_ends_the_episode_here_and_on_the_server(
    client: RewardClient, core: ScriptedCore
) -> None:
    episodes = client.vector_episodes(N, TASK, ["progress"], interval=5)
    episodes.reset(frames(0))
    ended = episodes.episode_ids[1]
    rewards = episodes.step(frames(1), final=np.array([False, True, False]))
    assert rewards.source.tolist() == ["neutral", "queried", "neutral"]
    assert ended not in core.episodes
    assert len(core.episodes) == N - 1
    with pytest.raises(EpisodeEnded, match="environment 1 "):
        episodes.step(frames(2))
    episodes.reset(frames(2), [False, True, False])
    assert episodes.episode_ids[1] != ended
    assert episodes.step(frames(3)).source.tolist() == ["neutral"] * N


def test_a_masked_environment_takes_no_step(client: RewardClient) -> None:
    episodes = client.vector_episodes(N, TASK, ["progress"], interval=2)
    episodes.reset(frames(0))
    rewards = episodes.step(frames(1), mask=[True, False, True])
    assert rewards.valid.tolist() == [True, False, True]
    assert np.isnan(rewards.rewards).tolist() == [False, True, False]
    assert rewards.source.tolist() == ["neutral", "", "neutral"]
    assert episodes.wants().tolist() == [True, False, True]


def test_aligned_environments_are_due_together(client: RewardClient, core: ScriptedCore) -> None:
    episodes = client.vector_episodes(N, TASK, ["progress"], interval=3, phase=Phase.ALIGNED)
    episodes.reset(frames(0))
    episodes.step(frames(1), final=[False, True, False])
    episodes.reset(frames(1), [False, True, False])
    due = {}
    for step in range(2, 10):
        due[step] = episodes.wants().tolist()
        episodes.step(frames(step))
    assert {step for step, wanted in due.items() if any(wanted)} == {3, 6, 9}
    assert all(all(due[step]) for step in (3, 6, 9))
    second = episodes.episode_ids[1]
    assert [asked.step for asked in core.asked if asked.episode == second] == [2, 5, 8]


def test_a_reset_closes_the_episode_that_was_running(
    client: RewardClient, core: ScriptedCore
) -> None:
    episodes = client.vector_episodes(N, TASK, ["progress"])
    episodes.reset(frames(0))
    first = set(episodes.episode_ids)
    episodes.reset(frames(0), [True, True, False])
    assert set(core.episodes) == set(episodes.episode_ids)
    assert len(first & set(core.episodes)) == 1


def test_each_environment_may_have_its_own_task_and_change_it_at_a_reset(
    client: RewardClient, core: ScriptedCore
) -> None:
    episodes = client.vector_episodes(N, ["one", "two", "three"], ["progress"])
    episodes.reset(frames(0))
    episodes.reset(frames(0), [True, False, False], task=["four", "five", "six"])
    tasks = [core.episodes[episode].spec.task for episode in episodes.episode_ids]
    assert tasks == ["four", "two", "three"]


def test_the_paying_head_can_be_named(client: RewardClient) -> None:
    episodes = client.vector_episodes(N, TASK, ["contrastive", "tri"], head="tri")
    episodes.reset(frames(0))
    rewards = episodes.step()
    assert rewards.rewards == pytest.approx([1 / 6] * N)
    assert rewards.heads["contrastive"].rewards.tolist() == [0.0] * N


def test_the_specification_reaches_the_server(client: RewardClient, core: ScriptedCore) -> None:
    episodes = client.vector_episodes(
        N,
        TASK,
        ["contrastive"],
        interval=7,
        scale=0.5,
        hold=Hold.DIFFERENCE,
        phase=Phase.ALIGNED,
        use="expected",
        readout="generate",
        swap=True,
        margin=0.25,
    )
    episodes.reset(frames(0))
    spec = core.episodes[episodes.episode_ids[0]].spec
    assert (spec.interval, spec.scale, spec.margin, spec.swap) == (7, 0.5, 0.25, True)
    assert (spec.hold, spec.phase) == (pb.HOLD_DIFFERENCE, pb.PHASE_ALIGNED)
    assert (spec.use, spec.readout) == (pb.USE_EXPECTED, pb.READOUT_GENERATE)


def test_modes_may_be_named_by_their_words(client: RewardClient, core: ScriptedCore) -> None:
    episodes = client.vector_episodes(N, TASK, ["progress"], hold="zero", phase="aligned")
    episodes.reset(frames(0))
    spec = core.episodes[episodes.episode_ids[0]].spec
    assert (spec.hold, spec.phase) == (pb.HOLD_ZERO, pb.PHASE_ALIGNED)


def test_a_reset_of_no_environment_does_nothing(client: RewardClient, core: ScriptedCore) -> None:
    episodes = client.vector_episodes(N, TASK, ["progress"])
    episodes.reset(frames(0))
    calls = len(core.requests)
    episodes.reset(lambda indices: pytest.fail("nothing is to be rendered"), [False] * N)
    assert len(core.requests) == calls
    rewards = episodes.step(mask=[False] * N)
    assert not rewards.valid.any()
    assert episodes.step().valid.all()


def test_flags_and_frames_may_be_tensors(client: RewardClient, core: ScriptedCore) -> None:
    class Tensor(np.ndarray):
        def cpu(self) -> np.ndarray:
            return np.asarray(self)

    episodes = client.vector_episodes(N, TASK, ["progress"])
    episodes.reset(frames(0).view(Tensor))
    final = np.array([False, True, False]).view(Tensor)
    assert episodes.step(frames(1).view(Tensor), final=final).source[1] == "queried"


def test_closing_closes_every_episode_and_closing_again_none(
    client: RewardClient, core: ScriptedCore
) -> None:
    with client.vector_episodes(N, TASK, ["progress"]) as episodes:
        episodes.reset(frames(0))
        assert len(core.episodes) == N
    assert core.episodes == {}
    calls = len(core.requests)
    episodes.close()
    assert len(core.requests) == calls
    with pytest.raises(EpisodeNotFound):
        episodes.step()


def test_a_head_that_is_not_served_is_refused_at_the_reset(client: RewardClient) -> None:
    episodes = client.vector_episodes(N, TASK, ["progres"])
    with pytest.raises(UnknownHead, match="environment 0 was not reset: no head progres"):
        episodes.reset(frames(0))
    with pytest.raises(EpisodeNotFound, match="environment 0 "):
        episodes.step()


@pytest.mark.parametrize(
    "wrong",
    [
        {"frames": np.zeros((N + 1, 4, 5, 3), np.uint8)},
        {"frames": np.zeros((N, 3, 4, 5), np.uint8)},
        {"frames": np.zeros((N, 4, 5, 3), np.float32)},
        {"frames": lambda indices: np.zeros((len(indices) + 1, 4, 5, 3), np.uint8)},
        {"frames": 3},
        {"final": [True] * (N + 1)},
        {"final": [1, 0, 0]},
        {"force": True},
        {"mask": [[True, True, True]]},
    ],
    ids=[
        "one frame too many",
        "channels first",
        "float",
        "renderer gives too many",
        "no frames at all",
        "too many flags",
        "flags that are numbers",
        "one flag",
        "flags of two dimensions",
    ],
)
def test_a_step_with_wrong_arrays_is_refused_and_not_taken(
    client: RewardClient, core: ScriptedCore, wrong: dict[str, object]
) -> None:
    episodes = client.vector_episodes(N, TASK, ["progress"], interval=1)
    episodes.reset(frames(0))
    calls = len(core.requests)
    with pytest.raises(InvalidRequest):
        episodes.step(**{"frames": frames(1), **wrong})
    assert len(core.requests) == calls
    episodes.step(frames(1))
    assert [asked.step for asked in core.asked] == [1] * N


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_envs": 0},
        {"task": ["one"]},
        {"heads": []},
        {"heads": "progress"},
        {"head": "tri"},
        {"failure": "zero"},
        {"interval": 0},
        {"hold": "keep"},
    ],
    ids=str,
)
def test_arguments_that_mean_nothing_are_refused(
    client: RewardClient, wrong: dict[str, object]
) -> None:
    arguments = {"num_envs": N, "task": TASK, "heads": ["progress"], **wrong}
    with pytest.raises(ValueError):
        client.vector_episodes(**arguments)


def test_frames_may_be_a_list_of_mixed_kinds(client: RewardClient, core: ScriptedCore) -> None:
    mixed = [frames(0)[0], frames(0)[1, ::2], frames(0)[2]]
    episodes = client.vector_episodes(N, TASK, ["progress"])
    episodes.reset(mixed)
    assert core.episodes
    assert len(frames_of(core.last("StepEpisodes").frames)) >= 1
