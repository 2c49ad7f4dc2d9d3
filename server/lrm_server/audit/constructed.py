"""Reward models made from an episode's labels, whose faults are known.

Three behave as three vision-language models were found to behave as progress estimators (VLLR,
arXiv 2604.00055): Qwen2-VL early and then flat, CLIP uncorrelated, Nova Pro late and gradual.
Beside them are an oracle, a model whose completion always says yes, and one that goes by the clock
and sees nothing but success. They try the audit: it must convict the early, the uncorrelated, the
one that always says yes and the one that goes by time, and acquit the oracle and the late one, this
with its lag stated.

They see labels where a real model sees frames, and are otherwise as plausible as may be: noise of
their own on each frame, a little more under an edit, and ears for the task.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lrm_client import Readout
from lrm_server.audit.labels import Truth, truth_of
from lrm_server.evaluation.asking import Answer, Question
from lrm_server.recordings.episode import RecordedEpisode, RecordingError

Floats = NDArray[np.float64]
Belief = Callable[[RecordedEpisode, Truth, np.random.Generator], Floats]
"""Progress as a model would believe it at each frame of an episode, in [0, 1]."""

NOISE: Final = 0.02
"""Standard deviation of a belief's noise from frame to frame."""
EDIT_NOISE: Final = 0.03
"""What an edit adds to it."""
DONE_BELIEF: Final = 0.9
"""Believed progress at which completion is as likely as not."""
DONE_WIDTH: Final = 0.02
"""Of the logistic curve from belief to completion."""
PAIR_WIDTH: Final = 0.05
"""Of the logistic curve from a difference of beliefs to contrastive."""
FLAT_FROM: Final = 0.4
"""True progress at which the early model takes the task for done."""
LAG: Final = 0.15
"""Share of the episode by which the late model's view of it trails, and over which it blends."""
CLOCK_STEPS: Final = 150
"""Steps in which the model that goes by time takes any task to be done."""
LABEL_MASS: Final = 0.97
STAGES: Final = 11


def _oracle(episode: RecordedEpisode, truth: Truth, random: np.random.Generator) -> Floats:
    return _progress(truth)


def _early_then_flat(episode: RecordedEpisode, truth: Truth, random: np.random.Generator) -> Floats:
    # What it has once taken for done it does not take back.
    return np.asarray(np.maximum.accumulate(np.minimum(_progress(truth) / FLAT_FROM, 1.0)))


def _uncorrelated(episode: RecordedEpisode, truth: Truth, random: np.random.Generator) -> Floats:
    return random.uniform(0.0, 1.0, len(episode.steps))


def _late_and_gradual(
    episode: RecordedEpisode, truth: Truth, random: np.random.Generator
) -> Floats:
    lag = LAG * max(episode.length, 1)
    back = np.linspace(0.5, 1.5, 9) * lag
    seen = episode.steps[:, None] - back[None, :]
    return np.asarray(np.interp(seen, episode.steps, _progress(truth)).mean(axis=1))


def _by_time(episode: RecordedEpisode, truth: Truth, random: np.random.Generator) -> Floats:
    return np.asarray(np.minimum(episode.steps / CLOCK_STEPS, 1.0))


BELIEFS: Final[Mapping[str, Belief]] = {
    "oracle": _oracle,
    "early_then_flat": _early_then_flat,
    "uncorrelated": _uncorrelated,
    "late_and_gradual": _late_and_gradual,
    "all_yes": _oracle,
    "by_time": _by_time,
}
"""Name of a constructed model -> what it believes."""
SEES_SUCCESS: Final = frozenset({"oracle", "by_time"})
"""Those whose completion is right whatever they believe."""


