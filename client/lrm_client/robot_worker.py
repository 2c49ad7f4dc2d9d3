"""The thread that encodes and sends a robot session's frames, one call at a time."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Final

from lrm_client import calls
from lrm_client.attempts import spread
from lrm_client.clock import due_heads
from lrm_client.connection import CLOSE, Call, ResultT, Retry
from lrm_client.episode_calls import EpisodeCalls
from lrm_client.episode_table import EpisodeTable
from lrm_client.errors import InvalidRequest, LrmError, ModelError, Overloaded, Unavailable
from lrm_client.flows import Sender, run
from lrm_client.frames import EncodedFrame, FrameEncoder
from lrm_client.newest import Newest, Opening, Snapshot
from lrm_client.rewards import HeadStep
from lrm_client.types import EpisodeSpec
from lrm_client.wire import reward_pb2 as pb

logger = logging.getLogger(__name__)

_OF_FRAME: Final = (InvalidRequest, ModelError)
_ROBOT: Final = 0
"""The only environment of the table."""


class RobotWorker:
    """Opens a session's episodes and steps them with the newest frames.

    After a call that failed it waits, ever longer and at random, before the next: the frame
    that it then sends is the newest of that moment. Attempts within a call, when the server
    is full or cannot be reached, repeat its frame.

    Args:
        client: makes the calls.
        spec: of every episode; a reset may replace its task.
        newest: what there is to send, and where the answers go.
        timeout_s: deadline of each call, in seconds for each frame that it brings.
        backoff: bounds of the waits.
    """

    def __init__(
        self,
        client: Sender,
        spec: EpisodeSpec,
        newest: Newest,
        timeout_s: float,
        backoff: Retry,
    ) -> None:
        self._sender = _DeadlineSender(client, newest, timeout_s)
        self._table = EpisodeTable(spec, [spec.task], EpisodeCalls(self._sender), "raise")
        self._newest = newest
        self._backoff = backoff
        self._failures = 0

    def work(self) -> None:
        """Works until the session is closed, then closes the episode on the server."""
        while (given := self._newest.next()) is not None:
            error = self._open(given) if isinstance(given, Opening) else self._step(given)
            # What was wrong with one frame need not be with the next.
            of_frame = isinstance(given, Snapshot) and isinstance(error, _OF_FRAME)
            if error is None or of_frame:
                self._failures = 0
                continue
            self._failures += 1
            if self._failures == 1:
                logger.warning("rewards are interrupted: %s: %s", error.code, error)
            self._newest.pause(self._wait(error), given.episode)
        run(self._table.close(), self._sender)

    def _wait(self, error: LrmError) -> float:
        """Seconds until the next attempt: at random, and at least what the server asks for."""
        told = error.retry_after_seconds if isinstance(error, Overloaded) else None
        return spread(self._backoff.bound(self._failures), told)

    def _open(self, opening: Opening) -> LrmError | None:
        tasks = {} if opening.task is None else {_ROBOT: opening.task}
        try:
            frame = self._sender.encoder.encode(opening.frame)
            if self._failures:
                # Every attempt to open leaves an episode to be closed, so a server that
                # is away is asked something else first.
                self._sender.send(calls.models())
            run(self._table.reset({_ROBOT: frame}, tasks, self._table.spec.offset), self._sender)
        except LrmError as error:
            self._newest.not_opened(opening, error)
            return error
        except Exception as error:
            wrapped = _unexpected(error)
            self._newest.not_opened(opening, wrapped)
            return wrapped
        self._newest.opened(opening)
        return None

    def _step(self, snapshot: Snapshot) -> LrmError | None:
        clocks = self._table.clocks
        try:
            frame = self._sender.encoder.encode(snapshot.frame)
            heads = self._take(snapshot, frame)
        except LrmError as error:
            self._newest.not_sent(snapshot, error, clocks.states[_ROBOT])
            return error
        except Exception as error:
            wrapped = _unexpected(error)
            self._newest.not_sent(snapshot, wrapped, clocks.states[_ROBOT])
            return wrapped
        self._newest.answered(snapshot, heads, clocks.states[_ROBOT])
        errors = [part.error for part in heads.values()]
        # One head that answered shows that the server does.
        return None if None in errors else errors[0]

    def _take(self, snapshot: Snapshot, frame: EncodedFrame) -> dict[str, HeadStep]:
        """Takes the step of a tick; those between it and the last one that was sent are a gap."""
        table, clocks, final = self._table, self._table.clocks, snapshot.final
        clocks.check_running([_ROBOT])
        config, state = clocks.configs[_ROBOT], clocks.states[_ROBOT]
        due = due_heads(config, state, snapshot.tick, final=final)
        force = len(due) == len(state.heads)
        # The table takes the step after its last. With the gap it forgets whether a
        # scheduled step lay in it, which made this one due for every head.
        clocks.states[_ROBOT] = state._replace(step=snapshot.tick - 1)
        step = table.step([_ROBOT], lambda _: {_ROBOT: frame}, [final], [force])
        try:
            rows, _ = run(step, self._sender)
        except Exception:
            clocks.states[_ROBOT] = state
            raise
        return rows[0]


class _DeadlineSender:
    """The client with a robot's deadline and priority on every call; once closed, for closing.

    A call that opens an episode again asks several frames, one after the other: with the
    time of one it might fail for ever.
    """

    def __init__(self, client: Sender, newest: Newest, timeout_s: float) -> None:
        self._client = client
        self._newest = newest
        self._timeout_s = timeout_s

    @property
    def encoder(self) -> FrameEncoder:
        """The client's."""
        return self._client.encoder

    @property
    def max_message_bytes(self) -> int:
        """The client's."""
        return self._client.max_message_bytes

    def send(self, call: Call[ResultT]) -> ResultT:
        """Sends a prepared call and reads its response."""
        if self._newest.closed and call.method is not CLOSE:
            raise Unavailable("the session is closed")
        steps = call.request.steps if isinstance(call.request, pb.StepEpisodesRequest) else ()
        frames = sum(step.HasField("frame") for step in steps)
        timeout = self._timeout_s * max(1, frames)
        return self._client.send(replace(call, timeout=timeout, priority="interactive"))


def _unexpected(error: Exception) -> LrmError:
    """What has no place among our errors ends neither the thread nor the robot's loop."""
    logger.error("a robot session's thread goes on after an error", exc_info=error)
    return LrmError(f"the session failed: {error!r}")
