"""What a step returns when a reward cannot be had, and where the clock stands after it."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import grpc
import numpy as np
import pytest

from lrm_client import (
    Hold,
    InvalidRequest,
    LrmError,
    ModelError,
    Overloaded,
    RewardClient,
    RewardsFailed,
    Unavailable,
    VectorEpisodes,
)
from lrm_client.clock import open_clock
from lrm_client.wire import reward_pb2 as pb
from tests.client.scripted import Asked, ScriptedCore, ScriptedError, problem

TASK = "put the cube on the plate"
N = 3
DOWN = ScriptedError(grpc.StatusCode.INTERNAL, problem("internal", "engine lost"))
FRAMES = np.stack([np.full((4, 5, 3), at, np.uint8) for at in range(N)])


def failing(
    *where: tuple[int, int, str], otherwise: float = 0.5
) -> Callable[[Asked], float | pb.Problem]:
    """Fails the heads at (environment, step, head); the frames tell the environments."""

    def answer(asked: Asked) -> float | pb.Problem:
        if (asked.frame[0], asked.step, asked.head) in where:
            return problem("label_mass_low", "0.01 on the labels")
        return otherwise

    return answer


def opened(
    client: RewardClient, failure: str, heads: tuple[str, ...] = ("progress",), **options: object
) -> VectorEpisodes:
    episodes = client.vector_episodes(
        N, TASK, heads, **{"interval": 2, "failure": failure, **options}
    )
    episodes.reset(FRAMES)
    return episodes


def test_raise_names_every_failed_environment_and_keeps_the_others_rewards(
    client: RewardClient, core: ScriptedCore
) -> None:
    core.answer = failing((0, 2, "progress"), (2, 2, "progress"), (2, 2, "contrastive"))
    episodes = opened(client, "raise", ("contrastive", "progress"))
    episodes.step()
    with pytest.raises(RewardsFailed) as failed:
        episodes.step(FRAMES)
    ids = episodes.episode_ids
    assert [failure[:4] for failure in failed.value.failures] == [
        (0, ids[0], 2, "progress"),
        (2, ids[2], 2, "contrastive"),
        (2, ids[2], 2, "progress"),
    ]
    assert all(isinstance(failure.error, ModelError) for failure in failed.value.failures)
    assert f"environment 2 (episode {ids[2]}, step 2, progress): label_mass_low" in str(
        failed.value
    )
    rewards = failed.value.rewards
    assert rewards is not None
    progress = rewards.heads["progress"]
    assert progress.valid.tolist() == [False, True, False]
    assert np.isnan(progress.rewards).tolist() == [True, False, True]
    assert progress.rewards[1] == 0.5


def test_after_a_failure_the_failed_head_alone_is_due_again(
    client: RewardClient, core: ScriptedCore
) -> None:
    core.answer = failing((1, 2, "progress"))
    episodes = opened(client, "mask", ("contrastive", "progress"))
    episodes.step()
    episodes.step(FRAMES)
    assert episodes.wants().tolist() == [False, True, False]
    core.asked.clear()
    rewards = episodes.step(FRAMES)
    assert [(asked.step, asked.head) for asked in core.asked] == [(3, "progress")]
    assert rewards.heads["progress"].source.tolist() == ["held", "queried", "held"]
    assert rewards.heads["contrastive"].source.tolist() == ["held"] * N
    assert episodes.wants().tolist() == [True] * N


def test_hold_returns_the_last_good_reward_marked_invalid(
    client: RewardClient, core: ScriptedCore
) -> None:
    core.answer = failing((0, 4, "progress"))
    episodes = opened(client, "hold", scale=2.0)
    episodes.step()
    episodes.step(FRAMES)
    episodes.step()
    rewards = episodes.step(FRAMES)
    assert rewards.rewards.tolist() == [1.0] * N
    assert rewards.valid.tolist() == [False, True, True]
    assert rewards.source.tolist() == ["failed", "queried", "queried"]
    head = rewards.heads["progress"]
    assert np.isnan(head.values).tolist() == [True, False, False]
    assert head.age.tolist() == [2, 0, 0]
    assert list(head.errors) == [0]
    assert isinstance(head.errors[0], ModelError)
    assert list(head.replies) == [1, 2]


def test_hold_before_any_good_query_returns_the_neutral_reward_marked_invalid(
    client: RewardClient, core: ScriptedCore
) -> None:
    core.answer = failing((0, 1, "tri"))
    episodes = opened(client, "hold", ("tri",), interval=1)
    rewards = episodes.step(FRAMES)
    assert rewards.rewards == pytest.approx([1 / 6, 0.5, 0.5])
    assert rewards.valid.tolist() == [False, True, True]


def test_mask_returns_not_a_number_marked_invalid(client: RewardClient, core: ScriptedCore) -> None:
    core.answer = failing((0, 1, "progress"))
    rewards = opened(client, "mask", interval=1).step(FRAMES)
    assert np.isnan(rewards.rewards).tolist() == [True, False, False]
    assert rewards.valid.tolist() == [False, True, True]


def test_a_difference_after_failures_is_taken_against_the_last_good_value(
    client: RewardClient, core: ScriptedCore
) -> None:
    episodes = opened(client, "mask", interval=1, hold=Hold.DIFFERENCE)
    core.answer = lambda asked: 0.25
    assert episodes.step(FRAMES).rewards.tolist() == [0.25] * N
    core.answer = lambda asked: problem("answer_unparsable")
    assert np.isnan(episodes.step(FRAMES).rewards).all()
    core.answer = lambda asked: 0.75
    assert episodes.step(FRAMES).rewards.tolist() == [0.5] * N


@pytest.mark.parametrize("failure", ["hold", "mask"])
def test_a_call_that_fails_fails_every_due_head_and_the_next_step_is_due(
    grpc_client: RewardClient, core: ScriptedCore, failure: str
) -> None:
    episodes = opened(grpc_client, failure, ("contrastive", "progress"))
    episodes.step()
    core.fail_next("StepEpisodes", DOWN)
    rewards = episodes.step(FRAMES)
    for head in rewards.heads.values():
        assert head.valid.tolist() == [False] * N
        assert head.source.tolist() == ["failed"] * N
        assert all(error.message == "engine lost" for error in head.errors.values())
    assert episodes.wants().tolist() == [True] * N
    assert episodes.step(FRAMES).source.tolist() == ["queried"] * N


def test_a_failed_call_raises_with_every_due_environment(
    grpc_client: RewardClient, core: ScriptedCore
) -> None:
    episodes = opened(grpc_client, "raise")
    episodes.step()
    # Longer than the call's deadline: waiting for it would end in a time-out.
    overloaded = problem("overloaded", "queue full", retry_after_seconds=600.0)
    core.fail_next("StepEpisodes", ScriptedError(grpc.StatusCode.RESOURCE_EXHAUSTED, overloaded))
    with pytest.raises(RewardsFailed) as failed:
        episodes.step(FRAMES)
    assert [failure.environment for failure in failed.value.failures] == [0, 1, 2]
    error = failed.value.failures[0].error
    assert isinstance(error, Overloaded)
    assert error.retry_after_seconds == 600.0
    assert episodes.wants().tolist() == [True] * N


def test_a_server_that_does_not_query_a_due_step_has_failed_it(
    grpc_client: RewardClient, core: ScriptedCore
) -> None:
    episodes = opened(grpc_client, "mask")
    episodes.step()
    for episode in core.episodes.values():
        episode.config = type(episode.config)(interval=5)
    rewards = episodes.step(FRAMES)
    assert rewards.source.tolist() == ["failed"] * N
    assert "did not query progress" in str(rewards.heads["progress"].errors[0])
    assert episodes.step(FRAMES).source.tolist() == ["queried"] * N


def test_a_value_that_is_no_number_is_a_failure(
    grpc_client: RewardClient, core: ScriptedCore
) -> None:
    episodes = opened(grpc_client, "mask", interval=1)

    def spoil(method: str, request: object) -> object:
        response = handle(method, request)
        if method == "StepEpisodes":
            response.results[0].reply.rewards[0].value = float("nan")
        return response

    handle, core.handle = core.handle, spoil
    assert episodes.step(FRAMES).valid.tolist() == [False, True, True]


@pytest.mark.parametrize("failure", ["raise", "mask"])
def test_the_first_reset_raises_when_the_server_is_away(
    grpc_client: RewardClient, core: ScriptedCore, failure: str
) -> None:
    core.fail_next("OpenEpisodes", DOWN)
    with pytest.raises(Exception, match="environment 0 was not reset: engine lost"):
        opened(grpc_client, failure)


def test_a_later_reset_raises_too_when_failures_are_to_be_raised(
    grpc_client: RewardClient, core: ScriptedCore
) -> None:
    episodes = opened(grpc_client, "raise")
    core.fail_next("StepEpisodes", DOWN)
    with pytest.raises(Exception, match="environment 1 was not reset: engine lost"):
        episodes.reset(FRAMES, [False, True, False])
    episodes.reset(FRAMES, [False, True, False])
    assert episodes.step().valid.all()


@pytest.mark.parametrize(
    ("code", "wrong"), [("unauthenticated", "token"), ("unknown_head", "head")]
)
def test_a_reset_that_will_never_succeed_raises_whatever_the_policy(
    grpc_client: RewardClient, core: ScriptedCore, code: str, wrong: str
) -> None:
    episodes = opened(grpc_client, "mask")
    core.fail_next("OpenEpisodes", ScriptedError(grpc.StatusCode.UNKNOWN, problem(code, wrong)))
    with pytest.raises(LrmError, match=f"environment 0 was not reset: {wrong}"):
        episodes.reset(FRAMES)
    with pytest.raises(InvalidRequest, match="its task in words"):
        episodes.reset(FRAMES, task="  ")


@pytest.mark.parametrize("lost", ["OpenEpisodes", "StepEpisodes"])
def test_masked_failures_let_a_later_reset_wait_for_the_server(
    grpc_client: RewardClient, core: ScriptedCore, lost: str
) -> None:
    episodes = opened(grpc_client, "mask")
    core.fail_next(lost, DOWN)
    episodes.reset(FRAMES)
    assert episodes.step().source.tolist() == ["neutral"] * N
    core.asked.clear()
    rewards = episodes.step(FRAMES)
    assert rewards.source.tolist() == ["queried"] * N
    assert [asked.step for asked in core.asked] == [2] * N


@pytest.mark.parametrize("lost", ["OpenEpisodes", "StepEpisodes"])
def test_a_reset_whose_reply_was_lost_is_made_up_for_at_the_first_due_step(
    grpc_client: RewardClient, core: ScriptedCore, lost: str
) -> None:
    def lose_reply() -> None:
        raise DOWN

    episodes = opened(grpc_client, "mask")
    core.fail_next(lost, lose_reply)
    episodes.reset(FRAMES)
    episodes.step()
    assert episodes.step(FRAMES).source.tolist() == ["queried"] * N
    opened_before = core.count("OpenEpisodes")
    episodes.step()
    assert episodes.step(FRAMES).source.tolist() == ["queried"] * N
    assert core.count("OpenEpisodes") == opened_before


def test_an_episode_that_the_server_has_without_its_start_is_begun_again(
    grpc_client: RewardClient, core: ScriptedCore
) -> None:
    episodes = opened(grpc_client, "raise")
    episodes.step()
    for episode in core.episodes.values():
        episode.clock = open_clock({"progress": 0.0})
    assert episodes.step(FRAMES).source.tolist() == ["queried"] * N


def test_a_lost_episode_is_opened_again_where_it_stood(
    client: RewardClient, core: ScriptedCore
) -> None:
    episodes = opened(client, "raise", ("contrastive",))
    ids = episodes.episode_ids
    episodes.step()
    episodes.step(FRAMES)
    episodes.step()
    core.lose_episodes()
    core.asked.clear()
    rewards = episodes.step(FRAMES + 10)
    assert rewards.source.tolist() == ["queried"] * N
    assert episodes.episode_ids == ids
    # The last good frame is asked again, so that step 4 compares with step 2.
    for at in range(N):
        asked = [(a.step, a.frame[0]) for a in core.asked if a.episode == ids[at]]
        assert asked == [(2, at), (4, 10 + at)]
    core.asked.clear()
    episodes.step()
    episodes.step(FRAMES)
    assert {asked.step for asked in core.asked} == {6}


def test_an_episode_that_cannot_be_opened_again_has_failed(
    grpc_client: RewardClient, core: ScriptedCore
) -> None:
    episodes = opened(grpc_client, "mask")
    episodes.step()
    core.lose_episodes()
    core.fail_next("OpenEpisodes", DOWN)
    assert episodes.step(FRAMES).source.tolist() == ["failed"] * N
    assert episodes.step(FRAMES).source.tolist() == ["queried"] * N


def test_a_close_that_fails_is_made_up_for_by_the_next(
    grpc_client: RewardClient, core: ScriptedCore
) -> None:
    episodes = opened(grpc_client, "raise")
    core.fail_next("CloseEpisodes", DOWN)
    episodes.step(FRAMES, final=[True, False, False])
    assert len(core.episodes) == N
    episodes.reset(FRAMES, [True, False, False])
    assert set(core.episodes) == set(episodes.episode_ids)


def test_a_failed_final_step_ends_the_episode_all_the_same(
    client: RewardClient, core: ScriptedCore
) -> None:
    core.answer = failing((0, 1, "progress"))
    episodes = opened(client, "raise")
    with pytest.raises(RewardsFailed):
        episodes.step(FRAMES, final=[True, False, False])
    assert episodes.episode_ids[0] not in core.episodes
    episodes.reset(FRAMES, [True, False, False])
    assert episodes.step(FRAMES).valid.all()


def test_the_error_survives_pickling(client: RewardClient, core: ScriptedCore) -> None:
    core.answer = failing((0, 1, "progress"))
    with pytest.raises(RewardsFailed) as failed:
        opened(client, "raise", interval=1).step(FRAMES)
    copy = pickle.loads(pickle.dumps(failed.value))  # noqa: S301
    assert str(copy) == str(failed.value)
    assert copy.failures[0].step == 1
    assert copy.rewards.valid.tolist() == [False, True, True]


def test_a_server_that_stays_away_is_unavailable(core: ScriptedCore) -> None:
    with RewardClient("127.0.0.1:9", timeout=5.0) as client, pytest.raises(Unavailable):
        client.models()
