"""Recorded episodes with a model's answers about them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from lrm_client import Readout
from lrm_server.evaluation.asking import UNREADABLE, Answer
from lrm_server.evaluation.identity import ModelIdentity
from lrm_server.evaluation.plan import Pair
from lrm_server.recordings.episode import RecordedEpisode


@dataclass(frozen=True, slots=True)
class EpisodeSet:
    """Recorded episodes under a name that no other set of the run has.

    Attributes:
        name: of the data set.
        episodes: those that can be read.
        problems: those that cannot, by id, and why.
    """

    name: str
    episodes: Sequence[RecordedEpisode]
    problems: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class JudgedEpisode:
    """One episode with one model's answers, read in one way.

    Attributes:
        data_set: name of the data set that it is of.
        episode: its frames and labels.
        digest: of its frames and steps.
        contrastive: answers by (previous, current).
        progress: answers by frame.
        completion: answers by frame.
    """

    data_set: str
    episode: RecordedEpisode
    digest: str = ""
    contrastive: Mapping[Pair, Answer] = field(default_factory=dict)
    progress: Mapping[int, Answer] = field(default_factory=dict)
    completion: Mapping[int, Answer] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        """Data set and episode, by which models are compared."""
        return self.data_set, self.episode.id

    def answers(self) -> Iterator[tuple[str, int | None, int, Answer]]:
        """All answers as (head, previous, current, answer)."""
        for (previous, current), answer in self.contrastive.items():
            yield "contrastive", previous, current, answer
        for head, answers in (("progress", self.progress), ("completion", self.completion)):
            for current, answer in answers.items():
                yield head, None, current, answer


@dataclass(frozen=True, slots=True, eq=False)
class JudgedModel:
    """One column of the tables: a model, how it was read, and its answers.

    Attributes:
        name: for tables.
        identity: what decides on its answers; None for one that looks at no frame.
        readout: as asked; None for the checkpoint's default.
        episodes: in the order of the data sets.
    """

    name: str
    identity: ModelIdentity | None
    readout: Readout | None
    episodes: tuple[JudgedEpisode, ...]

    @property
    def title(self) -> str:
        """Name and readout, which is named for a default too where all heads have the same."""
        if self.identity is None:
            return self.name
        if self.readout is not None:
            return f"{self.name}, {self.readout.value}"
        defaults = {head.readout for head in self.identity.heads.values()}
        (default, *others) = defaults or {None}
        return f"{self.name}, {'default readouts' if others or default is None else default.value}"

    def called(self, name: str) -> JudgedModel:
        """The same under another name."""
        return replace(self, name=name)

    def readouts(self) -> dict[str, str]:
        """How each head was read, defaults resolved; without those that name no readout."""
        heads = self.identity.heads if self.identity else {}
        named = {name: self.readout or head.readout for name, head in heads.items()}
        return {name: readout.value for name, readout in named.items() if readout}

    def of_group(self, group: str) -> JudgedModel:
        """The same on the episodes of one subset."""
        mine = tuple(judged for judged in self.episodes if judged.episode.group == group)
        return replace(self, episodes=mine)

    def only(self, keys: Collection[tuple[str, str]]) -> JudgedModel:
        """The same on some episodes, by their keys."""
        mine = tuple(judged for judged in self.episodes if judged.key in keys)
        return replace(self, episodes=mine)

    def failures(self) -> list[Failure]:
        """The questions without an answer."""
        return [
            Failure(
                self.title, judged.data_set, judged.episode.id, head, previous, current, a.error
            )
            for judged in self.episodes
            for head, previous, current, a in judged.answers()
            if a.error
        ]

    def count(self) -> int:
        """How many questions were asked."""
        return sum(1 for judged in self.episodes for _ in judged.answers())


@dataclass(frozen=True, slots=True)
class Failure:
    """A question that has no answer, and why; frames by their place in the episode."""

    model: str
    data_set: str
    episode: str
    head: str
    previous: int | None
    current: int
    error: str

    @property
    def unreadable(self) -> bool:
        """Whether it is the recording's fault and was never asked."""
        return self.error.startswith(f"{UNREADABLE}: ")
