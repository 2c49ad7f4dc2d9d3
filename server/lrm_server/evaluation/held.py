"""Episodes whose frames were read once, with the digest of what was read."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import overload

import numpy as np

from lrm_server.recordings.episode import Frame, RecordedEpisode, RecordingError


class HeldFrames(Sequence[Frame]):
    """Frames in memory; one that could not be read raises its RecordingError when indexed."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        self._frames = [_read(frames, index) for index in range(len(frames))]

    def __len__(self) -> int:
        return len(self._frames)

    @overload
    def __getitem__(self, index: int) -> Frame: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Frame]: ...

    def __getitem__(self, index: int | slice) -> Frame | Sequence[Frame]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        frame = self._frames[index]
        if isinstance(frame, RecordingError):
            raise frame
        return frame

    def digest(self) -> str:
        """Hexadecimal SHA-256 of the frames; one that cannot be read counts as such."""
        total = hashlib.sha256()
        for frame in self._frames:
            total.update(_digest(frame))
        return total.hexdigest()


def held(episode: RecordedEpisode) -> tuple[RecordedEpisode, str]:
    """The episode with its frames in memory, and the digest of its frames and their steps."""
    frames = HeldFrames(episode.frames)
    steps = hashlib.sha256(np.ascontiguousarray(episode.steps).tobytes())
    steps.update(frames.digest().encode())
    return replace(episode, frames=frames), steps.hexdigest()


def _read(frames: Sequence[Frame], index: int) -> Frame | RecordingError:
    try:
        return frames[index]
    except RecordingError as error:
        return error


def _digest(frame: Frame | RecordingError) -> bytes:
    if isinstance(frame, RecordingError):
        return hashlib.sha256(b"unreadable").digest()
    if isinstance(frame, np.ndarray):
        content = hashlib.sha256(repr(frame.shape).encode())
        content.update(np.ascontiguousarray(frame).tobytes())
        return content.digest()
    return hashlib.sha256(frame).digest()
