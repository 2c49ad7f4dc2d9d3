"""Frames of the bundled rollouts, and queries about them."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from lrm_server.frames import Encoding, Frame, FrameLimits, open_frame
from lrm_server.heads.profile import Role
from lrm_server.heads.query import Query
from training.frame_folders import EpisodeFolder, read_all

ROLLOUTS = Path(__file__).parents[1] / "server" / "lrm_server" / "demo" / "rollouts"


@lru_cache
def episodes() -> tuple[EpisodeFolder, ...]:
    """The bundled rollouts."""
    return tuple(read_all(ROLLOUTS))


def frame(episode: EpisodeFolder, index: int) -> Frame:
    """One frame as the server holds it."""
    return open_frame(episode.jpeg(index), Encoding.JPEG, FrameLimits())


def queries(head: str, count: int) -> list[Query]:
    """So many queries of one head, over all rollouts and along them."""
    made = []
    for number in range(count):
        episode = episodes()[number % len(episodes())]
        steps = len(episode.frames) - 1
        index = 1 + (number * 7) % steps
        frames = {Role.CURRENT: frame(episode, index)}
        if head == "progress":
            frames[Role.INITIAL] = frame(episode, 0)
        if head in ("contrastive", "tri"):
            frames[Role.PREVIOUS] = frame(episode, index // 2)
        made.append(Query(head=head, task=episode.task, frames=frames))
    return made
