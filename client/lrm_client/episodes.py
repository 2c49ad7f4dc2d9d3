"""One episode at a time: one robot, or one environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TypeAlias

from lrm_client.clock import Source
from lrm_client.episode_calls import EpisodeCalls
from lrm_client.episode_table import EpisodeTable
from lrm_client.errors import FrameRequired, LrmError, RewardsFailed
from lrm_client.flows import AsyncSender, Flow, Sender, run, run_async
from lrm_client.frames import EncodedFrame, FrameLike
from lrm_client.rewards import FailurePolicy, HeadStep
from lrm_client.types import EpisodeSpec, Reply

FrameSource: TypeAlias = FrameLike | Callable[[], FrameLike] | None
"""A frame, or what renders it when it is wanted; None where none is wanted."""


@dataclass(frozen=True, slots=True)
class StepReward:
    """The reward of a step.

    Attributes:
        reward: of the first head, scaled. Where it failed: the last good reward or NaN,
            as the failure policy says.
        valid: False exactly where the first head failed.
        source: where the first head's reward comes from.
        age: steps since the first head's value was queried; None before its first query.
        heads: every head's part, by name.
    """

    reward: float
    valid: bool
    source: Source
    age: int | None
    heads: Mapping[str, HeadStep]

    @property
    def reply(self) -> Reply | None:
        """The server's reply to the first head's query, at a step that was queried."""
        return next(iter(self.heads.values())).reply

    @property
    def error(self) -> LrmError | None:
        """Why the first head failed."""
        return next(iter(self.heads.values())).error


class _EpisodeBase:
    """What a blocking and an asynchronous episode share."""

    def __init__(
        self, client: Sender | AsyncSender, spec: EpisodeSpec, failure: FailurePolicy
    ) -> None:
        self._table = EpisodeTable(spec, [spec.task], EpisodeCalls(client), failure)

    @property
    def id(self) -> str:
        """Id of the running episode; empty before the first reset."""
        return self._table.id_of(0)

    @property
    def last_step(self) -> int:
        """The last step that was taken; 0 after a reset, -1 before it."""
        return self._table.step_of(0)

    def wants(
        self, *, terminated: bool = False, truncated: bool = False, force: bool = False
    ) -> bool:
        """Whether the next step needs a frame. False when no episode is running."""
        clocks = self._table.clocks
        return clocks.running(0) and bool(clocks.due(0, terminated or truncated, force))

    def _reset(self, frame: FrameLike, task: str | None) -> Flow[None]:
        encoded = self._table.encoder.encode(frame)
        tasks = {} if task is None else {0: task}
        yield from self._table.reset({0: encoded}, tasks, self._table.spec.offset)

    def _step(self, frame: FrameSource, final: bool, force: bool) -> Flow[StepReward]:
        def pick(wanted: list[int]) -> dict[int, EncodedFrame]:
            given = frame() if callable(frame) else frame
            if given is None:
                step = self.last_step + 1
                raise FrameRequired(f"step {step} is due and came without a frame", step=step)
            return {0: self._table.encoder.encode(given)}

        rows, failures = yield from self._table.step([0], pick, [final], [force])
        if failures and self._table.failure == "raise":
            raise RewardsFailed(failures)
        first = rows[0][self._table.spec.heads[0]]
        return StepReward(first.reward, first.valid, first.source, first.age, rows[0])


class Episode(_EpisodeBase):
    """A running episode of one robot, on the client's clock.

    Made by ``RewardClient.episode``. Steps that need no query are answered here, without
    the server; a frame is encoded and sent at steps that are due. Not for several threads
    at once.
    """

    def __init__(
        self, client: Sender, spec: EpisodeSpec, *, failure: FailurePolicy = "raise"
    ) -> None:
        super().__init__(client, spec, failure)
        self._client = client

    def reset(self, frame: FrameLike, *, task: str | None = None) -> None:
        """Begins an episode with its initial frame, uint8 (H, W, 3), at step 0.

        An episode that is running is closed.

        Args:
            frame: the reset observation.
            task: another task from this episode on; None for the same.

        Raises:
            LrmError: the episode could not be opened.
        """
        run(self._reset(frame, task), self._client)

    def step(
        self,
        frame: FrameSource = None,
        *,
        terminated: bool = False,
        truncated: bool = False,
        force: bool = False,
    ) -> StepReward:
        """Takes the next step.

        Args:
            frame: the observation after the action, or what renders it, which is called
                only when the frame is wanted.
            terminated: the episode ends here by itself.
            truncated: the episode is cut off here.
            force: query at this step whatever the clock says.

        Raises:
            RewardsFailed: a head has no reward, and the policy is ``raise``. The step is
                taken; the next one is due.
            FrameRequired: the step is due and there is no frame. The step is not taken.
            EpisodeEnded: the final step was taken before.
            EpisodeNotFound: before the first reset.
        """
        return run(self._step(frame, terminated or truncated, force), self._client)

    def close(self) -> None:
        """Closes the episode on the server. Closing twice is no error."""
        run(self._table.close(), self._client)

    def __enter__(self) -> Episode:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class AsyncEpisode(_EpisodeBase):
    """As ``Episode``, on an event loop. Made by ``AsyncRewardClient.episode``."""

    def __init__(
        self, client: AsyncSender, spec: EpisodeSpec, *, failure: FailurePolicy = "raise"
    ) -> None:
        super().__init__(client, spec, failure)
        self._client = client

    async def reset(self, frame: FrameLike, *, task: str | None = None) -> None:
        """As ``Episode.reset``."""
        await run_async(self._reset(frame, task), self._client)

    async def step(
        self,
        frame: FrameSource = None,
        *,
        terminated: bool = False,
        truncated: bool = False,
        force: bool = False,
    ) -> StepReward:
        """As ``Episode.step``."""
        return await run_async(self._step(frame, terminated or truncated, force), self._client)

    async def close(self) -> None:
        """Closes the episode on the server. Closing twice is no error."""
        await run_async(self._table.close(), self._client)

    async def __aenter__(self) -> AsyncEpisode:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
