"""What tests of bad input share: frames as both wires bring them, and real heads.

The heads stand on an engine that decodes frames and always answers alike.
"""

from __future__ import annotations

import base64
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest_asyncio

from lrm_client.wire import reward_pb2 as pb
from lrm_server.app import Server
from lrm_server.engine.protocol import (
    EngineStatus,
    EngineTimings,
    FrameSlot,
    Generation,
    LabelReading,
    Question,
)
from lrm_server.errors import DomainError
from lrm_server.heads.scoring import HeadScorer
from tests.api.conftest import Served, settings
from tests.api.frames import png
from tests.scripted_scorer import built_in_catalogue

TASK = "pick up the cube"
PIXEL_LIMIT = 64 * 64
BYTE_LIMIT = 1024 * 1024


class EvenEngine:
    """Implements the engine's protocol; every label is as probable as the others."""

    fingerprint = "even"
    adapters: Mapping[str, str] = {}

    async def read_forced(self, question: Question) -> LabelReading:
        for part in question.parts:
            if isinstance(part, FrameSlot):
                try:
                    part.frame.pixels()
                except DomainError as error:
                    raise error.within(part.name) from error
        labels = len(question.form.labels)
        return LabelReading((-math.log(labels),) * labels, "", EngineTimings())

    async def read_after_reasoning(self, question: Question) -> LabelReading:
        return await self.read_forced(question)

    async def generate(self, question: Question) -> Generation:
        raise AssertionError("no test asks for it")

    async def status(self) -> EngineStatus:
        return EngineStatus(True, "", 0, 0)


@dataclass(frozen=True)
class Sent:
    """A frame as a request brings it."""

    data: bytes
    encoding: str
    shape: tuple[int, ...] | None = None

    def wire(self) -> pb.Frame:
        height, width = (self.shape or (0, 0))[:2]
        number = pb.Encoding.Value(f"ENCODING_{self.encoding.upper()}")
        return pb.Frame(encoding=number, data=self.data, height=height, width=width)

    def json(self) -> dict[str, Any]:
        body = {"data": base64.b64encode(self.data).decode(), "encoding": self.encoding}
        return {**body, "shape": list(self.shape)} if self.shape else body


GOOD = Sent(png(), "png")


@pytest_asyncio.fixture(scope="module")
async def limited() -> AsyncIterator[Served]:
    """One server for all: nothing here changes it."""
    scorer = HeadScorer(EvenEngine(), built_in_catalogue())
    limits = settings(max_frame_pixels=PIXEL_LIMIT, max_frame_mib=1)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(Server(limits, scorer))
        yield Served(server, stack)
