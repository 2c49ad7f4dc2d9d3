"""What is true of an episode at each frame, from whatever labels were recorded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lrm_server.recordings.episode import RecordedEpisode

DONE_PROGRESS = 1.0
"""True progress at which a task counts as done where no success flag was recorded per frame."""


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The labels of an episode's F frames; None where neither recorded nor implied.

    Attributes:
        success: whether the attempt ends in success.
        done: bool (F,), whether the task is done at each frame.
        progress: float64 (F,), true progress in [0, 1].
        done_at: the first frame that is done, as a place in the episode; None where there is none.
        assumed: what was implied and not recorded, in words; empty where everything was recorded.
        progress_assumed: whether progress was not recorded and is time itself, so that a clock
            would follow it: it may convict a model, and acquits none.
    """

    success: bool | None
    done: NDArray[np.bool_] | None
    progress: NDArray[np.float64] | None
    done_at: int | None
    assumed: tuple[str, ...] = ()
    progress_assumed: bool = False


def truth_of(episode: RecordedEpisode) -> Truth:
    """The truth about an episode.

    A success without a flag per frame is done where its true progress is 1, else at its last
    frame. A success without true progress has progress linear in time up to its first success,
    LRM's own convention; a failure without true progress has none.
    """
    assumed: list[str] = []
    done = episode.done
    success = episode.success
    if done is None and success is not None:
        done, how = _implied_done(episode, success)
        assumed += [how] if how else []
    done_at = int(np.argmax(done)) if done is not None and done.any() else None
    progress = episode.progress
    implied = progress is None and success is True and done_at is not None
    if implied and done_at is not None:
        progress = _linear(episode.steps, done_at)
        assumed.append("the progress of successes is taken to be linear in time up to success")
    return Truth(success, done, progress, done_at, tuple(assumed), implied)


def _implied_done(episode: RecordedEpisode, success: bool) -> tuple[NDArray[np.bool_], str]:
    never = np.zeros(len(episode.frames), np.bool_)
    if not success:
        return never, ""
    if episode.progress is not None and episode.progress[-1] >= DONE_PROGRESS:
        return episode.progress >= DONE_PROGRESS, "a frame is taken as done where its progress is 1"
    never[-1] = True
    return never, "successes are taken to be done at their last frame only"


def _linear(steps: NDArray[np.int64], done_at: int) -> NDArray[np.float64]:
    extent = max(int(steps[done_at] - steps[0]), 1)
    progress: NDArray[np.float64] = np.clip((steps - steps[0]) / extent, 0.0, 1.0)
    progress[done_at:] = 1.0
    return progress
