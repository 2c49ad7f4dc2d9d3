"""What is gRPC's alone: frames by index, tensors, limits, metadata, cancellation."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import numpy as np
import pytest

from lrm_client.wire import reward_pb2 as pb
from lrm_server.heads.profile import Role
from tests.api.conftest import Serve, Served
from tests.api.frames import pixels
from tests.api.waiting import until
from tests.api.wire import FRAME, TASK, problem_of
from tests.scripted_scorer import ScriptedScorer


def score_request(**query: Any) -> pb.ScoreRequest:
    request = pb.ScoreRequest()
    request.frames.list.frames.append(FRAME)
    request.queries.add(**{"head": "progress", "task": TASK, "current": 0, **query})
    return request


async def test_a_tensor_of_frames_is_taken_apart(served: Served, scorer: ScriptedScorer) -> None:
    frames = np.stack([pixels(256, 256, seed) for seed in range(8)])
    request = pb.ScoreRequest()
    tensor = request.frames.tensor
    tensor.data, tensor.count, tensor.height, tensor.width = frames.tobytes(), 8, 256, 256
    for index in range(8):
        request.queries.add(head="progress", task=TASK, current=index)
    response = await (await served.stub()).Score(request)
    assert all(result.HasField("reply") for result in response.results)
    for index, query in enumerate(scorer.queries):
        assert np.array_equal(query.frames[Role.CURRENT].pixels(), frames[index])


async def test_frames_that_serve_several_queries_are_one_object(
    served: Served, scorer: ScriptedScorer
) -> None:
    request = score_request()
    request.queries.add(head="completion", task=TASK, current=0)
    await (await served.stub()).Score(request)
    first, second = (query.frames[Role.CURRENT] for query in scorer.queries)
    assert first is second


@pytest.mark.parametrize("layout", ["list", "tensor", "none"])
async def test_an_index_beyond_the_frames_fails_its_query_alone(
    served: Served, layout: str
) -> None:
    request = pb.ScoreRequest()
    if layout == "list":
        request.frames.list.frames.append(FRAME)
    elif layout == "tensor":
        request.frames.tensor.CopyFrom(
            pb.RawTensor(data=pixels().tobytes(), count=1, height=32, width=32)
        )
    request.queries.add(head="progress", task=TASK, current=0)
    request.queries.add(head="progress", task=TASK, current=1)
    results = (await (await served.stub()).Score(request)).results
    assert results[0].HasField("reply") == (layout != "none")
    assert (results[1].error.code, results[1].error.field) == (
        "invalid_argument",
        "queries[1].current",
    )


@pytest.mark.parametrize("changes", [{"count": 3}, {"height": 31}, {"width": 2**31}])
async def test_a_tensor_of_another_size_fails_what_uses_it(
    served: Served, changes: dict[str, int]
) -> None:
    request = pb.ScoreRequest()
    good = {"data": pixels().tobytes() * 2, "count": 2, "height": 32, "width": 32}
    request.frames.tensor.CopyFrom(pb.RawTensor(**{**good, **changes}))
    request.queries.add(head="progress", task=TASK, current=1)
    (result,) = (await (await served.stub()).Score(request)).results
    assert (result.error.code, result.error.field) == ("invalid_argument", "queries[0].current")
    assert "3 channels" in result.error.message


@pytest.mark.parametrize("field", ["readout", "use"])
async def test_a_word_of_a_newer_protocol_fails_its_query(served: Served, field: str) -> None:
    (result,) = (await (await served.stub()).Score(score_request(**{field: 99}))).results
    assert (result.error.code, result.error.field) == ("invalid_argument", f"queries[0].{field}")


async def test_a_frame_without_an_encoding_fails_its_query(served: Served) -> None:
    request = score_request()
    request.frames.list.frames[0].encoding = pb.ENCODING_UNSPECIFIED
    (result,) = (await (await served.stub()).Score(request)).results
    assert (result.error.code, result.error.field) == ("invalid_argument", "queries[0].current")


@pytest.mark.parametrize("what", ["queries", "frames"])
async def test_a_batch_over_the_limit_is_refused_as_a_whole(serve: Serve, what: str) -> None:
    served = await serve(max_batch=2)
    request = score_request()
    for _ in range(2):
        if what == "queries":
            request.queries.add(head="progress", task=TASK, current=0)
        else:
            request.frames.list.frames.append(FRAME)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (await served.stub()).Score(request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    problem = problem_of(caught.value)
    assert (problem.code, problem.field) == ("invalid_argument", what)
    assert "3" in problem.message
    assert "2" in problem.message


async def test_a_tensor_that_claims_too_many_frames_is_refused(served: Served) -> None:
    request = score_request()
    request.frames.tensor.CopyFrom(pb.RawTensor(count=2**32 - 1))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (await served.stub()).Score(request)
    assert problem_of(caught.value).field == "frames"


async def test_a_message_over_the_limit_is_refused(serve: Serve) -> None:
    served = await serve(max_message_mib=1)
    request = score_request()
    request.frames.list.frames.add(encoding=pb.ENCODING_PNG, data=bytes(1024 * 1024))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (await served.stub()).Score(request)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in caught.value.details()


async def test_an_exception_nobody_expected_is_internal_and_tells_nothing(
    served: Served, scorer: ScriptedScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(specs: Any) -> Any:
        raise RuntimeError("the secret of the house")

    monkeypatch.setattr("lrm_server.api.calls.Calls.open", lambda self, items: broken(items))
    spec = pb.EpisodeSpec(task=TASK, heads=["progress"])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (await served.stub()).OpenEpisodes(pb.OpenEpisodesRequest(episodes=[spec]))
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    problem = problem_of(caught.value)
    assert problem.code == "internal"
    assert "secret" not in caught.value.details() + problem.message


async def test_cancelling_a_call_cancels_its_queries(
    served: Served, scorer: ScriptedScorer
) -> None:
    scorer.pause = lambda query: asyncio.sleep(30)
    call = (await served.stub()).Score(score_request())
    sending = asyncio.ensure_future(call)
    await until(lambda: scorer.running == 1)
    call.cancel()
    await until(lambda: scorer.cancelled == 1)
    assert scorer.running == 0
    with pytest.raises(asyncio.CancelledError):
        await sending
