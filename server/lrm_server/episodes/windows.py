"""Which frames of an episode a video head is shown: those of its query points.

A head's window is the initial frame, the frames of its successful queries and the current
one. It grows with the episode, so what is kept is bounded: when twice as many frames are kept
as the head can be shown, every second one goes, and those that stay are still spread evenly.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

from lrm_server.frames import Frame
from lrm_server.heads.catalogue import ServedHead
from lrm_server.heads.query import WindowFrame

Windows: TypeAlias = Mapping[str, tuple[int, ...]]
"""Video head -> the steps of the frames that are kept for its window, increasing."""

NO_WINDOWS: Final[Windows] = MappingProxyType({})
_MOST: Final = 2
"""So many times what a head can be shown is kept."""


def windows_after(
    windows: Windows, heads: Iterable[ServedHead], step: int, answered: Collection[str]
) -> Windows:
    """The windows when a step with a frame has been taken.

    Args:
        windows: before the step.
        heads: all heads of the episode.
        step: which was taken; step 0 begins every window.
        answered: heads whose query at this step succeeded.
    """
    after = dict(windows)
    for head in heads:
        if head.window is not None and (step == 0 or head.name in answered):
            steps = (*windows.get(head.name, ()), step)
            after[head.name] = _bounded(steps, _MOST * head.window.max_frames)
    return after


def window_for(
    windows: Windows, head: ServedHead, frames: Mapping[int, Frame], step: int, current: Frame
) -> tuple[WindowFrame, ...]:
    """What a head is shown at a step; () for a head of single frames.

    Args:
        windows: before the step.
        head: who asks.
        frames: by step, those that the episode keeps.
        step: at which it asks.
        current: the step's frame.
    """
    if head.window is None:
        return ()
    kept = [WindowFrame(frames[at], index=at) for at in windows[head.name]]
    return (*kept, WindowFrame(current, index=step))


def _bounded(steps: tuple[int, ...], most: int) -> tuple[int, ...]:
    if len(steps) <= max(most, _MOST):
        return steps
    # The first and the last stay: the next window begins with one and goes on from the other.
    gone = min(range(1, len(steps) - 1), key=lambda at: steps[at + 1] - steps[at - 1])
    return steps[:gone] + steps[gone + 1 :]
