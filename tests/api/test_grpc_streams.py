"""An episode over one stream."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from lrm_client.wire import reward_pb2 as pb
from tests.api.conftest import Served
from tests.api.wire import FRAME, TASK, problem_of
from tests.scripted_scorer import ScriptedScorer


def opening(**changes: Any) -> pb.StreamEpisodeRequest:
    spec = {"id": "robot", "task": TASK, "heads": ["progress"], "interval": 2, **changes}
    return pb.StreamEpisodeRequest(open=pb.EpisodeSpec(**spec))


def stepping(number: int, *, frame: pb.Frame | None = FRAME, **changes: Any) -> Any:
    step = pb.StreamEpisodeRequest.Step(step=number, frame=frame, **changes)
    return pb.StreamEpisodeRequest(step=step)


async def test_a_stream_opens_and_steps_one_episode_to_its_end(
    served: Served, scorer: ScriptedScorer
) -> None:
    scorer.answers = lambda query: 0.3
    call = (await served.stub()).StreamEpisode()
    await call.write(opening())
    opened = await call.read()
    assert (opened.opened.episode.id, opened.opened.episode.next_query_step) == ("robot", 2)
    sources = []
    messages = [
        stepping(0),
        stepping(1, frame=None),
        stepping(2, frame=None),
        stepping(2),
        stepping(3, final=True),
    ]
    for message in messages:
        await call.write(message)
        result = (await call.read()).step
        assert (result.episode, result.step) == ("robot", message.step.step)
        sources.append(
            result.error.code
            if result.HasField("error")
            else [pb.Source.Name(reward.source) for reward in result.reply.rewards]
        )
    assert sources == [
        [],
        ["SOURCE_NEUTRAL"],
        "frame_required",
        ["SOURCE_QUERIED"],
        ["SOURCE_QUERIED"],
    ]
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_an_episode_stays_open_when_its_stream_breaks(served: Served) -> None:
    stub = await served.stub()
    call = stub.StreamEpisode()
    await call.write(opening())
    await call.read()
    await call.write(stepping(0))
    await call.read()
    call.cancel()
    request = pb.StepEpisodesRequest(steps=[pb.EpisodeStep(episode="robot", step=1)])
    (result,) = (await stub.StepEpisodes(request)).results
    assert result.HasField("reply")


async def test_an_episode_stays_open_when_its_stream_ends(served: Served) -> None:
    stub = await served.stub()
    call = stub.StreamEpisode()
    await call.write(opening())
    await call.read()
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    closed = await stub.CloseEpisodes(pb.CloseEpisodesRequest(episodes=["robot"]))
    assert closed.results[0].was_open


async def test_a_stream_whose_episode_cannot_be_opened_says_why_and_ends(served: Served) -> None:
    call = (await served.stub()).StreamEpisode()
    await call.write(opening(heads=["nosuch"]))
    error = (await call.read()).opened.error
    assert (error.code, error.field) == ("unknown_head", "open.heads[0]")
    assert await call.read() is grpc.aio.EOF


@pytest.mark.parametrize(
    ("first", "second", "field"),
    [(stepping(0), None, "open"), (opening(), opening(), "step"), (opening(), None, "step")],
)
async def test_a_stream_out_of_order_is_refused(
    served: Served, first: Any, second: Any, field: str
) -> None:
    call = (await served.stub()).StreamEpisode()
    await call.write(first)
    if field == "step":
        await call.read()
        await call.write(second or pb.StreamEpisodeRequest())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert problem_of(caught.value).field == field


async def test_a_bad_frame_in_a_stream_fails_its_step_alone(served: Served) -> None:
    call = (await served.stub()).StreamEpisode()
    await call.write(opening())
    await call.read()
    await call.write(stepping(0, frame=pb.Frame(encoding=pb.ENCODING_JPEG, data=b"broken")))
    error = (await call.read()).step.error
    assert (error.code, error.field) == ("image_undecodable", "step.frame")
    await call.write(stepping(0))
    assert (await call.read()).step.HasField("reply")


async def test_a_stream_that_waits_for_its_caller_does_not_hold_up_a_stop(served: Served) -> None:
    call = (await served.stub()).StreamEpisode()
    await call.write(opening())
    await call.read()
    await asyncio.wait_for(served.server.stop(grace=30), 10)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert problem_of(caught.value).code == "unavailable"
