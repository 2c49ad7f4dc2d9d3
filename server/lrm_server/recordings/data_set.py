"""Data sets of recorded episodes, whatever layout they are in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from lrm_server.recordings.contents import Contents, Problem
from lrm_server.recordings.episode import RecordedEpisode, RecordingError
from lrm_server.recordings.folders import EPISODE_FILE, read_folders
from lrm_server.recordings.frames import ChosenFrames
from lrm_server.recordings.lerobot.info import INFO_FILE
from lrm_server.recordings.lerobot.reading import read_lerobot

__all__ = ["DataSet", "Problem", "open_data_set"]


class DataSet(Sequence[RecordedEpisode]):
    """Recorded episodes in the order of their data set; labels in memory, frames on disk.

    Attributes:
        name: of the data set's folder.
        root: the folder.
        layout: ``folders``, or ``lerobot`` and its version.
        cameras: all cameras; empty where the layout does not name them.
        camera: the one that the frames are of; None where ``cameras`` is empty.
        problems: episodes that cannot be read at all, and why; the data set is without them.
        whole: the data set with all its frames, where this one was thinned; else itself.
    """

    def __init__(self, root: Path, contents: Contents, whole: DataSet | None = None) -> None:
        self.name = root.resolve().name
        self.root = root
        self.layout = contents.layout
        self.cameras = contents.cameras
        self.camera = contents.camera
        self.problems = contents.problems
        self.whole = whole or self
        self._contents = contents

    def __len__(self) -> int:
        return len(self._contents.episodes)

    @overload
    def __getitem__(self, index: int) -> RecordedEpisode: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[RecordedEpisode, ...]: ...
    def __getitem__(self, index: int | slice) -> RecordedEpisode | tuple[RecordedEpisode, ...]:
        return self._contents.episodes[index]

    def thinned(self, every: int | None = None, *, fps: float | None = None) -> DataSet:
        """The same episodes with fewer frames; an episode's first and last are always kept.

        Args:
            every: keep every Nth of the frames.
            fps: keep at most so many frames a second, the first at or after each multiple of
                1 / fps; needs episodes that say their own ``fps``.

        Raises:
            RecordingError: neither or both are given, one is not positive, or an episode has no
                ``fps``.
        """
        if (every is None) == (fps is None):
            raise RecordingError("thinning takes every or fps: give one of them")
        if every is not None:
            if every < 1:
                raise RecordingError(f"every must be at least 1, not {every}")
            stride = every
            return self._with(lambda episode: _every(episode, stride))
        assert fps is not None  # noqa: S101
        if not 0 < fps < float("inf"):
            raise RecordingError(f"fps must be positive, not {fps}")
        rate = fps
        return self._with(lambda episode: _at_rate(episode, rate))

    def _with(self, change: Callable[[RecordedEpisode], RecordedEpisode]) -> DataSet:
        episodes = tuple(change(episode) for episode in self)
        return DataSet(self.root, replace(self._contents, episodes=episodes), self.whole)


def open_data_set(path: Path, *, camera: str | None = None) -> DataSet:
    """Opens a folder of episode folders or a data set in LeRobot's layout.

    Args:
        path: the data set's folder.
        camera: whose frames to give, as ``observation.images.front`` or ``front``; only needed
            where there are several.

    Raises:
        RecordingError: nothing there, another layout, a choice of camera that is missing or wrong,
            or not one episode that can be read.
    """
    if not path.is_dir():
        raise RecordingError(f"{path} is no folder on this machine: name a data set's folder")
    contents = _contents(path, camera)
    if not contents.episodes:
        causes = "; ".join(f"{problem.id}: {problem.cause}" for problem in contents.problems[:3])
        raise RecordingError(f"{path}: not one episode can be read ({causes or 'there is none'})")
    return DataSet(path, contents)


def _contents(path: Path, camera: str | None) -> Contents:
    if (path / INFO_FILE).is_file():
        return read_lerobot(path, camera)
    if (path / EPISODE_FILE).is_file():
        raise RecordingError(f"{path} is one episode: name the folder that it lies in")
    if any(path.glob(f"*/{EPISODE_FILE}")):
        if camera is not None:
            raise RecordingError(
                f"{path} holds plain folders, which name no cameras: leave {camera!r} out"
            )
        return read_folders(path)
    raise RecordingError(
        f"{path} is no data set: expected {INFO_FILE} (LeRobot's layout) or folders with an "
        f"{EPISODE_FILE} each"
    )


def _every(episode: RecordedEpisode, every: int) -> RecordedEpisode:
    return _with_frames(episode, range(0, len(episode.frames), every))


def _at_rate(episode: RecordedEpisode, fps: float) -> RecordedEpisode:
    if episode.fps is None:
        raise RecordingError(
            f"episode {episode.id!r} does not say how many steps a second it has: thin with every"
        )
    # A step that is due by a rounding error less is due.
    slots = np.floor((episode.steps - episode.steps[0]) / episode.fps * fps + 1e-6)
    _, first = np.unique(slots, return_index=True)
    return _with_frames(episode, first.tolist())


def _with_frames(episode: RecordedEpisode, indices: Sequence[int]) -> RecordedEpisode:
    """An episode with some of its frames, in order, and always with its last."""
    last = len(episode.frames) - 1
    kept = np.unique([*indices, last])

    def at(values: NDArray[Any] | None) -> NDArray[Any] | None:
        return None if values is None else values[kept]

    return replace(
        episode,
        frames=ChosenFrames(episode.frames, kept.tolist()),
        steps=episode.steps[kept],
        done=at(episode.done),
        progress=at(episode.progress),
        rewards=at(episode.rewards),
        columns={name: values[kept] for name, values in episode.columns.items()},
    )
