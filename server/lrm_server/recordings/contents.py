"""What a layout's reader finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lrm_server.recordings.episode import RecordedEpisode, RecordingError


@dataclass(frozen=True, slots=True)
class Problem:
    """An episode that cannot be read at all.

    Attributes:
        id: of the episode, or of the file or folder where it should be.
        cause: why not, and what to change.
    """

    id: str
    cause: str


@dataclass(frozen=True, slots=True)
class Contents:
    """A data set as one of the readers gives it.

    Attributes:
        layout: ``folders`` or ``lerobot`` with its version.
        cameras: all that the data set has; empty where the layout does not name them.
        camera: whose frames ``episodes`` have; None where ``cameras`` is empty.
        episodes: those that can be read, with frames that are read when they are indexed.
        problems: those that cannot.
    """

    layout: str
    cameras: tuple[str, ...]
    camera: str | None
    episodes: tuple[RecordedEpisode, ...]
    problems: tuple[Problem, ...]


class Gathered:
    """Episodes as they are read, and the problems of those that cannot be.

    Attributes:
        episodes: by their ids, in the order of reading.
        problems: in the order of reading.
    """

    def __init__(self) -> None:
        self.episodes: dict[str, RecordedEpisode] = {}
        self.problems: list[Problem] = []

    def add(self, name: str, read: Callable[[], RecordedEpisode]) -> None:
        """Reads an episode; one that fails, or whose id is taken, becomes the problem ``name``."""
        try:
            episode = read()
        except RecordingError as error:
            self.problems.append(Problem(name, str(error)))
            return
        if episode.id in self.episodes:
            cause = f"its id {episode.id!r} is another episode's: make it unique"
            self.problems.append(Problem(name, cause))
        else:
            self.episodes[episode.id] = episode

    def contents(
        self, layout: str, cameras: tuple[str, ...] = (), camera: str | None = None
    ) -> Contents:
        """All of it, once it is read."""
        episodes = tuple(self.episodes.values())
        return Contents(layout, cameras, camera, episodes, tuple(self.problems))
