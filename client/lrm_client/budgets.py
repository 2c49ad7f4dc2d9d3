"""How many queries a training run may ask: prepared calls, which either client sends.

::

    client = RewardClient("127.0.0.1:50051", run="ppo-stack-7")
    client.send(open_run("ppo-stack-7", queries=20_000))
    ...
    try:
        reply = client.progress(frame, task)
    except WarmUpOver:
        ...  # go on with the value function

A query counts when the model is asked: also when it fails, and again when it is asked again.
It does not count when it is wrong, when the server is full or its engine is down, and a step
of an episode that is answered again from memory is no query. A composite head's query is one.
"""

from __future__ import annotations

from dataclasses import dataclass

from lrm_client.connection import CLOSE_RUN, GET_RUN, OPEN_RUN, Call
from lrm_client.wire import reward_pb2 as pb


@dataclass(frozen=True, slots=True)
class Run:
    """Where a run stands.

    Attributes:
        id: chosen by its caller.
        queries: how many it may ask.
        used: how many it asked; queries that are being answered count.
        over: whether it may ask no more.
    """

    id: str
    queries: int
    used: int
    over: bool


def open_run(run: str, queries: int, *, timeout: float | None = None) -> Call[Run]:
    """Opens a run, or changes how many queries an open one may ask; what it asked stays."""
    return Call(OPEN_RUN, pb.OpenRunRequest(id=run, queries=queries), _standing, timeout)


def get_run(run: str, *, timeout: float | None = None) -> Call[Run]:
    """Where a run stands. Sending it raises RunNotFound where it is not open."""
    return Call(GET_RUN, pb.GetRunRequest(id=run), _standing, timeout)


def close_run(run: str, *, timeout: float | None = None) -> Call[bool]:
    """Closes a run; whether it was open. Closing twice is no error."""
    return Call(CLOSE_RUN, pb.CloseRunRequest(id=run), _was_open, timeout)


def _standing(run: pb.Run) -> Run:
    return Run(run.id, run.queries, run.used, run.over)


def _was_open(response: pb.CloseRunResponse) -> bool:
    return response.was_open
