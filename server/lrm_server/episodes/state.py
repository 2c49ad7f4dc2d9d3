"""An episode as plain data, and the pure functions by which it takes a step.

Nothing here waits, asks a head or knows where episodes live. An ``Episode`` never
changes: a step makes a new one, and a caller that drops it has taken no step.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from lrm_client.clock import (
    ClockState,
    EpisodeOver,
    HeadReward,
    ResetMissing,
    StepBehind,
    advance,
    due_heads,
    next_query_step,
    open_clock,
    previous_step,
)
from lrm_server.episodes.asking import Outcome, in_step
from lrm_server.episodes.opening import MAX_ID_LENGTH, MAX_STEP, neutral_values
from lrm_server.episodes.queries import looks_at
from lrm_server.episodes.types import EpisodeSpec, EpisodeStep, HeadAnswer, StepAnswer
from lrm_server.episodes.windows import NO_WINDOWS, Windows, window_for, windows_after
from lrm_server.errors import DomainError, ErrorCode, invalid
from lrm_server.frames import Frame
from lrm_server.heads.catalogue import HeadCatalogue, ServedHead
from lrm_server.heads.profile import Role
from lrm_server.heads.query import Reply, Timings

REMEMBERED_STEPS: Final = 32
"""Answered steps that an episode remembers, so that a retry of one gets the same answer."""

_NO_FRAMES: Final[Mapping[int, Frame]] = MappingProxyType({})
_NOTHING_ASKED: Final[Mapping[str, Outcome]] = MappingProxyType({})
_NO_TIME: Final = Timings()


class Answered(NamedTuple):
    """A step that was answered, and what a retry of it is known by."""

    request_id: str
    final: bool
    force: bool
    frame_digest: bytes | None
    """Of the frame that was looked at; None where none was needed, whatever came."""
    answer: StepAnswer


class Episode(NamedTuple):
    """Where an episode stands.

    Attributes:
        spec: what was fixed when it opened; the id is not empty.
        clock: its place on the clock.
        frames: by step, those that a later query looks at: the initial frame where a
            head looks at it, of each head that compares, the frame of its last
            successful query, and the windows of video heads. Encoded bytes; none after
            the final step.
        answered: the last steps that were answered, oldest first.
        windows: which of the frames are the windows of video heads.
    """

    spec: EpisodeSpec
    clock: ClockState
    frames: Mapping[int, Frame] = _NO_FRAMES
    answered: tuple[Answered, ...] = ()
    windows: Windows = NO_WINDOWS

    @property
    def frame_bytes(self) -> int:
        """Bytes of the frames that are kept."""
        return sum(frame.nbytes for frame in self.frames.values())


def open_episode(spec: EpisodeSpec, catalogue: HeadCatalogue) -> Episode:
    """An episode that has taken no step."""
    return Episode(spec, open_clock(neutral_values(spec, catalogue)))


def check_request_id(step: EpisodeStep) -> None:
    """Refuses a request id that is too long to be remembered with the answers.

    Raises:
        DomainError: INVALID_ARGUMENT.
    """
    if len(step.request_id) > MAX_ID_LENGTH:
        raise invalid(
            "request_id",
            f"the request_id has {len(step.request_id)} characters; it may have at most "
            f"{MAX_ID_LENGTH}.",
        )


def recall(episode: Episode, step: EpisodeStep) -> StepAnswer | None:
    """The answer that a step was given before; None when it is no retry of a known step."""
    if step.step > episode.clock.step:
        return None
    for known in reversed(episode.answered):
        if known.answer.step == step.step:
            same_request = step.request_id != "" and step.request_id == known.request_id
            return known.answer if same_request or _same_content(known, step) else None
    return None


def due(episode: Episode, step: EpisodeStep) -> tuple[str, ...]:
    """The heads that are to be queried at a step, in order.

    Raises:
        DomainError: STEP_BEHIND or FRAME_REQUIRED with the step that is expected,
            EPISODE_ENDED, or INVALID_ARGUMENT of a number that is no step.
    """
    if not 0 <= step.step <= MAX_STEP:
        raise invalid("step", f"step {step.step} is not between 0 and {MAX_STEP}.")
    try:
        return due_heads(
            episode.spec.clock, episode.clock, step.step, final=step.final, force=step.force
        )
    except StepBehind as error:
        raise DomainError(
            ErrorCode.STEP_BEHIND,
            f"{error}. Send a step from {error.expected} on, or repeat a step as it was sent.",
            field="step",
            step=error.expected,
        ) from error
    except ResetMissing as error:
        raise DomainError(
            ErrorCode.FRAME_REQUIRED,
            f"{error}: send step 0 first.",
            field="step",
            step=error.expected,
        ) from error
    except EpisodeOver as error:
        raise DomainError(
            ErrorCode.EPISODE_ENDED,
            f"{error}: open another episode for what follows.",
            field="step",
        ) from error


def needed_frame(step: EpisodeStep) -> Frame:
    """The frame of a step that needs one.

    Raises:
        DomainError: FRAME_REQUIRED, or why the frame's bytes were refused.
    """
    if step.frame is None:
        why = "brings the initial frame" if step.step == 0 else "is due for a query"
        raise DomainError(
            ErrorCode.FRAME_REQUIRED,
            f"step {step.step} {why} and came without one: send it again with its frame.",
            field="frame",
            step=step.step,
        )
    if isinstance(step.frame, DomainError):
        raise in_step(step.frame, "frame")
    return step.frame


def frames_for(episode: Episode, head: ServedHead, current: Frame) -> dict[Role, Frame]:
    """What a head's query looks at: of its roles, those that the episode has."""
    at_hand: dict[Role, Frame] = {}
    if looks_at(head, Role.CURRENT) or head.window is None:
        at_hand[Role.CURRENT] = current
    if looks_at(head, Role.INITIAL):
        at_hand[Role.INITIAL] = episode.frames[0]
    if looks_at(head, Role.PREVIOUS):
        at_hand[Role.PREVIOUS] = episode.frames[previous_step(episode.clock, head.name)]
    return {role: at_hand[role] for role in Role if role in at_hand}


