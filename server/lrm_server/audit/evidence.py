"""What a model answered, arranged for the checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lrm_server.evaluation.asking import MODEL_CODES, Answer

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """An episode's asked frames: what was true, and what was answered (NaN: no answer).

    Attributes:
        episode: its id.
        task: in words.
        length: the episode's last step.
        success: whether it ends in success.
        done_step: the first step at which it was done; None where it never was.
        steps: int64 (F,).
        truth: float64 (F,) true progress, or None.
        done: bool (F,), or None.
        progress: float64 (F,), the progress head's expected value.
        stage: float64 (F,), the value of its most probable label.
        completion: float64 (F,), the completion head's probability of yes.
        graded: whether every completion answer came with probabilities; else ``completion`` holds
            the values of labels.
        assumed: whether the true progress was not recorded, and is time itself.
    """

    episode: str
    task: str
    length: int
    success: bool | None
    done_step: int | None
    steps: NDArray[np.int64]
    truth: Floats | None
    done: NDArray[np.bool_] | None
    progress: Floats
    stage: Floats
    completion: Floats
    graded: bool = True
    assumed: bool = False

    @property
    def labelled(self) -> bool:
        """Whether true progress was recorded."""
        return self.truth is not None and not self.assumed

    def share(self, steps: float) -> float:
        """Steps as a share of the episode."""
        return steps / max(self.length, 1)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two frames that contrastive compared in both orders; None: no answer.

    Attributes:
        episode: its id.
        rise: true progress of the later frame minus that of the earlier; None where unknown.
        forward: the answer with the earlier frame first.
        backward: the answer with the later frame first.
        assumed: whether the true progress was not recorded, and is time itself.
    """

    episode: str
    rise: float | None
    forward: Answer
    backward: Answer
    assumed: bool = False


@dataclass(frozen=True, slots=True)
class Comparison:
    """The same question twice: as it is, and changed.

    Attributes:
        episode: its id.
        head: which head was asked.
        plain: the answer to the question as it is.
        changed: the answer to the changed one.
        task: the other task that was asked about, where that is the change.
    """

    episode: str
    head: str
    plain: Answer
    changed: Answer
    task: str = ""

    @property
    def answered(self) -> bool:
        """Whether both have a value."""
        return self.plain.value is not None and self.changed.value is not None

    @property
    def change(self) -> float:
        """Absolute change of the score; both must have one."""
        before, after = self.plain.score, self.changed.score
        assert before is not None  # noqa: S101
        assert after is not None  # noqa: S101
        return abs(after - before)

    @property
    def flipped(self) -> bool:
        """Whether the label changed."""
        return self.plain.label != self.changed.label


def first_sentence(message: str) -> str:
    """What a failure's message says went wrong, before what it says to change."""
    return message.split(". ")[0].rstrip(".")


@dataclass(frozen=True, slots=True)
class Failures:
    """Questions without an answer.

    Attributes:
        asked: all questions that had to be answered.
        reasons: the failure's code -> how many, the commonest first.
        examples: the failure's code -> one of its messages.
    """

    asked: int
    reasons: Mapping[str, int] = field(default_factory=dict)
    examples: Mapping[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """Questions without an answer, for whatever reason."""
        return sum(self.reasons.values())

    @property
    def unanswered(self) -> int:
        """Questions that the model was asked and did not answer."""
        return sum(count for code, count in self.reasons.items() if code in MODEL_CODES)

    def said(self, code: str) -> str:
        """A failure's first sentence, without what to change."""
        return first_sentence(self.examples.get(code, code))

    @property
    def lost_share(self) -> float:
        """Share of questions that failed before or beside the model: frames, time, transport."""
        return (self.failed - self.unanswered) / self.asked if self.asked else 0.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that the checks look at.

    Attributes:
        heads: those that were asked.
        traces: one an episode with at least two frames.
        pairs: contrastive in both orders.
        edits: edit -> comparisons with the frames as they are.
        paraphrases: the task in other words -> comparisons with the task as it is.
        wrong_tasks: finished frames asked with their own task and with another one.
        readouts: "likelihood and generate", for example -> comparisons; those that the model left
            unanswered are among them, those that were refused are not.
        label_masses: of all answers that had one.
        failures: of the questions that had to be answered.
        too_short: episodes of a single frame.
        assumed: what was implied about the labels, in words -> in how many episodes.
        readout_errors: readout -> why it gave nothing.
    """

    heads: tuple[str, ...]
    traces: tuple[Trace, ...] = ()
    pairs: tuple[Pair, ...] = ()
    edits: Mapping[str, tuple[Comparison, ...]] = field(default_factory=dict)
    paraphrases: Mapping[str, tuple[Comparison, ...]] = field(default_factory=dict)
    wrong_tasks: tuple[Comparison, ...] = ()
    readouts: Mapping[str, tuple[Comparison, ...]] = field(default_factory=dict)
    label_masses: tuple[float, ...] = ()
    failures: Failures = Failures(0)
    too_short: int = 0
    assumed: Mapping[str, int] = field(default_factory=dict)
    readout_errors: Mapping[str, str] = field(default_factory=dict)
