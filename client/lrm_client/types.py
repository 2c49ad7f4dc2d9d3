"""What goes into a call and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TypedDict

from lrm_client.clock import Hold, Phase, Source
from lrm_client.errors import LrmError
from lrm_client.frames import FrameLike
from lrm_client.subtasks import Subtask


class Readout(str, Enum):
    """How the model's answer is read."""

    LIKELIHOOD = "likelihood"
    """The probability of each label at the answer slot."""
    REASON_THEN_READ = "reason_then_read"
    """The model reasons up to the slot, then as likelihood."""
    GENERATE = "generate"
    """The model writes everything and the text is parsed; no probabilities."""


class Use(str, Enum):
    """Which number of an answer becomes the reward."""

    LABEL = "label"
    """The value of the most probable label, the published form."""
    EXPECTED = "expected"
    """The probability-weighted value."""


@dataclass(frozen=True, slots=True, eq=False)
class WindowFrame:
    """A frame of a video head's window.

    Attributes:
        frame: what is seen.
        view: name of the camera, where there are several.
        index: its number on the video's own axis of time, at the query's ``fps``; its
            place in the window when None.
    """

    frame: FrameLike
    view: str = ""
    index: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """One stateless question to a head.

    Frames are what ``lrm_client.frames.encode_frame`` takes. A frame that serves
    several queries of a batch travels once when it is the same object.

    Attributes:
        head: contrastive, progress, completion, tri, or another that is served.
        task: the task in words.
        current: the frame that is judged.
        previous: the frame to compare with, for contrastive.
        initial: the first frame of the episode, where the head looks at it.
        goal: a frame of the goal, where the head looks at it.
        window: frames of a video head, oldest first.
        other_window: a second window, for heads that compare two.
        fps: frames per second of the windows.
        readout: None for the checkpoint's default.
        use: None for the label's value.
        swap: contrastive: ask both orders and average their log-odds.
        margin: contrastive: |p(current) - 0.5| below it is undecided. In [0, 0.5].
        return_text: whether the reply carries what the model wrote.
        scene: what stands around the robot, in words, for heads that plan.
        subtasks: of the task, in order, for heads that measure progress over them; made by
            the server's text model when empty.
    """

    head: str
    task: str
    current: FrameLike | None = None
    previous: FrameLike | None = None
    initial: FrameLike | None = None
    goal: FrameLike | None = None
    window: Sequence[FrameLike | WindowFrame] = ()
    other_window: Sequence[FrameLike | WindowFrame] = ()
    fps: float | None = None
    readout: Readout | str | None = None
    use: Use | str | None = None
    swap: bool = False
    margin: float | None = None
    return_text: bool = False
    scene: str = ""
    subtasks: Sequence[Subtask] = ()


