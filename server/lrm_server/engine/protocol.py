"""What the heads ask of an engine. This module imports neither vLLM nor torch.

An engine turns a question (a user's turn with frames, an answer prefix, labels)
into probabilities of the labels, or writes text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, TypeAlias

from lrm_server.frames import Frame


@dataclass(frozen=True, slots=True)
class FrameSlot:
    """A frame's place in the user's turn.

    Attributes:
        frame: what stands there.
        name: its role, which an error about it names; "" when it has none.
    """

    frame: Frame
    name: str = ""


@dataclass(frozen=True, slots=True)
class VideoSlot:
    """A video's place in the user's turn.

    Attributes:
        frames: at least one, in the order of time, of one size.
        times: of each frame, seconds since the video began.
        names: of each frame, what an error about it names; () for no names.
    """

    frames: tuple[Frame, ...]
    times: tuple[float, ...]
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.frames or len(self.frames) != len(self.times):
            raise ValueError(f"{len(self.frames)} frames at {len(self.times)} times are no video")


TurnPart: TypeAlias = str | FrameSlot | VideoSlot


def frames_of(parts: Iterable[object]) -> list[Frame]:
    """All frames of a turn, in order."""
    frames: list[Frame] = []
    for part in parts:
        if isinstance(part, FrameSlot):
            frames.append(part.frame)
        elif isinstance(part, VideoSlot):
            frames += part.frames
    return frames


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """How an answer stands in the assistant's turn: ``prefix`` + label + ``terminator``.

    Attributes:
        prefix: what is written before the label; it holds ``stop``.
        stop: where a model that writes by itself is stopped: as much of the prefix
            as it must spell in just this way. What follows of the prefix is forced.
        labels: what the model writes for each label; distinct.
        terminator: what closes a label.
        max_tokens: bound on what the model writes of its own.
        in_user_turn: the answer goes on in the user's turn, which stays open.
    """

    prefix: str
    labels: tuple[str, ...]
    terminator: str
    max_tokens: int
    stop: str = ""
    in_user_turn: bool = False

    def __post_init__(self) -> None:
        if not self.stop:
            object.__setattr__(self, "stop", self.prefix)
        if self.stop not in self.prefix:
            raise ValueError(f"the prefix {self.prefix!r} does not hold {self.stop!r}")


@dataclass(frozen=True, slots=True)
class Question:
    """One question to one model.

    Attributes:
        parts: the user's turn, texts and frames in order.
        form: how the answer stands.
        adapter: LoRA adapter that answers, or None for the base weights.
        deadline: time.monotonic() seconds after which the answer is not wanted.
    """

    parts: tuple[TurnPart, ...]
    form: AnswerForm
    adapter: str | None = None
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class EngineTimings:
    """Milliseconds: frames to patches, waiting for admission, in the engine."""

    decode_ms: float = 0.0
    queue_ms: float = 0.0
    engine_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Tokens of the requests that a question took.

    Attributes:
        prompt: of their prompts, those of frames included.
        cached: how many of them the engine knew from earlier prompts and did not compute.
        written: by the model, of its own; reading a label writes nothing.
    """

    prompt: int = 0
    cached: int = 0
    written: int = 0

    @property
    def computed(self) -> int:
        """Tokens of prompts that the engine computed."""
        return self.prompt - self.cached

    def __add__(self, other: TokenCounts) -> TokenCounts:
        return TokenCounts(
            self.prompt + other.prompt, self.cached + other.cached, self.written + other.written
        )


NO_TOKENS: Final = TokenCounts()
"""Where nobody counts."""


@dataclass(frozen=True, slots=True)
class LabelReading:
    """Log-probabilities of the labels at the answer slot.

    Attributes:
        logprobs: natural logarithm of the model's own probability of each label,
            unnormalised, in the form's order.
        text: what the model wrote before the slot, "" when the slot was forced.
        timings: where the time went.
        tokens: of all that was asked.
    """

    logprobs: tuple[float, ...]
    text: str
    timings: EngineTimings
    tokens: TokenCounts = NO_TOKENS


@dataclass(frozen=True, slots=True)
class Generation:
    """What the model wrote.

    Attributes:
        text: without special tokens.
        complete: False when ``max_tokens`` cut it off.
        timings: where the time went.
        tokens: of all that was asked.
    """

    text: str
    complete: bool
    timings: EngineTimings
    tokens: TokenCounts = NO_TOKENS


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation: texts and frames in order."""

    role: Literal["system", "user", "assistant"]
    parts: tuple[TurnPart, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """Asks a model to write the next turn, whatever it is about.

    Attributes:
        messages: in order; the last one is the user's.
        max_tokens: bound on what it writes; as many as the model takes when None.
        temperature: of sampling; at 0 the most probable token is taken.
        top_p: share of the probability that tokens are drawn from, in (0, 1].
        stop: texts at which it stops; they are not part of what it wrote.
        seed: of sampling; None for another one each time.
        model: id of the model that writes; the first that is served when "".
        adapter: LoRA adapter that answers, or None for the base weights.
        deadline: time.monotonic() seconds after which the answer is not wanted.
    """

    messages: tuple[Message, ...]
    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    model: str = ""
    adapter: str | None = None
    deadline: float | None = None

    @property
    def parts(self) -> tuple[TurnPart, ...]:
        """All texts and frames, in order."""
        return tuple(part for message in self.messages for part in message.parts)


@dataclass(frozen=True, slots=True)
class Written:
    """The turn that a model wrote.

    Attributes:
        text: without special tokens, and without the stop that ended it.
        finish_reason: ``length`` when ``max_tokens`` or the model's length cut it off.
        prompt_tokens: that the conversation takes, those of its frames included.
        completion_tokens: that were written.
        timings: where the time went.
    """

    text: str
    finish_reason: Literal["stop", "length"]
    prompt_tokens: int
    completion_tokens: int
    timings: EngineTimings


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """Whether the engine can answer, and what it is doing.

    Attributes:
        ready: whether it can answer; of several engines, whether all can.
        reason: why not, or "".
        running: sequences that it is working on.
        waiting: sequences that wait.
        engines: how each of several engines is, by its name.
        queued: questions that wait, by priority; empty where nobody queues.
    """

    ready: bool
    reason: str
    running: int
    waiting: int
    engines: Mapping[str, EngineStatus] = field(default_factory=dict)
    queued: Mapping[str, int] = field(default_factory=dict)


class Engine(Protocol):
    """Scores questions in batches; safe to call from many tasks at once.

    Every method raises DomainError: OVERLOADED before work is done,
    DEADLINE_EXCEEDED, UNAVAILABLE while the engine is down, LABEL_SET_TOO_LARGE,
    ANSWER_NOT_REACHED, IMAGE_UNDECODABLE. Cancelling the caller aborts the work.
    """

    @property
    def fingerprint(self) -> str:
        """Identifies the weights, adapters and preparation of frames."""
        ...

    @property
    def adapters(self) -> Mapping[str, str]:
        """Adapter name -> path of those that are loaded."""
        ...

    async def read_forced(self, question: Question) -> LabelReading:
        """Forces the answer prefix and reads the labels at the slot."""
        ...

    async def read_after_reasoning(self, question: Question) -> LabelReading:
        """Lets the model write up to the prefix, then reads the labels at the slot."""
        ...

    async def generate(self, question: Question) -> Generation:
        """Lets the model write its whole answer."""
        ...

    async def converse(self, conversation: Conversation) -> Written:
        """Lets the model write the next turn of a conversation."""
        ...

    async def status(self) -> EngineStatus:
        """Asks the engine itself, not a flag beside it."""
        ...
