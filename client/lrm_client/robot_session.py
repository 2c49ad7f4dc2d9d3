"""Rewards inside a robot's control loop, which they never hold up.

::

    with client.robot_session(task, ["progress"], rate_hz=10, max_age_s=0.5) as session:
        session.reset(camera())
        while running():
            reading = session.observe(camera())
            act(reading.reward if reading.fresh else None)
            session.rate.sleep()
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Thread
from types import TracebackType
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from lrm_client.clock import ClockConfig, Hold, Phase, Source
from lrm_client.connection import Retry
from lrm_client.episodes import FrameSource
from lrm_client.errors import DeadlineExceeded, FrameRequired, LrmError, Overloaded, Unavailable
from lrm_client.flows import Sender
from lrm_client.frames import EncodedFrame, FrameLike, as_array
from lrm_client.newest import Newest
from lrm_client.rate import Rate
from lrm_client.readings import HeadReading, NoReward, Reading, SessionCounters
from lrm_client.robot_worker import RobotWorker
from lrm_client.types import EpisodeOptions, EpisodeSpec

if TYPE_CHECKING:
    from typing_extensions import Unpack

DEFAULT_MAX_AGE_S: Final = 1.0
DEFAULT_OPENING_S: Final = 10.0

logger = logging.getLogger(__name__)

_MARGIN_S: Final = 1.0
"""What ``close`` waits for beyond the deadlines of calls."""


class RobotOptions(EpisodeOptions, total=False):
    """What ``RobotSession`` may be told by name, beside its rate."""

    max_age_s: float
    timeout_s: float | None
    backoff: Retry | None
    clock: Callable[[], float]


class RobotSession:
    """The episodes of one robot, observed at every tick of its control loop.

    ``observe`` hands over the newest frame and returns the newest reward, both at once; a
    thread encodes and sends. The number of the tick is the episode's step, and the episode
    clock says at which ticks a frame is wanted. One call is in flight at most. A wanted
    frame that could not be sent before the next tick gives way to that tick's, whose step
    is then due instead: a slow server makes rewards rarer, and no frame waits in a queue.

    Each frame travels in a call of its own, on both transports. A stream would save some
    two tenths of a millisecond a frame, but has one deadline for all that it carries, and
    an answer that is late in it holds up those behind it.

    A reward names its step and its age, which counts from when ``observe`` was given the
    frame. One that is older than ``max_age_s`` is not returned. While the server is away
    or starts again, readings say so; the episode is opened again from the frames that are
    kept here.

    ``observe``, ``latest`` and ``counters`` never wait for a call or an encoding, so they
    can be used on an event loop as well. One thread uses a session; ``counters`` is for any.

    Args:
        client: a ``RewardClient``. It stays open when the session is closed.
        task: the task in words.
        heads: the heads that are asked; a reading shows the first one's reward first.
        rate_hz: ticks a second of the control loop.
        max_age_s: seconds above which a reward is refused.
        timeout_s: deadline of a call for each frame that it brings, which is one but when
            an episode is opened again; ``max_age_s`` unless told otherwise, as what a later
            answer brings would be refused.
        backoff: bounds of the waits after calls that failed.
        clock: seconds on a clock that never goes back, for ages.
        interval: K >= 1; a frame is wanted every K ticks. 1 unless told otherwise, so that
            frames follow each other as fast as the server answers. Contrastive sees more
            of a change with a longer interval.
        scale: finite factor of every reward.
        hold: what a queried step pays. With another mode than ``hold``, add up only the
            rewards of readings whose source is queried.
        phase: where the multiples of the interval are counted from.
        offset: for ``Phase.ALIGNED``: due where (tick + offset) is a multiple of K.
        use: None for the label's value.
        readout: None for the checkpoint's default.
        swap: contrastive: ask both orders.
        margin: contrastive: |p(current) - 0.5| below it is undecided.
        fps: steps per second; heads that see a video need it.

    Raises:
        ValueError: an argument out of range, or an interval that is longer than a reward
            may be old.
    """

    def __init__(
        self,
        client: Sender,
        task: str,
        heads: Sequence[str],
        *,
        rate_hz: float,
        max_age_s: float = DEFAULT_MAX_AGE_S,
        timeout_s: float | None = None,
        backoff: Retry | None = None,
        clock: Callable[[], float] = time.monotonic,
        **options: Unpack[EpisodeOptions],
    ) -> None:
        options.setdefault("interval", 1)
        spec = EpisodeSpec(task, heads, **options)
        config = ClockConfig(
            spec.interval, spec.scale, Hold(spec.hold), Phase(spec.phase), spec.offset
        )
        timeout_s = max_age_s if timeout_s is None else timeout_s
        for name, seconds in (("max_age_s", max_age_s), ("timeout_s", timeout_s)):
            if not 0 < seconds < math.inf:
                raise ValueError(f"{name} must be finite and positive, not {seconds}")
        self.rate = Rate(rate_hz)
        """Paces the loop, if it is asked to: ``session.rate.sleep()``."""
        if spec.interval / rate_hz >= max_age_s:
            raise ValueError(
                f"a reward every {spec.interval} ticks at {rate_hz:g} Hz is renewed after "
                f"{spec.interval / rate_hz:g} s at best, and max_age_s is {max_age_s:g}: lower "
                "the interval or raise max_age_s"
            )
        self._heads = tuple(spec.heads)
        self._max_age_s = max_age_s
        # The call under way opens the episode again, with the initial frame, each head's last
        # and the newest; then comes the one that closes it.
        self._closing_s = (len(self._heads) + 3) * timeout_s + _MARGIN_S
        self._clock = clock
        self._newest = Newest(config, self._heads)
        worker = RobotWorker(client, spec, self._newest, timeout_s, backoff or Retry())
        # A thread that a server keeps hanging in spite of the deadline must not keep the
        # program from ending; ``close`` ends any other.
        self._thread = Thread(target=worker.work, name="lrm-robot-session", daemon=True)
        self._shown: dict[str, int] = {}

    @property
    def counters(self) -> SessionCounters:
        """What became of the frames so far."""
        return replace(self._newest.counters(), overruns=self.rate.overruns)

    def reset(
        self, frame: FrameLike, *, task: str | None = None, wait_s: float = DEFAULT_OPENING_S
    ) -> None:
        """Begins an episode with its initial frame, at tick 0; a running one is closed.

        Answers to frames of the episode before will not appear in this one's readings.

        Args:
            frame: uint8 (H, W, 3) RGB, or whatever else ``FrameEncoder.encode`` takes.
            task: another task from this episode on; None for the same.
            wait_s: seconds to wait until the episode is open; 0 returns at once.

        Raises:
            LrmError: the episode is not open in that time. The session goes on trying, and
                ``observe`` can be called meanwhile.
            InvalidRequest: the frame is no frame.
            EpisodeNotFound: the session is closed.
        """
        self._newest.begin(_kept(frame), task)
        self._shown.clear()
        if self._thread.ident is None:
            self._thread.start()
        try:
            if wait_s > 0:
                self._wait_open(wait_s)
        finally:
            self.rate.start()

    def observe(self, frame: FrameSource = None, *, final: bool = False) -> Reading:
        """Takes the next tick and returns the newest reward, without waiting for anything.

        What a frame holds is judged by the thread that encodes it: one that cannot be sent
        is a failure that later readings tell of, and does not stop the loop.

        Args:
            frame: the observation of this tick, or what takes it, which is called only
                when it is wanted; None when the camera gave none. It is copied, so its
                memory may be used again.
            final: whether the episode ends here. The frame is then wanted; ``latest``
                returns its reward when it has come.

        Raises:
            FrameRequired: the final tick has no frame. It is not taken.
            InvalidRequest: the frame is neither an array nor an image nor bytes. The tick is
                not taken.
            EpisodeEnded: the final tick was taken before.
            EpisodeNotFound: before the first reset, or once closed.
        """
        now = self._clock()
        given: FrameLike | None = None
        if self._newest.wants(final):
            given = frame() if callable(frame) else frame
        if final and given is None:
            raise FrameRequired("the final tick came without a frame")
        self._newest.tick(now, None if given is None else _kept(given), final)
        return self._read(now)

    def latest(self, *, wait_s: float = 0.0) -> Reading:
        """The newest reward once more, without a tick; its age is that of this moment.

        Args:
            wait_s: seconds to wait at most until every frame that was handed over is
                answered or has failed.
        """
        if wait_s > 0:
            self._newest.wait_idle(wait_s)
        return self._read(self._clock())

    def close(self) -> None:
        """Closes the episode and ends the thread; closing twice is no error.

        Waits for the call that is under way and for the one that closes the episode, until
        their deadlines. A frame that was not sent yet is dropped: ``latest`` waits for the
        last one.
        """
        self._newest.close()
        if self._thread.ident is not None:
            self._thread.join(self._closing_s)
        if self._thread.is_alive():
            logger.warning("the server outlasts its deadline; a call to it is left behind")

    def __enter__(self) -> RobotSession:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _wait_open(self, seconds: float) -> None:
        is_open, error = self._newest.wait_open(seconds)
        if not is_open:
            raise error or DeadlineExceeded(f"the episode is not open after {seconds:g} s")

    def _read(self, now: float) -> Reading:
        tick, answers, errors = self._newest.view()
        heads: dict[str, HeadReading] = {}
        for head in self._heads:
            answer, error = answers.get(head), errors.get(head)
            if answer is None:
                reason = _reason(error) or NoReward.NOT_ANSWERED
                heads[head] = HeadReading(
                    math.nan, False, None, None, None, None, None, reason, error
                )
                continue
            step, age_s = answer.tick, now - answer.taken_at
            if age_s > self._max_age_s:
                reason = _reason(error) or NoReward.TOO_OLD
                heads[head] = HeadReading(
                    math.nan, False, step, tick - step, age_s, None, None, reason, error
                )
                continue
            source = Source.HELD if self._shown.get(head) == step else Source.QUERIED
            self._shown[head] = step
            paid, reply = answer.step.reward, answer.step.reply
            heads[head] = HeadReading(
                paid, True, step, tick - step, age_s, source, reply, None, error
            )
        return Reading(tick, heads, self._max_age_s)


def _reason(error: LrmError | None) -> NoReward | None:
    if error is None:
        return None
    away = isinstance(error, Unavailable | DeadlineExceeded | Overloaded)
    return NoReward.UNAVAILABLE if away else NoReward.FAILED


def _kept(frame: FrameLike) -> FrameLike:
    """The frame as it is now, whatever its owner does to it afterwards."""
    if isinstance(frame, EncodedFrame | bytes):
        return frame
    if isinstance(frame, bytearray | memoryview):
        return bytes(frame)
    if isinstance(frame, Image.Image):
        return frame.copy()
    return np.array(as_array(frame))
