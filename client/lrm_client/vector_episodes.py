"""The episodes of N environments that are stepped together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import BoundedSemaphore
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from numpy.typing import ArrayLike

from lrm_client.connection import ResultT
from lrm_client.episode_clocks import EpisodeClocks
from lrm_client.errors import FailedReward, RewardsFailed
from lrm_client.flows import Sender, run
from lrm_client.frames import EncodedFrame
from lrm_client.rewards import Rewards, RolloutRewards, stacked
from lrm_client.vector_base import FramesSource, VectorBase, VectorOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack

MAX_IN_FLIGHT: Final = 16
"""How many submitted steps with frames may be pending."""


class StepHandle:
    """A submitted step, whose rewards ``VectorEpisodes.gather`` returns."""

    def __init__(self, future: Future[tuple[Rewards, list[FailedReward]]]) -> None:
        self._future = future

    def done(self) -> bool:
        """Whether ``gather`` would return at once."""
        return self._future.done()

    def wait(self) -> None:
        """Waits until the step is answered or has failed."""
        wait([self._future])

    def result(self) -> tuple[Rewards, list[FailedReward]]:
        """The step's rewards and the failures among them, whatever the policy."""
        return self._future.result()


class VectorEpisodes(VectorBase):
    """N environments on the client's clock, one call to the server for all that are due.

    Steps that need no query are answered here, without the server. With
    ``Phase.ALIGNED``, environments that are reset at different steps are due together.
    An environment that ends with a step is reset, with its new initial frame, before its
    next step; the frame of a final step is the one before the reset. Not for several
    threads at once.

    Args:
        client: a ``RewardClient``.
        num_envs: N >= 1.
        task: the task in words, of all environments or of each.
        heads: the heads that are asked.
        interval: K >= 1; a query is due every K steps, 10 unless told otherwise.
        scale: finite factor of every reward.
        hold: what a step pays from the held value.
        phase: where the multiples of the interval are counted from.
        failure: what a failed head's reward is: ``raise``, the default, an exception that
            names every failed environment; ``hold`` the last good reward, marked invalid;
            ``mask`` NaN.
        head: the head whose arrays ``Rewards`` shows first; None for the first.
        use: None for the label's value.
        readout: None for the checkpoint's default.
        swap: contrastive: ask both orders.
        margin: contrastive: |p(current) - 0.5| below it is undecided.

    Raises:
        ValueError: an argument out of range.
    """

    def __init__(
        self,
        client: Sender,
        num_envs: int,
        task: str | Sequence[str],
        heads: Sequence[str],
        **options: Unpack[VectorOptions],
    ) -> None:
        super().__init__(client, num_envs, task, heads, **options)
        self._client = client
        self._worker: ThreadPoolExecutor | None = None
        self._pending: deque[Future[Any]] = deque()
        self._resets: list[Future[None]] = []
        self._ahead: EpisodeClocks | None = None
        self._in_flight = BoundedSemaphore(MAX_IN_FLIGHT)

    def reset(
        self,
        frames: FramesSource,
        mask: ArrayLike | None = None,
        *,
        task: str | Sequence[str] | None = None,
    ) -> None:
        """Begins episodes with their initial frames; running ones are closed.

        While submitted steps are pending, the reset waits its turn behind them and an
        error of it is raised by the next ``gather`` or ``step``.

        Args:
            frames: uint8 (N, H, W, 3), or what renders the frames of given environments.
            mask: bool (N,): which environments; None for all.
            task: the tasks from these episodes on; None for the same.

        Raises:
            LrmError: an episode could not be opened. After the first reset, the policies
                ``hold`` and ``mask`` leave the opening to the first due step instead.
        """
        flow = self._reset(frames, mask, task)
        if self._ahead is None or self._settled():
            run(flow, self._client)
            return
        config = self._table.config(self._offset())
        for environment in self._chosen(mask):
            self._ahead.begin(environment, config, self._table.neutral)
        self._resets.append(self._queue(run, flow, self._client))

    def step(
        self,
        frames: FramesSource = None,
        *,
        final: ArrayLike | None = None,
        force: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ) -> Rewards:
        """Takes the next step of all environments, after those that are pending.

        Args:
            frames: uint8 (N, H, W, 3), or what renders the frames of given environments,
                which is called once, and only when some are wanted.
            final: bool (N,): whose episode is terminated or truncated with this step.
            force: bool (N,): who is queried whatever the clock says.
            mask: bool (N,): who takes a step; None for all. The others' rewards are NaN.

        Raises:
            RewardsFailed: some environments have no reward, and the policy is ``raise``.
                The step is taken; the next one is due for those that failed.
            FrameRequired: a step is due and there are no frames. No step is taken.
            InvalidRequest: frames or flags of another shape or type. No step is taken.
            EpisodeEnded: an environment took its final step and was not reset.
            EpisodeNotFound: an environment was never reset.
        """
        self._drain()
        return run(self._step(frames, final, force, mask), self._client)

    def submit(
        self,
        frames: FramesSource = None,
        *,
        final: ArrayLike | None = None,
        force: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ) -> StepHandle:
        """Takes the next step without waiting for its rewards; arguments as of ``step``.

        The frames that are wanted are taken now, as if every pending query will succeed.
        Give what renders them rather than asking ``wants`` first: a failure that comes to
        light in between changes what is wanted.
        A head whose failure comes to light later has failed at the steps that follow,
        up to the next one whose frame was taken. Steps are sent in their order. With
        ``MAX_IN_FLIGHT`` steps that have frames pending, this waits for the oldest.

        Raises:
            FrameRequired: a step is due and there are no frames. No step is taken.
            InvalidRequest: frames or flags of another shape or type. No step is taken.
            EpisodeEnded: an environment took its final step and was not reset.
            EpisodeNotFound: an environment was never reset.
        """
        chosen = self._chosen(mask)
        finals, forces = self._flags(final, "final"), self._flags(force, "force")
        if self._ahead is None or self._settled():
            self._ahead = self._table.clocks.copy()
        clocks = self._ahead
        clocks.check_running(chosen)
        wanted = [at for at in chosen if clocks.due(at, finals[at], forces[at])]
        taken = self._pick(frames, wanted, "step") if wanted else {}
        if taken:
            self._in_flight.acquire()
        for at in chosen:
            clocks.foresee(at, finals[at], forces[at])
        self._steps_taken += 1
        return StepHandle(self._queue(self._work, chosen, taken, finals, forces))

    def gather(self, handles: Sequence[StepHandle]) -> RolloutRewards:
        """Waits for submitted steps and returns their rewards, (T, N) for T handles.

        Raises:
            RewardsFailed: some environments have no reward at some steps, and the policy
                is ``raise``.
            LrmError: a reset that waited behind submitted steps failed.
        """
        for handle in handles:
            handle.wait()
        self._raise_resets()
        taken = [handle.result() for handle in handles]
        rewards = stacked([rewards for rewards, _ in taken], self.num_envs)
        failures = [failure for _, failed in taken for failure in failed]
        if failures and self._table.failure == "raise":
            raise RewardsFailed(failures, rewards)
        return rewards

    def close(self) -> None:
        """Waits for pending steps and closes all episodes on the server.

        Closing twice is no error.
        """
        wait(self._pending)
        if self._worker is not None:
            self._worker.shutdown()
            self._worker = None
        self._settled()
        self._resets.clear()
        run(self._table.close(), self._client)

    def __enter__(self) -> VectorEpisodes:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _clocks(self) -> EpisodeClocks:
        """The clocks that the next step goes by: ahead of the table while steps are pending."""
        return self._table.clocks if self._ahead is None or self._settled() else self._ahead

    def _queue(self, work: Callable[..., ResultT], *arguments: Any) -> Future[ResultT]:
        """Runs work behind what is pending, on one thread, which keeps the steps' order."""
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, "lrm-episodes")
        future = self._worker.submit(work, *arguments)
        self._pending.append(future)
        return future

    def _work(
        self,
        chosen: list[int],
        taken: dict[int, EncodedFrame],
        finals: list[bool],
        forces: list[bool],
    ) -> tuple[Rewards, list[FailedReward]]:
        """Takes a submitted step with the frames that were taken for it."""

        def pick(wanted: list[int]) -> dict[int, EncodedFrame]:
            return {at: taken[at] for at in wanted if at in taken}

        try:
            return run(self._take(chosen, pick, finals, forces), self._client)
        finally:
            if taken:
                self._in_flight.release()

    def _settled(self) -> bool:
        """Whether nothing is pending; the table's own clocks are then up to date."""
        while self._pending and self._pending[0].done():
            self._pending.popleft()
        if not self._pending:
            self._ahead = None
        return not self._pending

    def _drain(self) -> None:
        wait(self._pending)
        self._settled()
        self._raise_resets()

    def _raise_resets(self) -> None:
        """Raises the error of a reset that failed while no one waited for it."""
        done = [reset for reset in self._resets if reset.done()]
        self._resets = [reset for reset in self._resets if reset not in done]
        for reset in done:
            reset.result()
