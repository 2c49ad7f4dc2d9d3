"""The episodes of N environments that are stepped together."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from lrm_client.connection import ResultT
from lrm_client.flows import Flow, Sender, run
from lrm_client.in_flight import Load, Room, size
from lrm_client.rewards import Rewards, RolloutRewards
from lrm_client.submitting import HandleBase, Submitting
from lrm_client.vector_base import FramesSource, VectorOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack


class StepHandle(HandleBase[Future[Any]]):
    """A submitted step, whose rewards ``VectorEpisodes.gather`` returns.

    It keeps the step's rewards, with the server's replies, until it is dropped. It keeps
    no frame.
    """

    def wait(self) -> None:
        """Waits until the step is answered or has failed."""
        wait([self._pending])


class VectorEpisodes(Submitting[Future[Any]]):
    """N environments on the client's clock, one call to the server for all that are due.

    Steps that need no query are answered here, without the server. With
    ``Phase.ALIGNED``, environments that are reset at different steps are due together.
    An environment that ends with a step is reset, with its new initial frame, before its
    next step; the frame of a final step is the one before the reset. Not for several
    threads at once.

    What is held: of every running episode the initial frame, the frame of each head's last
    successful query and those of at most two steps whose answer was lost, which is what
    opens it again on a server that forgot it. Of submitted steps and of resets behind them
    the encoded frames, from ``submit`` until the server has answered or the step has
    failed, no more than ``max_in_flight_bytes`` and those of the one call that waits for
    room; what is being sent is copied into its message. Rewards are held by their handles
    alone. Every call has a deadline, so that a server that hangs holds nothing for ever.

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
        fps: steps per second; heads that see a video need it.
        max_in_flight_queries: how many queries may be submitted and not answered, one for
            each head of each environment; 4096 unless told otherwise. A step that is
            larger by itself goes alone.
        max_in_flight_bytes: as many bytes of encoded frames; 256 MiB.
        max_in_flight_steps: as many steps, also those that ask nothing, and resets; 4096.

    Raises:
        TypeError: a number that is no integer where one is needed.
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
        self._room = Room(self._bounds)

    def reset(
        self,
        frames: FramesSource,
        mask: ArrayLike | None = None,
        *,
        task: str | Sequence[str] | None = None,
    ) -> None:
        """Begins episodes with their initial frames; running ones are closed.

        While submitted steps are pending, the reset is submitted behind them, and an error
        of it is raised by the next ``gather`` or ``step``.

        Args:
            frames: uint8 (N, H, W, 3), or what renders the frames of given environments.
            mask: bool (N,): which environments; None for all.
            task: the tasks from these episodes on; None for the same.

        Raises:
            LrmError: an episode could not be opened. After the first reset, the policies
                ``hold`` and ``mask`` leave the opening to the first due step instead.
        """
        encoded, offset = self._initial(frames, mask), self._offset()
        flow = self._reset(encoded, task, offset)
        if self._settled():
            run(flow, self._client)
            return
        load = Load(0, size(encoded.values()))
        self._room.acquire(load)
        self._begin_ahead(encoded, offset)
        self._resets.append(self._queue(flow, load))

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
        up to the next one whose frame was taken. Steps are sent in their order, each when
        the one before is answered. Where what is in flight has reached a bound, this waits
        for the oldest, so that a slow server slows the rollout.

        Raises:
            FrameRequired: a step is due and there are no frames. No step is taken.
            InvalidRequest: frames or flags of another shape or type. No step is taken.
            EpisodeEnded: an environment took its final step and was not reset.
            EpisodeNotFound: an environment was never reset.
        """
        step = self._submission(frames, final, force, mask)
        self._room.acquire(step.load)
        self._foresee(step)
        return StepHandle(self._queue(self._taking(step), step.load), self)

    def gather(self, handles: Sequence[StepHandle]) -> RolloutRewards:
        """Waits for submitted steps and returns their rewards, (T, N) for T handles.

        Row t is the step of handle t, whatever the order of the handles; ``step`` names
        it. A handle may be gathered again, and gives the same.

        Raises:
            RewardsFailed: some environments have no reward at some steps, and the policy
                is ``raise``.
            InvalidRequest: a handle of other episodes.
            LrmError: a reset that waited behind submitted steps failed.
        """
        self._check_handles(handles)
        for handle in handles:
            handle.wait()
        return self._gathered(handles)

    def close(self) -> None:
        """Waits for pending steps and closes all episodes on the server.

        Closing twice is no error. Left by an exception, the ``with`` statement gives up
        the steps that were not sent yet; gathering one of them raises.
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
        if error is not None:
            self._abandon()
        self.close()

    def _queue(self, flow: Flow[ResultT], load: Load) -> Future[ResultT]:
        """Runs work behind what is pending, on one thread, which keeps the steps' order."""
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, "lrm-episodes")
        future = self._worker.submit(run, flow, self._client)
        future.add_done_callback(lambda _: self._room.release(load))
        self._pending.append(future)
        return future

    def _drain(self) -> None:
        wait(self._pending)
        self._settled()
        self._raise_resets()
