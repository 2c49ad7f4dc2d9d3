"""An engine that answers as it is told, for tests of what stands above it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from lrm_server.engine.protocol import (
    EngineStatus,
    EngineTimings,
    Generation,
    LabelReading,
    Question,
    TokenCounts,
)
from lrm_server.errors import DomainError
from lrm_server.frames import Encoding, Frame, FrameLimits, open_frame
from lrm_server.heads.catalogue import HeadCatalogue, ModelCard
from lrm_server.heads.manifest import default_manifest, served_heads
from lrm_server.heads.scoring import HeadScorer

READ = TokenCounts(prompt=100, cached=64)
WROTE = TokenCounts(prompt=90, written=12)
ROLES = ("initial", "previous", "current", "goal")


class ScriptedEngine:
    """Gives each set of labels the probabilities that it was told.

    Attributes:
        shares: labels as written -> their probabilities, in order.
        text: what ``generate`` writes, and what stands before the slot after reasoning.
        failing: labels of the questions that fail, and how.
        asked: every question, with the readout that asked it.
    """

    fingerprint = "0123456789abcdef"
    adapters: Mapping[str, str] = {}

    def __init__(self) -> None:
        self.shares: dict[tuple[str, ...], Sequence[float]] = {}
        self.text = ""
        self.failing: dict[tuple[str, ...], DomainError] = {}
        self.asked: list[tuple[str, Question]] = []

    async def read_forced(self, question: Question) -> LabelReading:
        return self._read("forced", question, "")

    async def read_after_reasoning(self, question: Question) -> LabelReading:
        return self._read("reasoned", question, self.text)

    async def generate(self, question: Question) -> Generation:
        self.asked.append(("generate", question))
        return Generation(self.text, True, EngineTimings(), WROTE)

    async def status(self) -> EngineStatus:
        return EngineStatus(True, "", 0, 0)

    def _read(self, how: str, question: Question, text: str) -> LabelReading:
        self.asked.append((how, question))
        labels = question.form.labels
        if labels in self.failing:
            raise self.failing[labels]
        shares = self.shares.get(labels, [1 / len(labels)] * len(labels))
        return LabelReading(
            tuple(math.log(p) if p else -math.inf for p in shares),
            text,
            EngineTimings(1, 2, 3),
            READ if how == "forced" else WROTE + READ,
        )


def scorer(engine: ScriptedEngine) -> HeadScorer:
    """The built-in heads on an engine."""
    heads = served_heads(default_manifest("scripted"), {})
    return HeadScorer(engine, HeadCatalogue(heads, ModelCard("scripted", "", engine.fingerprint)))


def grey(height: int = 16, width: int = 16, shade: int = 128) -> Frame:
    """A frame of one shade."""
    data = bytes([shade]) * (height * width * 3)
    return open_frame(data, Encoding.RAW, FrameLimits(), height=height, width=width)
