"""The server's side of N environments' episodes: opened, stepped, opened again, closed."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

from lrm_client import calls
from lrm_client.episode_calls import EpisodeCalls
from lrm_client.errors import (
    EpisodeNotFound,
    FrameRequired,
    LrmError,
    ServerError,
    StepBehind,
)
from lrm_client.flows import Flow
from lrm_client.frames import EncodedFrame
from lrm_client.requests import new_id
from lrm_client.types import EpisodeSpec, EpisodeStep, StepReply

logger = logging.getLogger(__name__)

StepResult: TypeAlias = StepReply | LrmError


class Queried(NamedTuple):
    """A head's last successful query."""

    step: int
    frame: EncodedFrame


@dataclass(slots=True)
class _Remote:
    """One environment's episode, as the server was told of it."""

    spec: EpisodeSpec
    """Its id is empty before the first episode."""
    initial: EncodedFrame | None = None
    opened: bool = False
    """Whether the server was asked to open the episode, and not yet to close it."""
    ready: bool = False
    """Whether the server has the episode and its step 0, as far as can be told."""
    queried: dict[str, Queried] = field(default_factory=dict)
    """By head that had a successful query; heads share the frames of common steps."""


class RemoteEpisodes:
    """The episodes of N environments on the server, at most one of each environment.

    Args:
        spec: the specification of every episode; its task, id and offset are replaced.
        tasks: the task of each environment.
        sending: makes the calls.
    """

    def __init__(self, spec: EpisodeSpec, tasks: Sequence[str], sending: EpisodeCalls) -> None:
        self._heads = tuple(spec.heads)
        self._calls = sending
        self._remotes = [_Remote(replace(spec, task=task, id="")) for task in tasks]
        self._to_close: list[str] = []
        self.neutral: Mapping[str, float] = {}
        """The heads' neutral values; empty before the first episode was opened."""

    def __len__(self) -> int:
        return len(self._remotes)

    def id_of(self, environment: int) -> str:
        """The id of the environment's episode; empty before its reset."""
        return self._remotes[environment].spec.id

    def begin(
        self, environment: int, frame: EncodedFrame, offset: int, task: str | None = None
    ) -> None:
        """Puts a new episode, yet to be opened, in the place of the one before."""
        self.retire(environment)
        spec = self._remotes[environment].spec
        spec = replace(spec, id=new_id(), offset=offset, task=spec.task if task is None else task)
        self._remotes[environment] = _Remote(spec, frame)

    def open(self, environments: Sequence[int]) -> Flow[dict[int, LrmError]]:
        """Opens new episodes with their step 0; the errors of those that have not begun."""
        yield from self.flush()
        failed = yield from self._open(environments)
        begun = [environment for environment in environments if environment not in failed]
        results = yield from self._calls.step([self._first_step(at) for at in begun])
        for environment, result in zip(begun, results, strict=True):
            if isinstance(result, LrmError):
                failed[environment] = result
            else:
                self._remotes[environment].ready = True
        for error in failed.values():
            _let_go(error)
        return failed

    def ask(self, steps: Mapping[int, Sequence[EpisodeStep]]) -> Flow[dict[int, list[StepResult]]]:
        """Takes steps, and opens again the episodes that the server does not have.

        Args:
            steps: by environment, at least one each, in their order.

        Returns:
            By environment, the outcome of each of its steps.
        """
        ready = [environment for environment in steps if self._remotes[environment].ready]
        answers = yield from self._take({at: steps[at] for at in ready})
        for environment in ready:
            if any(map(_is_lost, answers[environment])):
                logger.warning("episode %s was lost and is opened again", self.id_of(environment))
                self._remotes[environment].ready = False
        lost = [environment for environment in steps if not self._remotes[environment].ready]
        answers.update((yield from self._reopen({at: steps[at] for at in lost})))
        for own in answers.values():
            for answer in own:
                if isinstance(answer, LrmError):
                    _let_go(answer)
        return answers

    def remember(self, environment: int, heads: Iterable[str], queried: Queried) -> None:
        """Keeps what later queries of the heads compare with."""
        self._remotes[environment].queried.update(dict.fromkeys(heads, queried))

    def retire(self, environment: int) -> None:
        """Leaves the environment's episode to be closed by the next ``flush``."""
        remote = self._remotes[environment]
        if remote.opened:
            self._to_close.append(remote.spec.id)
        remote.opened = remote.ready = False
        remote.queried.clear()
        remote.initial = None

    def flush(self) -> Flow[None]:
        """Closes what ended. A failure is no one's loss: it is tried again by the next."""
        if self._to_close:
            self._to_close = yield from self._calls.close(self._to_close)

    def _open(self, environments: Sequence[int]) -> Flow[dict[int, LrmError]]:
        """Opens the environments' episodes; the errors of those that are not open."""
        remotes = [self._remotes[environment] for environment in environments]
        for remote in remotes:
            remote.opened = True
        results = yield from self._calls.open([remote.spec for remote in remotes])
        failed: dict[int, LrmError] = {}
        for environment, result in zip(environments, results, strict=True):
            if isinstance(result, LrmError):
                failed[environment] = result
                continue
            missing = [head for head in self._heads if head not in result.neutral]
            if missing:
                failed[environment] = ServerError(f"no neutral value for {missing[0]}")
                continue
            self.neutral = {head: result.neutral[head] for head in self._heads}
        return failed

    def _take(
        self, steps: Mapping[int, Sequence[EpisodeStep]]
    ) -> Flow[dict[int, list[StepResult]]]:
        """The outcomes of steps by environment."""
        owners = [environment for environment, own in steps.items() for _ in own]
        results = yield from self._calls.step([step for own in steps.values() for step in own])
        answers: dict[int, list[StepResult]] = {environment: [] for environment in steps}
        for environment, result in zip(owners, results, strict=True):
            answers[environment].append(result)
        return answers

    def _reopen(
        self, lost: Mapping[int, Sequence[EpisodeStep]]
    ) -> Flow[dict[int, list[StepResult]]]:
        """Brings the server to where the episodes stand, then takes their steps.

        The frames of the last successful queries are queried again, so that they are what
        the steps compare with; the values that they had stay the client's. All steps are
        forced, as the server no longer knows what was due.
        """
        failed = yield from self._open(list(lost))
        reached = [environment for environment in lost if environment not in failed]
        comparing = yield from self._comparing(reached)
        before = {at: [self._first_step(at), *self._queried_steps(at, comparing)] for at in reached}
        forced = {at: [replace(step, force=True) for step in lost[at]] for at in reached}
        results = yield from self._take({at: [*before[at], *forced[at]] for at in reached})
        outcomes: dict[int, list[StepResult]] = {}
        for environment, error in failed.items():
            outcomes[environment] = [error] * len(lost[environment])
        for environment, own in results.items():
            # A step behind was taken before: the reply to it was lost, not the episode.
            begun = not isinstance(own[0], LrmError) or isinstance(own[0], StepBehind)
            self._remotes[environment].ready = begun
            outcomes[environment] = own[len(before[environment]) :]
        return outcomes

    def _comparing(self, environments: Iterable[int]) -> Flow[Collection[str]]:
        """The heads whose last frames matter to a server that has forgotten them.

        A query on the wire asks all heads, and all compare with it afterwards. While their
        last frames are the same, that is what was; else the server is asked which heads
        look at a previous frame at all, so that the frames of the others are left out.
        """
        remotes = [self._remotes[environment] for environment in environments]
        if all(len({r.queried.get(head) for head in self._heads}) == 1 for r in remotes):
            return self._heads
        try:
            served = yield calls.models()
        except LrmError as error:
            logger.warning("which heads compare frames is not known: %s", error)
            return self._heads
        known = {name: head for model in served.models for name, head in model.heads.items()}
        return [
            head
            for head in self._heads
            if head not in known
            or "previous" in (*known[head].required_frames, *known[head].optional_frames)
        ]

    def _queried_steps(self, environment: int, heads: Iterable[str]) -> list[EpisodeStep]:
        """Queries each last frame of some heads again, oldest first.

        Where heads that compare differ in their last frames, the newest is what all of
        them compare with afterwards, as no query on the wire asks one head alone.
        """
        remote = self._remotes[environment]
        last = {remote.queried[head] for head in heads if head in remote.queried}
        return [
            EpisodeStep(remote.spec.id, step, frame, force=True)
            for step, frame in sorted(last, key=lambda queried: queried.step)
        ]

    def _first_step(self, environment: int) -> EpisodeStep:
        remote = self._remotes[environment]
        return EpisodeStep(remote.spec.id, 0, remote.initial)


def _is_lost(answer: StepResult) -> bool:
    """Whether the server has no such episode, or has it without its step 0."""
    without_start = isinstance(answer, FrameRequired) and answer.step == 0
    return without_start or isinstance(answer, EpisodeNotFound)


def _let_go(error: LrmError) -> None:
    """Drops the error's way through the call: it holds the request and so every pixel.

    The error is kept with the rewards of its step, for as long as the caller keeps those.
    """
    each: BaseException | None = error
    while each is not None and each.__traceback__ is not None:
        each.__traceback__ = None
        each = each.__cause__ or each.__context__
