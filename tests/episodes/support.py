"""Frames that say which step they show, and a service over a scripted scorer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from lrm_client.clock import ClockConfig, Source
from lrm_server.episodes.decoded import MAX_DECODED_BYTES
from lrm_server.episodes.service import EpisodeService
from lrm_server.episodes.store import MemoryEpisodeStore
from lrm_server.episodes.types import EpisodeSpec, EpisodeStep, OpenedEpisode, StepAnswer
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.frames import Encoding, Frame
from lrm_server.heads.profile import Role
from lrm_server.heads.query import Query
from tests.scripted_scorer import ScriptedScorer

K3 = ClockConfig(interval=3)
SIDE = 8


class Shown(NamedTuple):
    """What a frame shows."""

    episode: int
    step: int
    variant: int


def frame(step: int, *, episode: int = 0, variant: int = 0, side: int = SIDE) -> Frame:
    """A raw frame whose pixels tell the episode, the step and a variant."""
    pixels = np.empty((side, side, 3), np.uint8)
    pixels[:] = (episode, step, variant)
    return Frame(pixels.tobytes(), Encoding.RAW, side, side)


def shown(query: Query, role: Role) -> Shown:
    """What a query's frame shows."""
    return Shown(*query.frames[role].pixels()[0, 0].tolist())


def spec(*heads: str, episode: str = "e", clock: ClockConfig = K3, **fields: Any) -> EpisodeSpec:
    return EpisodeSpec(
        id=episode, task="put the cube on the plate", heads=heads, clock=clock, **fields
    )


def step(number: int, *, episode: str = "e", **fields: Any) -> EpisodeStep:
    """A step that brings its own frame, unless another or None is given."""
    if "frame" not in fields:
        fields["frame"] = frame(number)
    return EpisodeStep(episode=episode, step=number, **fields)


def failing(code: ErrorCode = ErrorCode.LABEL_MASS_LOW, message: str = "scripted") -> DomainError:
    return DomainError(code, message)


class Bench:
    """A service with what it stands on, at hand."""

    def __init__(self, **limits: Any) -> None:
        self.now = 0.0
        self.scorer = ScriptedScorer()
        self.store = MemoryEpisodeStore(
            max_episodes=limits.get("max_episodes", 100),
            max_frame_mib=limits.get("max_frame_mib", 16),
            idle_seconds=limits.get("idle_seconds", 60),
            clock=lambda: self.now,
        )
        self.rewards: Counter[tuple[str, Source]] = Counter()
        self.service = EpisodeService(
            self.scorer,
            self.store,
            observer=self._observe,
            max_decoded_bytes=limits.get("max_decoded_bytes", MAX_DECODED_BYTES),
        )

    def _observe(self, given: Mapping[tuple[str, Source], int]) -> None:
        self.rewards.update(given)

    async def open(self, *heads: str, **fields: Any) -> OpenedEpisode:
        """Opens one episode that must open."""
        (opened,) = await self.service.open([spec(*heads, **fields)])
        assert isinstance(opened, OpenedEpisode), opened
        return opened

    async def refusal_of(self, opening: EpisodeSpec) -> DomainError:
        """Why an episode is not opened."""
        (refused,) = await self.service.open([opening])
        assert isinstance(refused, DomainError), refused
        return refused

    async def take(self, number: int, **fields: Any) -> StepAnswer:
        """Takes one step that must be taken."""
        (answer,) = await self.service.step([step(number, **fields)])
        assert isinstance(answer, StepAnswer), answer
        return answer

    async def refused(self, number: int, **fields: Any) -> DomainError:
        """Why one step is not taken."""
        (refused,) = await self.service.step([step(number, **fields)])
        assert isinstance(refused, DomainError), refused
        return refused

    async def run_to(self, last: int, **fields: Any) -> StepAnswer:
        """Takes steps 0 to ``last``; the answer to the last."""
        for number in range(last):
            await self.take(number, **fields)
        return await self.take(last, **fields)


def sources(answer: StepAnswer) -> dict[str, str]:
    return {head.head: head.source.value for head in answer.rewards}
