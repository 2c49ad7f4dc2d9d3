"""What an episode shows, as a digest: other frames are other questions."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from lrm_server.recordings.episode import Frame, RecordedEpisode, RecordingError


def digest_of(episode: RecordedEpisode) -> str:
    """Hexadecimal SHA-256 of an episode's frames and their steps.

    Each frame is read once and let go; one that cannot be read counts as such.
    """
    frames = hashlib.sha256()
    for index in range(len(episode.frames)):
        frames.update(_of_frame(episode.frames, index))
    steps = hashlib.sha256(np.ascontiguousarray(episode.steps).tobytes())
    steps.update(frames.hexdigest().encode())
    return steps.hexdigest()


def _of_frame(frames: Sequence[Frame], index: int) -> bytes:
    try:
        frame = frames[index]
    except RecordingError:
        return hashlib.sha256(b"unreadable").digest()
    if isinstance(frame, np.ndarray):
        content = hashlib.sha256(repr(frame.shape).encode())
        content.update(np.ascontiguousarray(frame).tobytes())
        return content.digest()
    return hashlib.sha256(frame).digest()
