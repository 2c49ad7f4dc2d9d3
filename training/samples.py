"""From labelled episodes to training samples: which frames, which question, which answer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from lrm_server.heads.profile import Role
from training.analysis import compare
from training.architecture import MAX_PIXELS, MERGE, PATCH
from training.augment import augment
from training.prompts import answer, prompt, written_labels
from training.tasks import TASKS, WRAPPINGS, wrap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from transformers import Qwen2Tokenizer

    from training.dataset import Episode
    from training.tasks import Task

# Two frames are a pair when their progress differs by at least this; a near pair differs by at most
# NEAR_PAIR.
LEAST_DIFFERENCE: Final = 0.07
NEAR_PAIR: Final = 0.22
# From this progress on an unfinished frame is shortly before success.
SHORTLY_BEFORE: Final = 0.75
# Shares of: the task's canonical sentence, a sentence with its full stop, progress asked without
# the initial frame, progress asked with a goal frame, comparisons that reason first, episodes asked
# about another task.
CANONICAL_SHARE: Final = 0.5
FULL_STOP_SHARE: Final = 0.6
NO_INITIAL_SHARE: Final = 0.12
GOAL_SHARE: Final = 0.04
REASONED_SHARE: Final = 0.3
OTHER_TASK_SHARE: Final = 0.18
# Share of the sentences that are wrapped in a phrase.
WRAPPED_SHARE: Final = 0.12
# Standard deviation, in progress, of the soft target around the true progress.
SOFTNESS: Final = 0.05
# Weight of a token of an analysis or of an answer's frame, beside a label's weight of 1.
PLAIN_WEIGHT: Final = 0.1
# How often an episode of a task comes, once where it is not named: what is hard to see more often.
EMPHASIS: Final[dict[str, float]] = {
    "StackCube-v1": 1.8,
    "PickCube-v1": 1.4,
    "PegInsertionSide-v1": 1.4,
    "PlugCharger-v1": 1.2,
    "LiftPegUpright-v1": 0.7,
    "PushCube-v1": 0.8,
}
# Tokens of a frame, and of its side.
IMAGE_TOKENS: Final = MAX_PIXELS // (PATCH * MERGE) ** 2
IMAGE_SIDE: Final = round(IMAGE_TOKENS**0.5)


@dataclass(frozen=True)
class Sample:
    """One question with its answer.

    Attributes:
        head: which head is asked.
        tokens: the conversation, images spread over their tokens.
        images: the frames that its images are, as numbers within the batch.
        label_at: where the label stands in `tokens`.
        target: float32 (labels of the head,), the wanted distribution over the labels.
        plain: (position, weight) of the other tokens that are learnt.
        ordered: whether labels near the target are better than those far from it.
    """

    head: str
    tokens: list[int]
    images: list[int]
    label_at: int
    target: NDArray[np.float32]
    plain: list[tuple[int, float]]
    ordered: bool = True


@dataclass
class Batch:
    """Frames, and the samples that look at them.

    Attributes:
        frames: uint8 (K, H, W, 3) each; concatenated they are numbered as the samples number them.
        rows: float32 (K, F) each, the frames' state features.
        progress: float64 (K,) each.
        samples: the samples.
    """

    frames: list[NDArray[np.uint8]] = field(default_factory=list)
    rows: list[NDArray[np.float32]] = field(default_factory=list)
    progress: list[NDArray[np.float64]] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)

    def add(self, episode: Episode, chosen: list[int], frames: NDArray[np.uint8]) -> int:
        """Adds frames of an episode and returns the number of the first."""
        first = sum(len(part) for part in self.frames)
        self.frames.append(frames)
        self.rows.append(episode.state[chosen])
        self.progress.append(episode.progress[chosen])
        self.tasks.extend([episode.task.env_id] * len(chosen))
        return first


def progress_target(progress: float, done: bool) -> NDArray[np.float32]:
    """The wanted distribution over the eleven stages.

    1.0 is for what is done, and only for that.
    """
    values = np.array([float(label) for label in written_labels("progress")])
    if done:
        return (values == 1.0).astype(np.float32)
    weight = np.exp(-0.5 * ((values - progress) / SOFTNESS) ** 2) + 1e-9
    weight[values == 1.0] = 0.0
    return (weight / weight.sum()).astype(np.float32)


class Sampler:
    """Draws batches from episodes."""

    def __init__(
        self, episodes: Sequence[Episode], tokenizer: Qwen2Tokenizer, rng: np.random.Generator
    ) -> None:
        self.episodes = episodes
        self.tokenizer = tokenizer
        self.rng = rng
        self.image_token = tokenizer.convert_tokens_to_ids("<|image_pad|>")
        self._cache: dict[str, list[int]] = {}
        self._order: list[int] = []

    def batch(self, episodes: int) -> Batch:
        """Samples of so many episodes; in a round each comes as often as its task says."""
        batch = Batch()
        for _ in range(episodes):
            if not self._order:
                self._order = self._round()
            self._add(batch, self.episodes[self._order.pop()])
        return batch

    def _round(self) -> list[int]:
        """Numbers of episodes in random order, each as often as EMPHASIS says on average."""
        often = np.array([EMPHASIS.get(episode.task.env_id, 1.0) for episode in self.episodes])
        times = (often + self.rng.random(len(often))).astype(int)
        return self.rng.permutation(np.repeat(np.arange(len(often)), times)).tolist()

    def _add(self, batch: Batch, episode: Episode) -> None:
        """Adds one episode: about six of its frames, and about seven samples."""
        pair = self._near_pair(episode)
        ending = self._ending(episode)
        anywhere = int(self.rng.integers(len(episode.steps)))
        chosen = sorted({0, anywhere, *(pair or ()), *ending})
        first = batch.add(episode, chosen, augment(episode.frames[chosen], self.rng))
        place = {frame: first + number for number, frame in enumerate(chosen)}

        for frame in {
            anywhere,
            ending[0],
            *(self.rng.permutation(pair)[:1].tolist() if pair else ()),
        }:
            batch.samples.append(self._progress(episode, frame, place, chosen))
        for frame in ending:
            batch.samples.append(self._completion(episode, frame, place))
        pairs = [pair] if pair else []
        far = [(a, b) for a in chosen for b in chosen if self._differ(episode, a, b)]
        if far:
            pairs.append(far[int(self.rng.integers(len(far)))])
        for one, other in pairs:
            # Both orders equally often, whichever way the pair was found.
            ordered = (one, other) if self.rng.random() < 0.5 else (other, one)
            batch.samples.append(self._contrastive(episode, *ordered, place))
        if self.rng.random() < OTHER_TASK_SHARE:
            batch.samples.extend(self._other_task(episode, anywhere, ending[0], place))

    def _differ(self, episode: Episode, one: int, other: int) -> bool:
        return abs(float(episode.progress[one] - episode.progress[other])) >= LEAST_DIFFERENCE

    def _near_pair(self, episode: Episode) -> tuple[int, int] | None:
        """Two frames about a tenth of the task apart."""
        gap = np.abs(episode.progress[:, None] - episode.progress[None, :])
        found = np.argwhere((gap >= LEAST_DIFFERENCE) & (gap <= NEAR_PAIR))
        if not len(found):
            return None
        one, other = found[int(self.rng.integers(len(found)))]
        return int(one), int(other)

    def _ending(self, episode: Episode) -> tuple[int, ...]:
        """Frames for the question whether it is done.

        A finished one if there is one, and one that is not.
        """
        done = np.flatnonzero(episode.done)
        undone = np.flatnonzero(~episode.done)
        close = undone[episode.progress[undone] >= SHORTLY_BEFORE]
        last = len(episode.steps) - 1
        negative = int(self.rng.choice(close if len(close) and self.rng.random() < 0.7 else undone))
        if len(done):
            return int(self.rng.choice(done)), negative
        return (last, negative) if last != negative else (last,)

    def _words(self, task: Task) -> str:
        text = (
            task.text
            if self.rng.random() < CANONICAL_SHARE
            else str(self.rng.choice(task.paraphrases))
        )
        if self.rng.random() < WRAPPED_SHARE:
            text = wrap(text, str(self.rng.choice(WRAPPINGS)))
        return f"{text}." if self.rng.random() < FULL_STOP_SHARE else text

    def _progress(
        self, episode: Episode, frame: int, place: dict[int, int], chosen: list[int]
    ) -> Sample:
        target = progress_target(float(episode.progress[frame]), bool(episode.done[frame]))
        frames = {Role.CURRENT: place[frame]}
        if self.rng.random() >= NO_INITIAL_SHARE:
            frames[Role.INITIAL] = place[0]
        done = [other for other in chosen if episode.done[other]]
        if done and self.rng.random() < GOAL_SHARE:
            frames[Role.GOAL] = place[done[0]]
        return self._sample("progress", self._words(episode.task), frames, target)

    def _completion(self, episode: Episode, frame: int, place: dict[int, int]) -> Sample:
        target = _chosen("completion", "yes" if episode.done[frame] else "no")
        return self._sample(
            "completion", self._words(episode.task), {Role.CURRENT: place[frame]}, target
        )

    def _contrastive(
        self, episode: Episode, previous: int, current: int, place: dict[int, int]
    ) -> Sample:
        better = "B" if episode.progress[current] > episode.progress[previous] else "A"
        analysis = None
        if self.rng.random() < REASONED_SHARE:
            analysis = compare(
                episode.task, episode.facts[previous], episode.facts[current], better
            )
        frames = {Role.PREVIOUS: place[previous], Role.CURRENT: place[current]}
        target = _chosen("contrastive", f"Image{better}")
        return self._sample("contrastive", self._words(episode.task), frames, target, analysis)

    def _other_task(
        self, episode: Episode, frame: int, last: int, place: dict[int, int]
    ) -> list[Sample]:
        """Questions about a task that these frames do not show: no progress, not done."""
        others = [task for task in TASKS if task.family != episode.task.family]
        words = self._words(others[int(self.rng.integers(len(others)))])
        # A frame that is finished, if there is one, tempts the most.
        current, initial = place[last if self.rng.random() < 0.5 else frame], place[0]
        frames, nothing = (
            {Role.CURRENT: current, Role.INITIAL: initial},
            progress_target(0.0, False),
        )
        undone = _chosen("completion", "no")
        return [
            replace(self._sample("progress", words, frames, nothing), ordered=False),
            self._sample("completion", words, {Role.CURRENT: place[last]}, undone),
        ]

    def _encode(self, text: str) -> list[int]:
        if text not in self._cache:
            self._cache[text] = self.tokenizer(text).input_ids
        return self._cache[text]

    def _sample(
        self,
        head: str,
        words: str,
        frames: dict[Role, int],
        target: NDArray[np.float32],
        analysis: str | None = None,
    ) -> Sample:
        """Puts a sample together; its label is the target's most probable one."""
        asked = prompt(head, words, frozenset(frames))
        tokens: list[int] = []
        for token in self._encode(asked.text):
            tokens.extend([token] * (IMAGE_TOKENS if token == self.image_token else 1))
        start = len(tokens)
        label = written_labels(head)[int(target.argmax())]
        # Prefix, label and terminator are one token each and stand in this order, whatever comes
        # before.
        reply = self._encode(f"{analysis or ''}{answer(head, label)}<|im_end|>")
        tokens.extend(reply)
        label_at = start + len(reply) - 3
        plain = [(at, PLAIN_WEIGHT) for at in range(start, len(tokens)) if at != label_at]
        if head == "contrastive" and analysis is None:
            # Asked to analyse first, the model shall: only a forced prefix makes it answer at once.
            plain = [(at, weight) for at, weight in plain if at > label_at]
        return Sample(head, tokens, [frames[role] for role in asked.roles], label_at, target, plain)


def _chosen(head: str, label: str) -> NDArray[np.float32]:
    return np.array([written == label for written in written_labels(head)], dtype=np.float32)
