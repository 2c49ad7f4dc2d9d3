"""A frame that breaks what opens it in a way that nobody expected fails alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lrm_client import AsyncRewardClient, EpisodeSpec, EpisodeStep, LrmError, Query, StepReply
from lrm_client.wire import reward_pb2 as pb
from lrm_server.api import from_json, from_wire, wire_frames
from tests.api.conftest import Served
from tests.api.frames import pixels

TASK = "pick up the cube"
GOOD, EVIL = pixels(seed=1), pixels(seed=2)


@pytest.fixture(autouse=True)
def _evil_frames_break(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = wire_frames.open_frame

    def opened(data: bytes | memoryview, *args: Any, **options: Any) -> Any:
        if bytes(data) == EVIL.tobytes():
            raise RuntimeError("the secret of the house")
        return whole(data, *args, **options)

    for module in (wire_frames, from_json):
        monkeypatch.setattr(module, "open_frame", opened)


def raw(array: np.ndarray) -> pb.Frame:
    return pb.Frame(encoding=pb.ENCODING_RAW, data=array.tobytes(), height=32, width=32)


async def test_its_query_is_internal_and_the_others_are_answered(
    client: AsyncRewardClient,
) -> None:
    queries = [Query("progress", TASK, current=frame) for frame in (GOOD, EVIL, GOOD)]
    first, broken, last = await client.score_batch(queries)
    assert isinstance(broken, LrmError)
    assert broken.code == "internal"
    assert "secret" not in str(broken)
    assert not isinstance(first, LrmError)
    assert not isinstance(last, LrmError)


async def test_its_step_is_internal_and_the_others_are_taken(client: AsyncRewardClient) -> None:
    for name in ("good", "evil"):
        await client.open_episodes([EpisodeSpec(TASK, ["progress"], id=name)])
    good, evil = await client.step_episodes(
        [EpisodeStep("good", 0, GOOD), EpisodeStep("evil", 0, EVIL)]
    )
    assert isinstance(good, StepReply)
    assert isinstance(evil, LrmError)
    assert evil.code == "internal"


@pytest.mark.parametrize("layout", ["list", "tensor"])
async def test_each_layout_of_frames_keeps_it_apart(served: Served, layout: str) -> None:
    request = pb.ScoreRequest()
    if layout == "list":
        request.frames.list.frames.extend([raw(GOOD), raw(EVIL)])
    else:
        data = np.stack([GOOD, EVIL]).tobytes()
        request.frames.tensor.CopyFrom(pb.RawTensor(data=data, count=2, height=32, width=32))
    for index in range(2):
        request.queries.add(head="progress", task=TASK, current=index)
    good, evil = (await (await served.stub()).Score(request)).results
    assert good.HasField("reply")
    assert evil.error.code == "internal"


async def test_a_message_that_breaks_its_translation_fails_alone(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = from_wire.query

    def translated(message: pb.Query, *args: Any) -> Any:
        if message.task == "break":
            raise RuntimeError("the secret of the house")
        return whole(message, *args)

    monkeypatch.setattr(from_wire, "query", translated)
    request = pb.ScoreRequest()
    request.frames.list.frames.append(raw(GOOD))
    for task in (TASK, "break"):
        request.queries.add(head="progress", task=task, current=0)
    good, broken = (await (await served.stub()).Score(request)).results
    assert good.HasField("reply")
    assert broken.error.code == "internal"
