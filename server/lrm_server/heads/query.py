"""Queries and replies of stateless scoring: what is asked, what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lrm_server.frames import Frame
from lrm_server.heads.profile import Readout, Role, Use


@dataclass(frozen=True, slots=True)
class WindowFrame:
    """One frame of a video window, with the name of its camera."""

    frame: Frame
    view: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One stateless question to one head.

    Attributes:
        head: which head is asked.
        task: the task in words; not empty.
        frames: frames by role.
        window: frames of a video head, oldest first.
        fps: frames per second of the window.
        readout: how to read; the checkpoint's default when None.
        use: which number becomes the value; the label's value when None.
        swap: ask a pair in both orders and average the log-odds.
        margin: for pairs, |p - 0.5| below it is undecided; the profile's when None.
        return_text: also return what the model wrote.
        deadline: time.monotonic() seconds after which nobody waits for the
            answer; None for no deadline.
    """

    head: str
    task: str
    frames: Mapping[Role, Frame] = field(default_factory=dict)
    window: tuple[WindowFrame, ...] = ()
    fps: float | None = None
    readout: Readout | None = None
    use: Use | None = None
    swap: bool = False
    margin: float | None = None
    return_text: bool = False
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class Timings:
    """Milliseconds by the server's monotonic clock."""

    decode_ms: float = 0.0
    queue_ms: float = 0.0
    engine_ms: float = 0.0
    total_ms: float = 0.0


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
        text: what the model wrote.
        readout: how it was read.
        model: fingerprint of the checkpoint.
        profile: digest of the profile.
        timings: where the time went.
    """

    head: str
    probabilities: Mapping[str, float] = field(default_factory=dict)
    label_mass: float | None = None
    label: str = ""
    expected: float | None = None
    value: float
    confidence: float | None = None
    components: Mapping[str, Reply] = field(default_factory=dict)
    text: str | None = None
    readout: Readout
    model: str = ""
    profile: str = ""
    timings: Timings = Timings()