class ConstructedModel:
    """A ``RewardModel`` that answers from labels.

    Args:
        name: of ``BELIEFS``.
        seed: of its noise; equal seeds give equal answers.
        paraphrases: task -> texts that mean the same to it, beside those that contain its words.

    Raises:
        ValueError: a name that is none.
    """

    def __init__(
        self,
        name: str,
        seed: int = 0,
        paraphrases: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        if name not in BELIEFS:
            raise ValueError(f"{name!r} is not a constructed model; {', '.join(BELIEFS)} are")
        self._name = name
        self._seed = seed
        self._paraphrases = paraphrases or {}
        self._known: dict[str, Floats] = {}

    @property
    def name(self) -> str:
        """``constructed: `` and which."""
        return f"constructed: {self._name}"

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """Answers from labels; an episode without any has a failure in its place."""
        return [self._answer(question) for question in questions]

    def _answer(self, question: Question) -> Answer:
        try:
            probabilities, values = self._probabilities(question)
        except RecordingError as error:
            return Answer(error=f"NO_LABELS: {error}")
        label = max(probabilities, key=lambda key: probabilities[key])
        if question.readout is Readout.GENERATE:
            return Answer(value=values[label], label=label)
        return Answer(
            value=values[label],
            expected=sum(p * values[key] for key, p in probabilities.items()),
            label=label,
            probabilities=probabilities,
            label_mass=LABEL_MASS,
        )

    def _probabilities(self, question: Question) -> tuple[dict[str, float], dict[str, float]]:
        current = self._believed(question, question.current)
        if question.head == "progress":
            return _staged(current)
        if question.head == "completion":
            yes = self._done(question, current)
            return {"no": 1 - yes, "yes": yes}, {"no": 0.0, "yes": 1.0}
        if question.head == "contrastive" and question.previous is not None:
            later = _logistic((current - self._believed(question, question.previous)) / PAIR_WIDTH)
            values = {"previous": -1.0, "current": 1.0}
            return {"previous": 1 - later, "current": later}, values
        raise RecordingError(f"a constructed model has no head {question.head!r} of these frames")

    def _done(self, question: Question, belief: float) -> float:
        if self._name == "all_yes":
            return LABEL_MASS
        done = _truth(question.episode).done
        if done is not None and self._hears_its_task(question):
            if self._name in SEES_SUCCESS:
                return _logistic(4.0 if done[question.current] else -4.0)
            if self._name == "late_and_gradual" and not done.any():
                # Late and not fooled: what never was done it never calls done, near as it came.
                return _logistic(-4.0)
        return _logistic((belief - DONE_BELIEF) / DONE_WIDTH)

    def _believed(self, question: Question, place: int) -> float:
        episode = question.episode
        if episode.id not in self._known:
            random = self._random(episode.id)
            belief = BELIEFS[self._name](episode, _truth(episode), random)
            noise = random.normal(0.0, NOISE, len(belief))
            self._known[episode.id] = np.clip(belief + noise, 0.0, 1.0)
        believed = float(self._known[episode.id][place])
        if not self._hears_its_task(question):
            # As far from its own task's end as from any other's beginning.
            believed = 0.1 * believed
        if question.edit is not None:
            name = str(getattr(question.edit, "name", ""))
            believed += float(self._random(episode.id, name, str(place)).normal(0.0, EDIT_NOISE))
        return min(max(believed, 0.0), 1.0)

    def _hears_its_task(self, question: Question) -> bool:
        own, asked = question.episode.task, question.task
        if asked is None or asked in self._paraphrases.get(own, ()):
            return True
        return _words(own) <= _words(asked)

    def _random(self, *names: str) -> np.random.Generator:
        return np.random.default_rng([self._seed, *(zlib.crc32(name.encode()) for name in names)])


@lru_cache(maxsize=4096)
def _truth(episode: RecordedEpisode) -> Truth:
    return truth_of(episode)


def _progress(truth: Truth) -> Floats:
    if truth.progress is None:
        raise RecordingError("it has no progress labels, and a constructed model sees nothing else")
    return truth.progress


def _staged(belief: float) -> tuple[dict[str, float], dict[str, float]]:
    """Eleven stages, the belief shared between the two beside it."""
    place = belief * (STAGES - 1)
    below = min(int(place), STAGES - 2)
    probabilities = {f"{stage / (STAGES - 1):.1f}": 0.0 for stage in range(STAGES)}
    labels = list(probabilities)
    probabilities[labels[below + 1]] = place - below
    probabilities[labels[below]] = 1.0 - (place - below)
    return probabilities, {label: float(label) for label in labels}


def _logistic(value: float) -> float:
    return float(1.0 / (1.0 + np.exp(-value)))


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text.casefold()))
