"""What the tests of a robot session share: a server that can hang, and a clock to set."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from threading import Event
from typing import Any

import numpy as np

from lrm_client import Retry, RewardClient
from lrm_client.connection import Call as SentCall
from lrm_client.connection import ResultT
from lrm_client.flows import Sender
from lrm_client.readings import Reading
from lrm_client.robot_session import RobotSession
from tests.client.scripted import Asked, ScriptedCore

TASK = "put the cube on the plate"
PATIENCE = 30.0
"""Seconds after which a test gives up waiting for what should come at once."""


class Call:
    """A call that the server holds back."""

    def __init__(self) -> None:
        self.arrived = Event()
        self.answered = Event()

    def wait_arrived(self) -> None:
        assert self.arrived.wait(PATIENCE)

    def answer(self) -> None:
        self.answered.set()


class Hanging:
    """Makes the core hold back calls of its methods until they are to be answered."""

    def __init__(self, core: ScriptedCore) -> None:
        self._handle, core.handle = core.handle, self._hold
        self._held: dict[str, deque[Call]] = {}
        self._all: list[Call] = []

    def hold(self, method: str = "StepEpisodes") -> Call:
        """The next call of the method that is not held yet."""
        call = Call()
        self._held.setdefault(method, deque()).append(call)
        self._all.append(call)
        return call

    def answer_all(self) -> None:
        for call in self._all:
            call.answer()

    def _hold(self, method: str, request: Any) -> Any:
        held = self._held.get(method)
        if held:
            call = held.popleft()
            call.arrived.set()
            assert call.answered.wait(PATIENCE)
        return self._handle(method, request)


class Impatient:
    """A client whose calls have the deadline ``timeout`` in place of their own, once it is set."""

    def __init__(self, client: RewardClient) -> None:
        self._client = client
        self.timeout: float | None = None
        self.encoder = client.encoder
        self.max_message_bytes = client.max_message_bytes

    def send(self, call: SentCall[ResultT]) -> ResultT:
        return self._client.send(replace(call, timeout=self.timeout or call.timeout))


class SetClock:
    """A clock that shows what it is set to."""

    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def frame(value: int) -> np.ndarray:
    """A frame that the scripted server answers with ``value`` / 100."""
    return np.full((4, 5, 3), value, np.uint8)


def by_frame(asked: Asked) -> float:
    return asked.frame[0] / 100


def session_of(client: Sender, heads: tuple[str, ...] = ("progress",), **options: Any):
    options = {
        "rate_hz": 10,
        "max_age_s": 5.0,
        "timeout_s": PATIENCE,
        "backoff": Retry(initial_seconds=0.001, maximum_seconds=0.002),
        **options,
    }
    return RobotSession(client, TASK, heads, **options)


def settled(session: RobotSession) -> Reading:
    """The reading once everything that was handed over is answered or has failed."""
    return session.latest(wait_s=PATIENCE)


def sent_steps(core: ScriptedCore) -> list[int]:
    """The numbers of the steps whose frames reached the server."""
    requests = [request for name, request in core.requests if name == "StepEpisodes"]
    return [step.step for request in requests for step in request.steps if step.HasField("frame")]
