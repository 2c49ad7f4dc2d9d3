"""Steps that are submitted now and gathered later: what both kinds of vector share."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

from numpy.typing import ArrayLike

from lrm_client.episode_clocks import EpisodeClocks
from lrm_client.errors import EpisodeNotFound, InvalidRequest, RewardsFailed
from lrm_client.flows import AsyncSender, Flow, Sender
from lrm_client.frames import EncodedFrame
from lrm_client.in_flight import Load, size
from lrm_client.rewards import RolloutRewards, stacked
from lrm_client.vector_base import FramesSource, TakenStep, VectorBase, VectorOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Pending(Protocol):
    """Work that was begun: a future of a thread, or a task of an event loop."""

    def done(self) -> bool:
        """Whether it has ended."""
        ...

    def cancelled(self) -> bool:
        """Whether it was given up before it ended."""
        ...

    def cancel(self) -> bool:
        """Gives it up, if it can be."""
        ...

    def result(self) -> Any:
        """What it gave; its error is raised."""
        ...


PendingT = TypeVar("PendingT", bound=Pending)


class HandleBase(Generic[PendingT]):
    """A submitted step of one vector of episodes."""

    def __init__(self, pending: PendingT, owner: object) -> None:
        self._pending = pending
        self._owner = owner

    def done(self) -> bool:
        """Whether ``gather`` would return at once."""
        return self._pending.done()

    def belongs_to(self, owner: object) -> bool:
        """Whether the step was submitted there."""
        return self._owner is owner

    def result(self) -> TakenStep:
        """The rewards of a step that is done and the failures among them, unraised.

        Raises:
            EpisodeNotFound: the step was not sent, as its episodes were closed before.
            LrmError: the step could not be taken.
        """
        if self._pending.cancelled():
            raise EpisodeNotFound("the episodes were closed before this step was sent")
        taken: TakenStep = self._pending.result()
        return taken


class Submission(NamedTuple):
    """A step with the frames that were taken for it."""

    chosen: list[int]
    taken: dict[int, EncodedFrame]
    finals: list[bool]
    forces: list[bool]
    load: Load


class Submitting(VectorBase, Generic[PendingT]):
    """Runs ahead of the server.

    The clocks ``_ahead`` take every submitted step at once, as if its queries will
    succeed; the table's own take it when the server has answered. Only while nothing is
    pending may the table be looked at, as another thread may be at work on it.
    """

    def __init__(
        self,
        client: Sender | AsyncSender,
        num_envs: int,
        task: str | Sequence[str],
        heads: Sequence[str],
        **options: Unpack[VectorOptions],
    ) -> None:
        super().__init__(client, num_envs, task, heads, **options)
        self._pending: deque[PendingT] = deque()
        self._resets: list[PendingT] = []
        self._ahead: EpisodeClocks | None = None

    def _settled(self) -> bool:
        """Whether nothing is pending; the table's own clocks are then up to date."""
        while self._pending and self._pending[0].done():
            self._pending.popleft()
        if not self._pending:
            self._ahead = None
        return not self._pending

    def _clocks(self) -> EpisodeClocks:
        """The clocks that the next step goes by: ahead of the table while steps are pending."""
        return self._table.clocks if self._settled() or self._ahead is None else self._ahead

    def _submission(
        self,
        frames: FramesSource,
        final: ArrayLike | None,
        force: ArrayLike | None,
        mask: ArrayLike | None,
    ) -> Submission:
        """Takes the frames that the next step wants; the step is not taken yet."""
        chosen = self._chosen(mask)
        finals, forces = self._flags(final, "final"), self._flags(force, "force")
        clocks = self._clocks()
        clocks.check_running(chosen)
        due = {at: clocks.due(at, finals[at], forces[at]) for at in chosen}
        wanted = [at for at, heads in due.items() if heads]
        taken = self._pick(frames, wanted, "step") if wanted else {}
        load = Load(sum(map(len, due.values())), size(taken.values()))
        return Submission(chosen, taken, finals, forces, load)

    def _foresee(self, step: Submission) -> None:
        """Takes the step on the clocks that run ahead."""
        if self._ahead is None:
            self._ahead = self._table.clocks.copy()
        for at in step.chosen:
            self._ahead.foresee(at, step.finals[at], step.forces[at])
        self._steps_taken += 1

    def _taking(self, step: Submission) -> Flow[TakenStep]:
        """Work that takes the step with the frames that were taken for it."""

        def pick(wanted: list[int]) -> dict[int, EncodedFrame]:
            return {at: step.taken[at] for at in wanted if at in step.taken}

        try:
            return (yield from self._take(step.chosen, pick, step.finals, step.forces))
        finally:
            # An error of the step refers to this frame as long as its handle is kept.
            step.taken.clear()

    def _begin_ahead(self, frames: dict[int, EncodedFrame], offset: int) -> None:
        """Begins the episodes of a reset that is pending on the clocks that run ahead."""
        config = self._table.config(offset)
        for environment in frames:
            if self._ahead is not None:
                self._ahead.begin(environment, config, self._table.neutral)

    def _check_handles(self, handles: Sequence[HandleBase[PendingT]]) -> None:
        for place, handle in enumerate(handles):
            if not isinstance(handle, HandleBase) or not handle.belongs_to(self):
                raise InvalidRequest(
                    f"handle {place} was not submitted here: gather each step from the "
                    "episodes that it was submitted to",
                    field="handles",
                )

    def _gathered(self, handles: Sequence[HandleBase[PendingT]]) -> RolloutRewards:
        """The rewards of steps that are done."""
        self._raise_resets()
        taken = [handle.result() for handle in handles]
        rewards = stacked([rewards for rewards, _ in taken], self.num_envs)
        failures = [failure for _, failed in taken for failure in failed]
        if failures and self._table.failure == "raise":
            raise RewardsFailed(failures, rewards)
        return rewards

    def _raise_resets(self) -> None:
        """Raises the error of a reset that failed while no one waited for it."""
        done = [reset for reset in self._resets if reset.done()]
        self._resets = [reset for reset in self._resets if reset not in done]
        for reset in done:
            if not reset.cancelled():
                reset.result()

    def _abandon(self) -> None:
        """Gives up what was not sent yet."""
        for pending in self._pending:
            pending.cancel()
