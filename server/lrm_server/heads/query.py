"""Queries and replies of stateless scoring: what is asked, what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lrm_server.engine.protocol import NO_TOKENS, TokenCounts
from lrm_server.frames import Frame
from lrm_server.heads.profile import Readout, Role, Use
from lrm_server.heads.subtasks import Subtask
from lrm_server.heads.window import Window


@dataclass(frozen=True, slots=True)
class WindowFrame:
    """One frame of a video window.

    Attributes:
        frame: what is seen.
        view: name of the camera, where there are several.
        index: its number on the video's axis of time, at the query's frames per
            second; its place in the window when None.
    """

    frame: Frame
    view: str = ""
    index: int | None = None


def placeholder_window(window: Window | None, frame: Frame) -> tuple[WindowFrame, ...]:
    """The shortest window that a head looks at, of one frame; () for a head of single frames."""
    if window is None:
        return ()
    return tuple(
        WindowFrame(frame, str(view))
        for view in range(window.views)
        for _ in range(window.min_frames)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One stateless question to one head.

    Attributes:
        head: which head is asked.
        task: the task in words; not empty.
        frames: frames by role.
        window: frames of a video head, oldest first; of several views, each view's
            frames in that order.
        other_window: a second window, for heads that compare two.
        fps: frames per second of the window's axis of time.
        readout: how to read; the checkpoint's default when None.
        use: which number becomes the value; the label's value when None.
        swap: ask a pair in both orders and average the log-odds.
        margin: for pairs, |p - 0.5| below it is undecided; the profile's when None.
        return_text: also return what the model wrote.
        scene: what stands around the robot, in words, for heads that plan; others are
            not told.
        subtasks: of the task, in order, for heads that ask about them; made by a model
            when empty.
        deadline: time.monotonic() seconds after which nobody waits for the
            answer; None for no deadline.
    """

    head: str
    task: str
    frames: Mapping[Role, Frame] = field(default_factory=dict)
    window: tuple[WindowFrame, ...] = ()
    other_window: tuple[WindowFrame, ...] = ()
    fps: float | None = None
    readout: Readout | None = None
    use: Use | None = None
    swap: bool = False
    margin: float | None = None
    return_text: bool = False
    scene: str = ""
    subtasks: tuple[Subtask, ...] = ()
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class Timings:
    """Milliseconds by the server's monotonic clock."""

    decode_ms: float = 0.0
    queue_ms: float = 0.0
    engine_ms: float = 0.0
    total_ms: float = 0.0


_NOTHING: Final[Mapping[str, Any]] = {}


def _nothing() -> Mapping[str, Any]:
    """The same for all replies: episodes keep many of them."""
    return _NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The answer to a query; as the specification names its fields.

    Attributes:
        head: which head answered.
        probabilities: label -> probability, summing to 1; empty for the readout
            generate and for composite heads.
        label_mass: share of the model's probability on the labels, in [0, 1].
        label: the most probable label, ``undecided``, or "" for composite heads.
        expected: probability-weighted value; None for the readout generate.
        value: the reward that the head gives.
        confidence: probability of ``label``.
        components: replies of the parts of a composite head.
        series: name -> a value for each frame of the window, as it was sent; None for
            frames that the head was not shown. Empty for heads that give one value.
        log_probability: of the label, for heads that are paid by it; <= 0.
        text: what the model wrote.
        readout: how it was read.
        model: fingerprint of the checkpoint.
        profile: digest of the profile.
        timings: where the time went.
        tokens: of all that the model was asked; ``NO_TOKENS`` where nobody counts.
    """

    head: str
    probabilities: Mapping[str, float] = field(default_factory=_nothing)
    label_mass: float | None = None
    label: str = ""
    expected: float | None = None
    value: float
    confidence: float | None = None
    components: Mapping[str, Reply] = field(default_factory=_nothing)
    series: Mapping[str, tuple[float | None, ...]] = field(default_factory=_nothing)
    log_probability: float | None = None
    text: str | None = None
    readout: Readout
    model: str = ""
    profile: str = ""
    timings: Timings = Timings()
    tokens: TokenCounts = NO_TOKENS
