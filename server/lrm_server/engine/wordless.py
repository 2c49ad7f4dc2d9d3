"""Stands in for an engine where a model writes no words, and refuses what asks for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import NoReturn

from lrm_server.engine.protocol import (
    Conversation,
    EngineStatus,
    Generation,
    LabelReading,
    Question,
    Written,
)
from lrm_server.errors import invalid


class WordlessEngine:
    """Implements ``engine.protocol.Engine`` for a model that is read from heads of its own.

    Args:
        fingerprint: of the model.
        status: asks the model.
    """

    def __init__(self, fingerprint: str, status: Callable[[], Awaitable[EngineStatus]]) -> None:
        self._fingerprint = fingerprint
        self._status = status

    @property
    def fingerprint(self) -> str:
        """Identifies the weights and the preparation of frames."""
        return self._fingerprint

    @property
    def adapters(self) -> Mapping[str, str]:
        """None: such a model is served as it is."""
        return {}

    async def read_forced(self, question: Question) -> LabelReading:
        """Refuses."""
        _refuse()

    async def read_after_reasoning(self, question: Question) -> LabelReading:
        """Refuses."""
        _refuse()

    async def generate(self, question: Question) -> Generation:
        """Refuses."""
        _refuse()

    async def converse(self, conversation: Conversation) -> Written:
        """Refuses."""
        _refuse()

    async def status(self) -> EngineStatus:
        """Asks the model itself."""
        return await self._status()


def _refuse() -> NoReturn:
    raise invalid(
        "head",
        "the model that is served here writes no words: ask the heads that it has, or serve a "
        "checkpoint that writes.",
    )
