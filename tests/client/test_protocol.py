"""Answers that the protocol does not allow are errors, never rewards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lrm_client import (
    EpisodeSpec,
    EpisodeStep,
    Overloaded,
    Query,
    Reply,
    RewardClient,
    ServerError,
    StepReply,
    Unauthenticated,
    Unavailable,
)
from lrm_client.connection import CLOSE, MODELS, OPEN, SCORE, STEP, Method
from lrm_client.http_requests import exchanges, lanes
from lrm_client.http_responses import assemble
from lrm_client.wire import reward_pb2 as pb
from tests.client.scripted import ScriptedCore, problem

TASK = "put the cube on the plate"
FRAME = np.zeros((4, 5, 3), np.uint8)
STEPS = pb.StepEpisodesRequest(
    steps=[pb.EpisodeStep(episode="a", step=3), pb.EpisodeStep(episode="b", step=3)]
)
OPENS = pb.OpenEpisodesRequest(episodes=[pb.EpisodeSpec(id="a", task=TASK, heads=["progress"])])


def spoiled(core: ScriptedCore, spoil: Callable[[Any], None]) -> None:
    """Has every answer spoiled on its way out."""
    handle = core.handle

    def spoil_answer(method: str, request: Any) -> Any:
        response = handle(method, request)
        spoil(response)
        return response

    core.handle = spoil_answer  # type: ignore[method-assign]


def drop_result(response: Any) -> None:
    del response.results[0]


def test_a_missing_result_is_an_error(grpc_client: RewardClient, core: ScriptedCore) -> None:
    (episode,) = grpc_client.open_episodes([EpisodeSpec(TASK, ["progress"])])
    spoiled(core, drop_result)
    with pytest.raises(ServerError, match="0 results for 1 queries"):
        grpc_client.progress(FRAME, TASK)
    with pytest.raises(ServerError, match="0 results for 1 specifications"):
        grpc_client.open_episodes([EpisodeSpec(TASK, ["progress"])])
    with pytest.raises(ServerError, match="0 results for 1 steps"):
        grpc_client.step_episodes([EpisodeStep(episode.id, 0, FRAME)])


def test_results_of_other_steps_are_an_error(grpc_client: RewardClient, core: ScriptedCore) -> None:
    ids = [e.id for e in grpc_client.open_episodes([EpisodeSpec(TASK, ["progress"])] * 2)]
    spoiled(core, lambda response: response.results.reverse())
    with pytest.raises(ServerError, match="answered step 0 of episode"):
        grpc_client.step_episodes([EpisodeStep(episode, 0, FRAME) for episode in ids])


def test_another_episode_than_the_one_asked_for_is_an_error(
    grpc_client: RewardClient, core: ScriptedCore
) -> None:
    def rename(response: pb.OpenEpisodesResponse) -> None:
        response.results[0].episode.id = "another"

    spoiled(core, rename)
    with pytest.raises(ServerError, match="opened episode another"):
        grpc_client.open_episodes([EpisodeSpec(TASK, ["progress"])])


def with_source(source: int) -> Callable[[Any], None]:
    def change(response: Any) -> None:
        response.results[0].reply.rewards[0].source = source

    return change


def without_reward(response: Any) -> None:
    response.results[0].reply.rewards[0].ClearField("reward")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (with_source(0), "named no source"),
        (with_source(77), "SOURCE_77, which this client does not know"),
        (with_source(pb.SOURCE_FAILED), "is failed and has a reward"),
        (without_reward, "is held and has no reward"),
    ],
    ids=["no source", "unknown source", "failed with a reward", "held without one"],
)
def test_a_reward_that_contradicts_its_source_is_an_error(
    grpc_client: RewardClient, core: ScriptedCore, spoil: Callable[[Any], None], says: str
) -> None:
    (episode,) = grpc_client.open_episodes([EpisodeSpec(TASK, ["progress"])])
    grpc_client.step_episodes([EpisodeStep(episode.id, 0, FRAME)])
    grpc_client.step_episodes([EpisodeStep(episode.id, 1, FRAME, force=True)])
    spoiled(core, spoil)
    with pytest.raises(ServerError, match=says):
        grpc_client.step_episodes([EpisodeStep(episode.id, 2)])


def test_a_result_with_nothing_in_it_is_an_error_of_its_query(
    grpc_client: RewardClient, core: ScriptedCore
) -> None:
    spoiled(core, lambda response: response.results[0].Clear())
    (result,) = grpc_client.score_batch([Query("progress", TASK, current=FRAME)])
    assert isinstance(result, ServerError)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_no_number_is_an_error_of_its_query(
    client: RewardClient, core: ScriptedCore, value: float
) -> None:
    core.answer = lambda asked: value if asked.head == "progress" else 1.0
    queries = [Query(head, TASK, current=FRAME) for head in ("progress", "completion")]
    first, second = client.score_batch(queries)
    assert isinstance(first, ServerError)
    assert isinstance(second, Reply)


@pytest.mark.parametrize(
    ("method", "request_", "body"),
    [
        (SCORE, pb.ScoreRequest(), {}),
        (SCORE, pb.ScoreRequest(), {"results": [{"head": "progress"}]}),
        (SCORE, pb.ScoreRequest(), {"results": [{"head": "progress", "value": "high"}]}),
        (SCORE, pb.ScoreRequest(), {"results": [{"value": 1.0, "readout": "guess"}]}),
        (SCORE, pb.ScoreRequest(), {"results": 3}),
        (OPEN, OPENS, {"id": "a"}),
        (MODELS, pb.ListModelsRequest(), {"data": []}),
        (CLOSE, pb.CloseEpisodesRequest(episodes=["a"]), {"id": "a"}),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, dict) else "",
)
def test_json_of_another_protocol_is_an_error(
    method: Method[Any, Any], request_: Any, body: dict[str, Any]
) -> None:
    with pytest.raises(ServerError, match="is not the JSON of this protocol"):
        assemble(method, request_, [body])


def test_one_lost_request_does_not_lose_the_answers_of_the_others() -> None:
    answered = {"step": 3, "rewards": {}, "next_query_step": 6}
    response = assemble(STEP, STEPS, [answered, problem("unavailable")])
    assert response.results[0].reply.next_query_step == 6
    assert response.results[1].error.code == "unavailable"


@pytest.mark.parametrize(
    ("codes", "error"),
    [
        (["unavailable", "unavailable"], Unavailable),
        (["overloaded", "unavailable"], Overloaded),
        (["step_behind", "unauthenticated"], Unauthenticated),
    ],
)
def test_requests_that_all_failed_at_the_door_fail_the_call(
    codes: list[str], error: type[Exception]
) -> None:
    with pytest.raises(error):
        assemble(STEP, STEPS, [problem(code) for code in codes])


def test_refusals_of_every_step_are_no_failure_of_the_call() -> None:
    response = assemble(STEP, STEPS, [problem("step_behind"), problem("episode_ended")])
    assert [result.error.code for result in response.results] == ["step_behind", "episode_ended"]


def test_closing_what_the_server_does_not_know_is_no_error() -> None:
    request = pb.CloseEpisodesRequest(episodes=["a"])
    response = assemble(CLOSE, request, [problem("episode_not_found")])
    assert [result.was_open for result in response.results] == [False]


def test_a_newer_servers_limits_are_passed_over() -> None:
    body = {"data": [], "version": "9", "limits": {"max_batch": 5, "max_moons": 2}}
    response = assemble(MODELS, pb.ListModelsRequest(), [body])
    assert response.limits == pb.Limits(max_batch=5)


def test_steps_of_one_episode_follow_one_another_and_others_run_beside_them() -> None:
    request = pb.StepEpisodesRequest(
        steps=[pb.EpisodeStep(episode=e, step=s) for e, s in (("a", 0), ("b", 0), ("a", 1))]
    )
    assert lanes(exchanges(STEP, request)) == [[0, 2], [1]]
    assert lanes(exchanges(OPEN, pb.OpenEpisodesRequest(episodes=[pb.EpisodeSpec()] * 2))) == [
        [0],
        [1],
    ]


def test_a_step_over_http_is_answered_at_its_own_number(
    client: RewardClient, core: ScriptedCore
) -> None:
    (episode,) = client.open_episodes([EpisodeSpec(TASK, ["progress"])])
    (reply,) = client.step_episodes([EpisodeStep(episode.id, 0, FRAME)])
    assert isinstance(reply, StepReply)
    assert (reply.episode, reply.step) == (episode.id, 0)
