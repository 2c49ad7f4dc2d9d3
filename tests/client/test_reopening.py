"""What a server that forgot its episodes compares with when they are opened again."""

from __future__ import annotations

import grpc
import numpy as np
import pytest

from lrm_client import RewardClient, VectorEpisodes
from lrm_client.wire import reward_pb2 as pb
from tests.client.scripted import Asked, ScriptedCore, ScriptedError, problem

TASK = "put the cube on the plate"


def frame(step: int) -> np.ndarray:
    return np.full((1, 4, 5, 3), step, np.uint8)


def failing(*where: tuple[int, str]) -> object:
    def answer(asked: Asked) -> float | pb.Problem:
        return problem("label_mass_low") if (asked.step, asked.head) in where else 0.5

    return answer


@pytest.fixture
def serves(core: ScriptedCore) -> ScriptedCore:
    """A server that says which frames its heads look at."""
    looks = {
        "contrastive": ["previous", "current"],
        "tri": ["previous", "current"],
        "progress": ["current"],
        "completion": ["current"],
    }
    heads = [pb.Head(name=name, required_frames=roles) for name, roles in looks.items()]
    response = pb.ListModelsResponse(models=[pb.Model(id="tiny", heads=heads)])
    core._ListModels = lambda request: response  # type: ignore[method-assign]
    return core


def reopened(
    client: RewardClient, core: ScriptedCore, heads: list[str], *where: tuple[int, str]
) -> list[int]:
    """The frames that are asked after the steps 1 and 2, of which some heads fail."""
    episodes: VectorEpisodes = client.vector_episodes(1, TASK, heads, interval=1, failure="mask")
    episodes.reset(frame(0))
    core.answer = failing(*where)  # type: ignore[assignment]
    episodes.step(frame(1))
    episodes.step(frame(2))
    core.answer = lambda asked: 0.5
    core.lose_episodes()
    core.asked.clear()
    assert episodes.step(frame(3)).source.tolist() == ["queried"]
    return [asked.frame[0] for asked in core.asked if asked.head == heads[0]]


def test_a_head_compares_with_its_own_last_success(
    client: RewardClient, serves: ScriptedCore
) -> None:
    heads = ["contrastive", "progress"]
    assert reopened(client, serves, heads, (2, "contrastive")) == [1, 3]


def test_the_newer_success_of_a_head_that_compares_is_kept(
    client: RewardClient, serves: ScriptedCore
) -> None:
    heads = ["contrastive", "progress"]
    assert reopened(client, serves, heads, (2, "progress")) == [2, 3]


def test_a_head_without_a_success_compares_with_the_initial_frame(
    client: RewardClient, serves: ScriptedCore
) -> None:
    heads = ["contrastive", "progress"]
    assert reopened(client, serves, heads, (1, "contrastive"), (2, "contrastive")) == [3]


def test_heads_that_compare_with_different_frames_get_the_newest_last(
    client: RewardClient, serves: ScriptedCore
) -> None:
    heads = ["contrastive", "tri"]
    assert reopened(client, serves, heads, (2, "contrastive")) == [1, 2, 3]


def test_heads_of_which_none_compares_ask_no_old_frame(
    client: RewardClient, serves: ScriptedCore
) -> None:
    heads = ["completion", "progress"]
    assert reopened(client, serves, heads, (2, "progress")) == [3]


def test_heads_that_are_not_described_are_taken_to_compare(
    client: RewardClient, core: ScriptedCore
) -> None:
    heads = ["contrastive", "tri"]
    assert reopened(client, core, heads, (2, "tri")) == [1, 2, 3]


def test_a_server_that_does_not_describe_its_heads_is_asked_every_last_frame(
    client: RewardClient, serves: ScriptedCore
) -> None:
    serves.fail_next(
        "ListModels", ScriptedError(grpc.StatusCode.INTERNAL, problem("internal", "no list"))
    )
    heads = ["contrastive", "progress"]
    assert reopened(client, serves, heads, (2, "contrastive")) == [1, 2, 3]


def test_heads_that_agree_are_opened_again_without_asking_what_they_look_at(
    client: RewardClient, serves: ScriptedCore
) -> None:
    assert reopened(client, serves, ["contrastive", "progress"]) == [2, 3]
    assert serves.count("ListModels") == 0
