"""Where the state of running episodes lives."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from lrm_server.episodes.state import Episode
from lrm_server.errors import DomainError, ErrorCode

_MIB = 1024 * 1024


class EpisodeStore(Protocol):
    """Keeps episodes by id, and says when there is no room for more.

    An episode is a value: what a store gives is what was put in, and ``replace`` is the
    only way to change what is kept. A store may be another process, so every method may
    wait.
    """

    @property
    def open_count(self) -> int:
        """Episodes that are kept now, as far as this process knows."""
        ...

    @property
    def frame_bytes(self) -> int:
        """Bytes of frames that are kept or reserved now, as far as this process knows."""
        ...

    async def add(self, episode: Episode) -> Episode:
        """Keeps an episode, unless one of its id is there; returns the one that is kept.

        Raises:
            DomainError: OVERLOADED when no more episodes may be open.
        """
        ...

    async def get(self, episode_id: str) -> Episode | None:
        """The episode of an id; None when it was never open, was closed or has expired."""
        ...

    async def reserve(self, episode: Episode, frame_bytes: int) -> None:
        """Sets aside room for the frames of an episode, until it is replaced.

        Args:
            episode: as it is kept now.
            frame_bytes: what its frames will take. What they take now gives back a
                reservation that was not used.

        Raises:
            DomainError: OVERLOADED when it would grow and there is no room.
        """
        ...

    async def replace(self, before: Episode, after: Episode) -> bool:
        """Keeps an episode as it is after a step.

        Returns:
            False, with nothing changed, when ``before`` is not what is kept: it was closed
            or expired, or someone else took a step.
        """
        ...

    async def remove(self, episode_id: str) -> bool:
        """Forgets an episode and its frames; whether it was there."""
        ...


class _Kept:
    """An episode with the time of its last use and the bytes set aside for its frames."""

    __slots__ = ("episode", "frame_bytes", "used_at")

    def __init__(self, episode: Episode, used_at: float) -> None:
        self.episode = episode
        self.frame_bytes = episode.frame_bytes
        self.used_at = used_at


class MemoryEpisodeStore:
    """Episodes in this process; a restart loses them.

    Holds for each episode its specification, its place on the clock, the encoded bytes of
    the frames that later queries compare with, and its last answered steps (up to
    ``state.REMEMBERED_STEPS``; about half a KiB each, and one more for each label head that
    was asked at it: 20 KiB with one head at every tenth step, 110 KiB with tri at every
    step; ``bench.memory`` measures it). It holds them until
    the episode is closed, or until nobody has asked for it for ``idle_seconds``. Expired
    episodes make way for new ones; a live one is never dropped for another.

    No method waits, so an episode cannot change between two calls that do not.

    Args:
        max_episodes: how many may be open at once.
        max_frame_mib: MiB that the frames of all episodes may take. Checked with what an
            episode will keep if its queries succeed; one whose heads fail apart may keep a
            frame or two more until they succeed.
        idle_seconds: an episode that nobody asked for so long is forgotten.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        max_episodes: int,
        max_frame_mib: float,
        idle_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_episodes = max_episodes
        self._max_frame_bytes = int(max_frame_mib * _MIB)
        self._idle_seconds = idle_seconds
        self._clock = clock
        # In the order of their last use, so that those that expire come first.
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._frame_bytes = 0

    @property
    def open_count(self) -> int:
        """Episodes that are open and have not expired."""
        self._expire()
        return len(self._kept)

    @property
    def frame_bytes(self) -> int:
        """Bytes of frames that are kept or reserved."""
        self._expire()
        return self._frame_bytes

    async def add(self, episode: Episode) -> Episode:
        """As ``EpisodeStore.add``."""
        now = self._expire()
        known = self._kept.get(episode.spec.id)
        if known is not None:
            self._touch(known, now)
            return known.episode
        if len(self._kept) >= self._max_episodes:
            raise DomainError(
                ErrorCode.OVERLOADED,
                f"{len(self._kept)} episodes are open and no more may be: close those that are "
                "done, or raise max_episodes. Episodes without a step for "
                f"{self._idle_seconds:g} s are closed by themselves.",
            )
        kept = _Kept(episode, now)
        self._kept[episode.spec.id] = kept
        self._frame_bytes += kept.frame_bytes
        return episode

    async def get(self, episode_id: str) -> Episode | None:
        """As ``EpisodeStore.get``; counts as a use."""
        now = self._expire()
        kept = self._kept.get(episode_id)
        if kept is None:
            return None
        self._touch(kept, now)
        return kept.episode

    async def reserve(self, episode: Episode, frame_bytes: int) -> None:
        """As ``EpisodeStore.reserve``."""
        self._expire()
        kept = self._kept.get(episode.spec.id)
        if kept is None or kept.episode is not episode:
            return
        growth = frame_bytes - kept.frame_bytes
        if growth > 0 and self._frame_bytes + growth > self._max_frame_bytes:
            raise DomainError(
                ErrorCode.OVERLOADED,
                f"the frames of open episodes take {self._frame_bytes / _MIB:.1f} MiB of "
                f"{self._max_frame_bytes / _MIB:g}: close episodes that are done, send smaller "
                "or compressed frames, or raise max_episode_memory_mib.",
            )
        self._account(kept, frame_bytes)

    async def replace(self, before: Episode, after: Episode) -> bool:
        """As ``EpisodeStore.replace``; counts as a use."""
        kept = self._kept.get(before.spec.id)
        if kept is None or kept.episode is not before:
            return False
        kept.episode = after
        self._account(kept, after.frame_bytes)
        self._touch(kept, self._clock())
        return True

    async def remove(self, episode_id: str) -> bool:
        """As ``EpisodeStore.remove``."""
        self._expire()
        return self._forget(episode_id)

    def _touch(self, kept: _Kept, now: float) -> None:
        kept.used_at = now
        self._kept.move_to_end(kept.episode.spec.id)

    def _account(self, kept: _Kept, frame_bytes: int) -> None:
        self._frame_bytes += frame_bytes - kept.frame_bytes
        kept.frame_bytes = frame_bytes

    def _forget(self, episode_id: str) -> bool:
        kept = self._kept.pop(episode_id, None)
        if kept is None:
            return False
        self._frame_bytes -= kept.frame_bytes
        return True

    def _expire(self) -> float:
        """Forgets what has been idle too long; the time by the clock."""
        now = self._clock()
        while self._kept:
            oldest = next(iter(self._kept.values()))
            if now - oldest.used_at < self._idle_seconds:
                break
            self._forget(oldest.episode.spec.id)
        return now