def frames_looked_at(
    episode: Episode, head: ServedHead, step: EpisodeStep, current: Frame
) -> set[Frame]:
    """All frames of a head's query at a step."""
    window = window_for(episode.windows, head, episode.frames, step.step, current)
    return {*frames_for(episode, head, current).values(), *(each.frame for each in window)}


def with_frames(
    episode: Episode,
    heads: Iterable[ServedHead],
    step: EpisodeStep,
    current: Frame,
    answered: Collection[str],
) -> Episode:
    """An episode with the frames that it keeps after a step with a frame.

    Args:
        episode: its clock after the step, its frames still those before.
        heads: all heads of the episode.
        step: which was taken.
        current: its frame.
        answered: heads whose query at this step succeeded.
    """
    heads = tuple(heads)
    windows = windows_after(episode.windows, heads, step.step, answered)
    if episode.clock.ended:
        return episode._replace(frames=_NO_FRAMES, windows=NO_WINDOWS)
    wanted: set[int] = set().union(*windows.values())
    for head in heads:
        if looks_at(head, Role.INITIAL):
            wanted.add(0)
        if looks_at(head, Role.PREVIOUS):
            wanted.add(previous_step(episode.clock, head.name))
    at_hand = {**episode.frames, step.step: current}
    return episode._replace(frames={at: at_hand[at] for at in sorted(wanted)}, windows=windows)


def frame_bytes_if_answered(
    episode: Episode,
    step: EpisodeStep,
    due_heads: Iterable[str],
    heads: Iterable[ServedHead],
    current: Frame,
) -> int:
    """Bytes of the frames that an episode keeps if every query of a step succeeds."""
    values = dict.fromkeys(due_heads, 0.0)
    clock, _ = advance(episode.spec.clock, episode.clock, step.step, values, final=step.final)
    return with_frames(episode._replace(clock=clock), heads, step, current, values).frame_bytes


def settle(
    episode: Episode,
    step: EpisodeStep,
    outcomes: Mapping[str, Outcome] = _NOTHING_ASKED,
    timings: Timings = _NO_TIME,
) -> tuple[Episode, StepAnswer]:
    """Takes a step: the clock and the memory of answers; the frames stay as they are.

    Args:
        episode: where it stands.
        step: which is not behind the clock.
        outcomes: of each due head, its reply or why it failed.
        timings: where the time went.
    """
    spec = episode.spec
    values = {
        head: outcome.value if isinstance(outcome, Reply) else None
        for head, outcome in outcomes.items()
    }
    clock, rewards = advance(spec.clock, episode.clock, step.step, values, final=step.final)
    answer = StepAnswer(
        episode=spec.id,
        step=step.step,
        rewards=tuple([_head_answer(reward, outcomes.get(reward.head)) for reward in rewards]),
        next_query_step=next_query_step(spec.clock, clock),
        timings=timings,
    )
    looked = step.step == 0 or bool(outcomes)
    digest = step.frame.digest if looked and isinstance(step.frame, Frame) else None
    entry = Answered(step.request_id, step.final, step.force, digest, answer)
    answered = (*episode.answered[1 - REMEMBERED_STEPS :], entry)
    return episode._replace(clock=clock, answered=answered), answer


def _head_answer(reward: HeadReward, outcome: Outcome | None) -> HeadAnswer:
    name, paid, value, source, age = reward
    return HeadAnswer(
        head=name,
        reward=paid,
        value=value,
        source=source,
        age=age,
        reply=outcome if isinstance(outcome, Reply) else None,
        error=outcome if isinstance(outcome, DomainError) else None,
    )


def _same_content(known: Answered, step: EpisodeStep) -> bool:
    if (known.final, known.force) != (step.final, step.force):
        return False
    if known.frame_digest is None:
        return True
    return isinstance(step.frame, Frame) and step.frame.digest == known.frame_digest
