"""Made-up episodes, and models that answer as they are told."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from lrm_client import Readout
from lrm_server.evaluation.asking import Answer, Question
from lrm_server.evaluation.identity import HeadIdentity, ModelIdentity
from lrm_server.recordings.episode import Frame, RecordedEpisode, RecordingError

HEADS = ("contrastive", "progress", "completion")
IDENTITY = ModelIdentity(
    "tiny",
    "f1",
    {head: HeadIdentity(f"lrm_{head}", f"d-{head}", Readout.LIKELIHOOD) for head in HEADS},
    "a tiny model",
    "0.1.0",
)


def png(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), level, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


class Frames(Sequence[Frame]):
    """Frames of which some cannot be read; counts what is read."""

    def __init__(self, frames: Sequence[Frame], missing: Sequence[int] = ()) -> None:
        self.frames, self.missing, self.reads = frames, missing, 0

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: Any) -> Any:
        self.reads += 1
        if index in self.missing:
            raise RecordingError(f"frame {index} is gone")
        return self.frames[index]


def episode(
    name: str = "a",
    progress: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
    *,
    missing: Sequence[int] = (),
    **changes: Any,
) -> RecordedEpisode:
    """Ten steps between frames; a success where progress ends at 1."""
    count = len(progress)
    truth = np.asarray(progress, dtype=np.float64)
    seed = sum(name.encode())
    made = RecordedEpisode(
        id=name,
        task="lift the cube",
        frames=Frames([png((seed + 7 * at) % 256) for at in range(count)], missing),
        steps=np.arange(count, dtype=np.int64) * 10,
        length=10 * (count - 1),
        success=bool(truth[-1] == 1),
        done=truth == 1,
        progress=truth,
        group="lifting",
        kind="expert",
    )
    return replace(made, **changes)


def failure(name: str = "b", **changes: Any) -> RecordedEpisode:
    return episode(name, (0.0, 0.2, 0.4, 0.2, 0.1), kind="dropped", **changes)


def truthful(question: Question) -> Answer:
    """Says what is so, with certainty."""
    truth = question.episode.progress
    assert truth is not None
    now = float(truth[question.current])
    if question.previous is not None:
        value = 1.0 if now > truth[question.previous] else -1.0
        shares = {"previous": (1 - value) / 2, "current": (1 + value) / 2}
        return Answer(value, value, "current" if value > 0 else "previous", shares, 1.0)
    if question.head == "completion":
        value = float(now == 1)
        return Answer(value, value, "yes" if value else "no", {"no": 1 - value, "yes": value}, 1.0)
    stage = float(np.floor(now * 10 + 0.5) / 10)
    return Answer(stage, now, str(stage), {str(stage): 1.0}, 0.9)


class ScriptedModel:
    """Answers by a function, and remembers what it was asked."""

    name = "scripted"

    def __init__(
        self,
        answer: Callable[[Question], Answer] = truthful,
        before: Callable[[Sequence[Question]], None] = lambda batch: None,
    ) -> None:
        self.answer, self.before = answer, before
        self.batches: list[list[Question]] = []

    @property
    def asked(self) -> list[Question]:
        return [question for batch in self.batches for question in batch]

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        self.before(questions)
        self.batches.append(list(questions))
        return [self.answer(question) for question in questions]