class QueryOptions(TypedDict, total=False):
    """What a query may say beside its head, its task and its main frames; see ``Query``."""

    initial: FrameLike | None
    goal: FrameLike | None
    readout: Readout | str | None
    use: Use | str | None
    swap: bool
    margin: float | None
    return_text: bool
    scene: str
    subtasks: Sequence[Subtask]


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the server's time went, in milliseconds."""

    decode_ms: float = 0.0
    queue_ms: float = 0.0
    engine_ms: float = 0.0
    total_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of all that the model was asked for a reply.

    Attributes:
        prompt: of the prompts, frames included.
        cached: how many of those were known from earlier prompts and not computed again.
        written: by the model, of its own; reading a label writes nothing.
    """

    prompt: int
    cached: int
    written: int


@dataclass(frozen=True, slots=True)
class Reply:
    """A head's answer to one query.

    Attributes:
        head: the head that was asked.
        value: what the head gives as reward.
        label: the most probable label, ``undecided`` within the margin; empty for
            composite heads.
        probabilities: label to probability, summing to 1 over the head's labels; empty
            for composite heads and when the readout was generate.
        label_mass: share of the model's probability that fell on the labels.
        expected: probability-weighted value; None when the readout was generate.
        confidence: probability of ``label``.
        components: for composite heads: the parts' replies by head.
        series: of heads that give a value for each frame of their window, by name; None
            for a frame that the head was not shown.
        log_probability: of the label, for heads that are paid by it; natural, at most 0.
        text: what the model wrote, when it was asked for.
        readout: how the answer was read.
        model: fingerprint of the checkpoint.
        profile: digest of the profile.
        timings: the server's.
        tokens: None where the server does not count them.
    """

    head: str
    value: float
    label: str = ""
    probabilities: Mapping[str, float] = field(default_factory=dict)
    label_mass: float | None = None
    expected: float | None = None
    confidence: float | None = None
    components: Mapping[str, Reply] = field(default_factory=dict)
    series: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    log_probability: float | None = None
    text: str | None = None
    readout: Readout | None = None
    model: str = ""
    profile: str = ""
    timings: Timings = Timings()
    tokens: Tokens | None = None


@dataclass(frozen=True, slots=True)
class EpisodeSpec:
    """What is fixed when an episode opens; see ``lrm_client.clock`` for the clock's part.

    Attributes:
        task: the task in words.
        heads: the heads that are asked, in the order of the answers.
        interval: K >= 1; a query is due every K steps.
        scale: finite factor of every reward.
        hold: what a step pays from the held value.
        phase: where the multiples of the interval are counted from.
        offset: for ``Phase.ALIGNED``: due where (step + offset) is a multiple of K.
        use: None for the label's value.
        readout: None for the checkpoint's default.
        swap: contrastive: ask both orders.
        margin: contrastive: |p(current) - 0.5| below it is undecided.
        fps: steps per second, > 0; heads that see a video need it.
        id: chosen by the caller so that opening can be retried; made when empty.
        scene: as of ``Query``.
        subtasks: as of ``Query``.

    Raises:
        ValueError: heads that are no list of different names.
    """

    task: str
    heads: Sequence[str]
    interval: int = 10
    scale: float = 1.0
    hold: Hold | str = Hold.HOLD
    phase: Phase | str = Phase.EPISODE
    offset: int = 0
    use: Use | str | None = None
    readout: Readout | str | None = None
    swap: bool = False
    margin: float | None = None
    fps: float | None = None
    id: str = ""
    scene: str = ""
    subtasks: Sequence[Subtask] = ()

    def __post_init__(self) -> None:
        heads = tuple(self.heads)
        if isinstance(self.heads, str) or not heads or len(set(heads)) < len(heads):
            raise ValueError(f"heads must be a list of different names, not {self.heads!r}")
        object.__setattr__(self, "heads", heads)


class EpisodeOptions(TypedDict, total=False):
    """What an episode may say beside its task and its heads; see ``EpisodeSpec``."""

    interval: int
    scale: float
    hold: Hold | str
    phase: Phase | str
    offset: int
    use: Use | str | None
    readout: Readout | str | None
    swap: bool
    margin: float | None
    fps: float | None
    scene: str
    subtasks: Sequence[Subtask]


@dataclass(frozen=True, slots=True)
class OpenedEpisode:
    """An episode that is open: its id, its first due step, its heads' neutral values."""

    id: str
    next_query_step: int
    neutral: Mapping[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class EpisodeStep:
    """A step of an open episode.

    Attributes:
        episode: the episode's id.
        step: 0 is the reset observation.
        frame: needed at step 0 and at a step that is due; ignored at others.
        final: whether the episode is terminated or truncated with this step.
        force: query at this step whatever the clock says.
        request_id: names the attempt, so that a retry gets the same answer; made when empty.
    """

    episode: str
    step: int
    frame: FrameLike | None = None
    final: bool = False
    force: bool = False
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class HeadAnswer:
    """One head's part of the server's answer to a step.

    Attributes:
        head: the head's name.
        source: where the reward comes from.
        reward: scaled; None exactly when the source is failed.
        value: the held value; None exactly when the source is failed.
        age: steps since the value was queried; None before the first query.
        reply: present when the source is queried.
        error: present when the source is failed.
    """

    head: str
    source: Source
    reward: float | None = None
    value: float | None = None
    age: int | None = None
    reply: Reply | None = None
    error: LrmError | None = None


@dataclass(frozen=True, slots=True)
class StepReply:
    """The server's answer to a step; ``rewards`` by head, none at step 0.

    ``next_query_step`` is None when the episode has ended.
    """

    episode: str
    step: int
    rewards: Mapping[str, HeadAnswer]
    next_query_step: int | None
    timings: Timings = Timings()


@dataclass(frozen=True, slots=True)
class WindowInfo:
    """The window of frames that a head looks at.

    Attributes:
        media: ``video`` or ``images``.
        min_frames: least frames of each view.
        max_frames: most frames of each view that are shown; longer windows are thinned.
        views: cameras that look at the same moments.
    """

    media: str
    min_frames: int
    max_frames: int
    views: int


@dataclass(frozen=True, slots=True)
class HeadInfo:
    """A head that is served, and what it looks at; ``window`` is None for single frames."""

    name: str
    profile: str
    profile_digest: str
    default_readout: Readout | None
    labels: Mapping[str, float]
    required_frames: tuple[str, ...]
    optional_frames: tuple[str, ...]
    neutral: float
    adapter: str
    window: WindowInfo | None = None


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A checkpoint that is served; ``description`` says what it was trained on."""

    id: str
    fingerprint: str
    description: str
    heads: Mapping[str, HeadInfo]


@dataclass(frozen=True, slots=True)
class Limits:
    """What the server holds requests to. Sizes are bytes and pixels; 0 is not said."""

    max_message_bytes: int = 0
    max_frame_bytes: int = 0
    max_frame_pixels: int = 0
    max_batch: int = 0
    max_labels: int = 0
    max_trajectory_bytes: int = 0
    max_trajectory_frames: int = 0


@dataclass(frozen=True, slots=True)
class ServedModels:
    """What a server serves, its limits and its version."""

    models: tuple[ModelInfo, ...]
    limits: Limits
    version: str
