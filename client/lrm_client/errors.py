"""What can go wrong, as exceptions.

::

    LrmError
    ├── InvalidRequest      the request is wrong: change it, a retry fails again
    ├── UnknownHead         no head of this name is served
    ├── FrameRequired       a step is due and came without a frame
    ├── StepBehind          the step was answered before, with other content
    ├── EpisodeNotFound     never opened, closed, or lost with its server
    ├── EpisodeEnded        the episode took its final step
    ├── EpisodeExists       the id is taken by another specification
    ├── ModelError          the model was asked and gave no usable answer
    ├── RunNotFound         the run that asks is not open
    ├── WarmUpOver          the run has asked all its queries: go on without rewards
    ├── Overloaded          refused before work was done; says how long to wait
    ├── DeadlineExceeded    no answer in time
    ├── Unavailable         the server cannot be reached, or its engine is down
    ├── Unauthenticated     the token is missing or wrong
    ├── ServerError         the server failed, or answered what it must not
    ├── RewardsFailed       a step of one or more environments has no reward
    └── TrajectoryFailed    frames of a trajectory have no value

A failure is never a reward: nothing here has a value to fall back on.
"""

# The errors are named as the field names the conditions.
# ruff: noqa: N818

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

if TYPE_CHECKING:
    from lrm_client.rewards import Rewards, RolloutRewards
    from lrm_client.trajectories import TrajectoryScores


MOST_NAMED: Final = 5
"""Failures of a trajectory that its message names; all of them are in ``failures``."""


class LrmError(Exception):
    """Base of every error that a server's answer, or its absence, leads to.

    Attributes:
        message: the cause and what to change.
        code: the stable name of the error on the wire, such as ``frame_required``.
    """

    default_code: ClassVar[str] = "internal"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code


class InvalidRequest(LrmError):
    """The request is wrong, and wrong again when it is retried.

    Attributes:
        code: invalid_argument, image_undecodable, image_too_large or label_set_too_large.
        field: the part of the request that is wrong; empty when none is named.
    """

    default_code = "invalid_argument"

    def __init__(self, message: str, *, code: str | None = None, field: str = "") -> None:
        super().__init__(message, code=code)
        self.field = field


class UnknownHead(LrmError):
    """No head of this name is served; the message names those that are."""

    default_code = "unknown_head"


class FrameRequired(LrmError):
    """A step that is due came without a frame, or an episode began without step 0.

    Attributes:
        step: the step that needs a frame; None when the server named none.
    """

    default_code = "frame_required"

    def __init__(self, message: str, *, code: str | None = None, step: int | None = None) -> None:
        super().__init__(message, code=code)
        self.step = step


class StepBehind(LrmError):
    """The step was answered before, and this is no retry of it.

    Attributes:
        step: the step that the server wants next; None when it named none.
    """

    default_code = "step_behind"

    def __init__(self, message: str, *, code: str | None = None, step: int | None = None) -> None:
        super().__init__(message, code=code)
        self.step = step


class EpisodeNotFound(LrmError):
    """The episode was never opened, was closed, or was lost with its server."""

    default_code = "episode_not_found"


class EpisodeEnded(LrmError):
    """The episode took its final step and takes no more."""

    default_code = "episode_ended"


class EpisodeExists(LrmError):
    """The id names an open episode with another specification."""

    default_code = "episode_exists"


class ModelError(LrmError):
    """The model was asked and gave no usable answer.

    Attributes:
        code: label_mass_low (it was not answering the question), answer_unparsable,
            answer_not_reached, component_failed (a part of a composite head failed), or
            task_not_decomposed (no subtasks could be made of the task).
    """

    default_code = "answer_unparsable"


class RunNotFound(LrmError):
    """The run was never opened, was closed, or was lost with its server."""

    default_code = "run_not_found"


class WarmUpOver(LrmError):
    """The run has asked all its queries; the learner goes on with its value function."""

    default_code = "warm_up_over"


class Overloaded(LrmError):
    """The server refused the call before doing work on it.

    Attributes:
        retry_after_seconds: how long to wait; None when the server did not say.
    """

    default_code = "overloaded"

    def __init__(
        self, message: str, *, code: str | None = None, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message, code=code)
        self.retry_after_seconds = retry_after_seconds


class DeadlineExceeded(LrmError):
    """No answer came within the call's deadline, retries included."""

    default_code = "deadline_exceeded"


class Unavailable(LrmError):
    """The server cannot be reached, or it cannot answer now. Retries were made."""

    default_code = "unavailable"


class Unauthenticated(LrmError):
    """The server wants a token, and the call brought none or a wrong one."""

    default_code = "unauthenticated"


class ServerError(LrmError):
    """The server failed, or answered what the protocol does not allow."""

    default_code = "internal"


class FailedReward(NamedTuple):
    """One head of one environment that has no reward at a step."""

    environment: int
    """Index in the vector; 0 for a single episode."""
    episode: str
    """Id of the episode."""
    step: int
    head: str
    error: LrmError


class RewardsFailed(LrmError):
    """A step was taken, and some environments have no reward for it.

    The failures are recorded on the clock: their next step is due again.

    Attributes:
        failures: every failed head of every failed environment.
        rewards: the arrays of the step, or of the gathered steps, with the other
            environments' rewards, and NaN and ``valid`` False at the failures; None for a
            single episode.
    """

    default_code = "rewards_failed"

    def __init__(
        self,
        failures: Sequence[FailedReward],
        rewards: Rewards | RolloutRewards | None = None,
    ) -> None:
        named = "; ".join(
            f"environment {f.environment} (episode {f.episode}, step {f.step}, {f.head}): "
            f"{f.error.code}: {f.error.message}"
            for f in failures
        )
        environments = len({failure.environment for failure in failures})
        plural = "" if environments == 1 else "s"
        super().__init__(f"no reward for {environments} environment{plural}: {named}")
        self.failures = tuple(failures)
        self.rewards = rewards

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors cross process borders in vectorised environments.
        return type(self), (self.failures, self.rewards)


class FailedPoint(NamedTuple):
    """One head that has no value at one frame of a trajectory."""

    frame: int
    """Its number in the trajectory."""
    head: str
    error: LrmError


class TrajectoryFailed(LrmError):
    """A trajectory was scored, and some of its frames have no value.

    Attributes:
        failures: every head that failed at a frame.
        scores: the other values, and NaN at the failures.
    """

    default_code = "trajectory_failed"

    def __init__(self, failures: Sequence[FailedPoint], scores: TrajectoryScores) -> None:
        named = "; ".join(
            f"frame {f.frame} ({f.head}): {f.error.code}: {f.error.message}"
            for f in failures[:MOST_NAMED]
        )
        more = len(failures) - MOST_NAMED
        super().__init__(
            f"no value for {len(failures)} of the trajectory's points: {named}"
            + (f"; and {more} more" if more > 0 else "")
        )
        self.failures = tuple(failures)
        self.scores = scores

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.failures, self.scores)
