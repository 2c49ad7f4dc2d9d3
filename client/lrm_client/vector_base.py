"""What the blocking and the asynchronous episodes of N environments share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lrm_client.clock import Hold, Phase
from lrm_client.episode_calls import EpisodeCalls
from lrm_client.episode_clocks import EpisodeClocks
from lrm_client.episode_table import EpisodeTable, FramePicker
from lrm_client.errors import FailedReward, FrameRequired, InvalidRequest, RewardsFailed
from lrm_client.flows import AsyncSender, Flow, Sender
from lrm_client.frames import EncodedFrame, FrameLike
from lrm_client.in_flight import (
    MAX_IN_FLIGHT_BYTES,
    MAX_IN_FLIGHT_QUERIES,
    MAX_IN_FLIGHT_STEPS,
    Bounds,
)
from lrm_client.rewards import FailurePolicy, Rewards, StepOf, rewards_of
from lrm_client.subtasks import Subtask
from lrm_client.types import EpisodeOptions, EpisodeSpec, Readout, Use

if TYPE_CHECKING:
    from typing_extensions import Unpack

Frames: TypeAlias = FrameLike | Sequence[FrameLike]
"""uint8 (N, H, W, 3) as an array or a tensor, or a sequence of N frames."""

FramesSource: TypeAlias = Frames | Callable[[NDArray[np.intp]], Frames] | None
"""The frames of all environments; or what renders those of the environments whose
indices, intp (M,), it is given, in their order; None where none is wanted."""

TakenStep: TypeAlias = tuple[Rewards, list[FailedReward]]
"""A step's rewards, and the failures among them."""


class VectorOptions(TypedDict, total=False):
    """What ``VectorEpisodes`` may be told by name."""

    interval: int
    scale: float
    hold: Hold | str
    phase: Phase | str
    failure: FailurePolicy
    head: str | None
    use: Use | str | None
    readout: Readout | str | None
    swap: bool
    margin: float | None
    fps: float | None
    scene: str
    subtasks: Sequence[Subtask]
    max_in_flight_queries: int
    max_in_flight_bytes: int
    max_in_flight_steps: int


class VectorBase:
    """What the blocking and the asynchronous vector share."""

    def __init__(
        self,
        client: Sender | AsyncSender,
        num_envs: int,
        task: str | Sequence[str],
        heads: Sequence[str],
        *,
        failure: FailurePolicy = "raise",
        head: str | None = None,
        max_in_flight_queries: int = MAX_IN_FLIGHT_QUERIES,
        max_in_flight_bytes: int = MAX_IN_FLIGHT_BYTES,
        max_in_flight_steps: int = MAX_IN_FLIGHT_STEPS,
        **options: Unpack[EpisodeOptions],
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, not {num_envs}")
        spec = EpisodeSpec("", heads, **options)
        if head is not None and head not in spec.heads:
            raise ValueError(f"head must be one of {list(heads)}, not {head!r}")
        tasks = _tasks(task, num_envs)
        self._table = EpisodeTable(spec, tasks, EpisodeCalls(client), failure)
        self._paying = head or self._table.spec.heads[0]
        self._bounds = Bounds(max_in_flight_queries, max_in_flight_bytes, max_in_flight_steps)
        self._steps_taken = 0

    @property
    def num_envs(self) -> int:
        """N."""
        return len(self._table)

    @property
    def episode_ids(self) -> tuple[str, ...]:
        """The id of each environment's episode; empty before its reset."""
        return tuple(self._table.id_of(environment) for environment in range(self.num_envs))

    @property
    def last_steps(self) -> NDArray[np.int32]:
        """The last step that each environment took or submitted, int32 (N,).

        0 after a reset, -1 before it.
        """
        return np.asarray([state.step for state in self._clocks().states], np.int32)

    def wants(
        self, final: ArrayLike | None = None, *, force: ArrayLike | None = None
    ) -> NDArray[np.bool_]:
        """Whether the next step needs each environment's frame, bool (N,).

        Args:
            final: bool (N,): whose next step terminates or truncates its episode.
            force: bool (N,): who is queried whatever the clock says.
        """
        finals, forces = self._flags(final, "final"), self._flags(force, "force")
        clocks = self._clocks()
        wanted = [
            clocks.running(at) and bool(clocks.due(at, finals[at], forces[at]))
            for at in range(self.num_envs)
        ]
        return np.asarray(wanted, np.bool_)

    def _clocks(self) -> EpisodeClocks:
        """The clocks that the next step goes by."""
        return self._table.clocks

    def _initial(self, frames: FramesSource, mask: ArrayLike | None) -> dict[int, EncodedFrame]:
        """The initial frames of the environments that are reset."""
        chosen = self._chosen(mask)
        return self._pick(frames, chosen, "reset") if chosen else {}

    def _reset(
        self, encoded: dict[int, EncodedFrame], task: str | Sequence[str] | None, offset: int
    ) -> Flow[None]:
        """Work that resets environments with their initial frames."""
        tasks = {} if task is None else dict(enumerate(_tasks(task, self.num_envs)))
        return self._table.reset(encoded, tasks, offset)

    def _offset(self) -> int:
        """Due where (step + offset) is a multiple of K: for all at the same global step."""
        return self._table.spec.offset + self._steps_taken

    def _step(
        self,
        frames: FramesSource,
        final: ArrayLike | None,
        force: ArrayLike | None,
        mask: ArrayLike | None,
    ) -> Flow[Rewards]:
        chosen = self._chosen(mask)
        finals, forces = self._flags(final, "final"), self._flags(force, "force")

        def pick(wanted: list[int]) -> dict[int, EncodedFrame]:
            return self._pick(frames, wanted, "step")

        rewards, failures = yield from self._take(chosen, pick, finals, forces)
        self._steps_taken += 1
        if failures and self._table.failure == "raise":
            raise RewardsFailed(failures, rewards)
        return rewards

    def _take(
        self, chosen: list[int], pick: FramePicker, finals: list[bool], forces: list[bool]
    ) -> Flow[TakenStep]:
        rows, failures = yield from self._table.step(chosen, pick, finals, forces)
        table, heads = self._table, self._table.spec.heads
        taken = [StepOf(at, table.id_of(at), table.step_of(at)) for at in chosen]
        return rewards_of(rows, taken, self.num_envs, heads, self._paying), failures

    def _pick(self, frames: FramesSource, wanted: list[int], what: str) -> dict[int, EncodedFrame]:
        """The encoded frames of the wanted environments."""
        if frames is None:
            raise FrameRequired(
                f"the {what} of environments {wanted} needs their frames",
                step=self._clocks().states[wanted[0]].step + 1 if what == "step" else 0,
            )
        given: Any
        if callable(frames):
            given = frames(np.asarray(wanted, np.intp))
            self._check_length(given, len(wanted), "wanted environments")
        else:
            self._check_length(frames, self.num_envs, "environments")
            given = _taken(frames, wanted, self.num_envs)
        return dict(zip(wanted, self._table.encoder.encode_many(given), strict=True))

    def _check_length(self, frames: Any, count: int, what: str) -> None:
        try:
            length = len(frames)
        except TypeError:
            length = -1
        if length != count:
            raise InvalidRequest(
                f"frames must be of the {count} {what}, one each, not "
                f"{length if length >= 0 else type(frames).__name__}",
                field="frames",
            )

    def _chosen(self, mask: ArrayLike | None) -> list[int]:
        if mask is None:
            return list(range(self.num_envs))
        return [at for at, on in enumerate(self._flags(mask, "mask")) if on]

    def _flags(self, flags: ArrayLike | None, name: str) -> list[bool]:
        if flags is None:
            return [False] * self.num_envs
        if hasattr(flags, "cpu"):
            flags = flags.cpu()
        array = np.asarray(flags)
        if array.shape != (self.num_envs,) or array.dtype != np.bool_:
            raise InvalidRequest(
                f"{name} must be bool of shape ({self.num_envs},), not {array.dtype} of "
                f"{array.shape}",
                field=name,
            )
        listed: list[bool] = array.tolist()
        return listed


def _tasks(task: str | Sequence[str], count: int) -> list[str]:
    if isinstance(task, str):
        return [task] * count
    if len(task) != count:
        raise ValueError(f"{len(task)} tasks were given for {count} environments")
    return list(task)


def _taken(frames: Any, wanted: list[int], count: int) -> Any:
    """The frames of some environments, without a copy where all are wanted."""
    if len(wanted) == count:
        return frames
    if isinstance(frames, list | tuple):
        return [frames[at] for at in wanted]
    return frames[wanted]
