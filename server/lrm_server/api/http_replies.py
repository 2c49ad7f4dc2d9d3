"""The JSON that HTTP answers with."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from lrm_server.api.http_models import ReadoutWord


def absent(value: object) -> bool:
    """Whether a field is left out of the JSON."""
    return value is None


def _empty(value: dict[str, object]) -> bool:
    return not value


class AnswerBody(BaseModel):
    """What all answers have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TimingsBody(AnswerBody):
    """Where the time went, in milliseconds of the server's monotonic clock."""

    decode: float = Field(description="Frames to the engine's input.")
    queue: float = Field(description="Waiting for admission.")
    engine: float = Field(description="In the engine.")
    total: float = Field(description="From the request's arrival to this answer.")


class TokensBody(AnswerBody):
    """Tokens of all that the model was asked for a reply."""

    prompt: int = Field(description="Of the prompts, frames included.")
    cached: int = Field(
        description="How many of those were known from earlier prompts and not computed again."
    )
    written: int = Field(
        description="What the model wrote of its own; reading a label writes nothing."
    )


class ProblemBody(AnswerBody):
    """An error (RFC 9457): the cause and what to change."""

    type: str = Field(
        description="URN of the error.", examples=["urn:lrm:problem:invalid_argument"]
    )
    title: str = Field(description="What the code means.")
    status: int = Field(description="HTTP status of the error.")
    detail: str = Field(description="The cause and what to change.")
    code: str = Field(description="Stable name of the error.", examples=["invalid_argument"])
    field: str | None = Field(
        None, description="The field that is wrong.", examples=["current"], exclude_if=absent
    )
    step: int | None = Field(
        None, description="The step that the clock wants next.", exclude_if=absent
    )
    retry_after_seconds: float | None = Field(
        None, description="How long to wait before trying again.", exclude_if=absent
    )


class ReplyBody(AnswerBody):
    """The answer to a query."""

    head: str = Field(description="Which head answered.")
    probabilities: dict[str, float] = Field(
        description="Probability of each label, summing to 1; empty for the readout generate."
    )
    label_mass: float | None = Field(
        description="Share of the model's probability on the labels, in [0, 1]."
    )
    label: str = Field(description="The most probable label; empty for composite heads.")
    expected: float | None = Field(description="Probability-weighted value.")
    value: float = Field(description="What the head gives as reward.")
    confidence: float | None = Field(description="Probability of the label.")
    components: dict[str, ReplyBody] = Field(
        description="Replies of the parts of a composite head."
    )
    series: dict[str, list[float | None]] = Field(
        default_factory=dict,
        description="Of heads that give a value for each frame of their window; null for a frame "
        "that the head was not shown.",
        exclude_if=_empty,
    )
    log_probability: float | None = Field(
        None,
        description="Of the label, for heads that are paid by it; natural logarithm.",
        exclude_if=absent,
    )
    text: str | None = Field(description="What the model wrote, when it was asked for.")
    readout: ReadoutWord = Field(description="How the answer was read.")
    model: str = Field(description="Fingerprint of the checkpoint.")
    profile: str = Field(description="Digest of the profile.")
    timings_ms: TimingsBody
    tokens: TokensBody | None = Field(
        None, description="Absent where nobody counts.", exclude_if=absent
    )


class FailedBody(AnswerBody):
    """A query of a batch that failed."""

    error: ProblemBody


class ScoresBody(AnswerBody):
    """The answers to a batch."""

    results: list[ReplyBody | FailedBody] = Field(description="One per query, in order.")


class OpenedBody(AnswerBody):
    """An episode that is open."""

    id: str = Field(description="The episode's id.")
    next_query_step: int = Field(description="The first step after 0 that is due.")
    neutral: dict[str, float] = Field(description="Each head's value before its first query.")


class RewardBody(AnswerBody):
    """One head's reward at a step."""

    reward: float | None = Field(description="Scaled; null exactly when the source is failed.")
    value: float | None = Field(description="Held value; null exactly when the source is failed.")
    source: Literal["queried", "held", "neutral", "failed"] = Field(
        description="Where the reward comes from."
    )
    age: int | None = Field(
        description="Steps since the value was queried; null before the first query."
    )
    reply: ReplyBody | None = Field(None, description="Of the query.", exclude_if=absent)
    error: ProblemBody | None = Field(None, description="Why the query failed.", exclude_if=absent)


class SteppedBody(AnswerBody):
    """The answer to a step."""

    step: int = Field(description="Which step.")
    rewards: dict[str, RewardBody] = Field(description="By head; none at step 0.")
    next_query_step: int | None = Field(
        description="The next step that is due; null after the final step."
    )
    timings_ms: TimingsBody


class ClosedBody(AnswerBody):
    """An episode that is closed."""

    id: str = Field(description="The episode's id.")
    was_open: bool = Field(description="False when it was closed before, or never open here.")


class HeadWindowBody(AnswerBody):
    """The window of frames that a head looks at."""

    media: Literal["video", "images"] = Field(description="As one video, or as images.")
    min_frames: int = Field(description="Least frames of each view.")
    max_frames: int = Field(description="Most that are shown; longer windows are thinned evenly.")
    views: int = Field(description="Cameras that look at the same moments.")


class HeadBody(AnswerBody):
    """A head that is served."""

    name: str = Field(description="The name by which it is asked.")
    profile: str = Field(description="Name of its profile.")
    profile_digest: str = Field(description="Changes with anything that changes an answer.")
    default_readout: ReadoutWord = Field(description="How it is read unless a query says.")
    labels: dict[str, float] = Field(description="Value of each label; empty for composites.")
    required_frames: list[str] = Field(description="Roles that a query must bring.")
    optional_frames: list[str] = Field(description="Roles that a query may bring.")
    neutral: float = Field(description="Its value before its first query in an episode.")
    adapter: str = Field(description="LoRA adapter that answers; empty for the base weights.")
    window: HeadWindowBody | None = Field(description="Null for heads of single frames.")


class ModelBody(AnswerBody):
    """A model, in OpenAI's shape with the heads beside it."""

    id: str = Field(description="Its name.")
    object: Literal["model"] = "model"
    created: int = Field(description="When this server loaded it, in seconds since 1970.")
    owned_by: str = Field("lrm", description="Who serves it.")
    fingerprint: str = Field(description="Identifies weights, adapters, preparation of frames.")
    description: str = Field(description="What it was trained on and how well it does.")
    heads: list[HeadBody]


class ModelsBody(AnswerBody):
    """What is served."""

    object: Literal["list"] = "list"
    data: list[ModelBody]
    limits: dict[str, int] = Field(description="What requests are held to.")
    version: str = Field(description="Version of the server.")


class AliveBody(AnswerBody):
    """The process answers."""

    status: Literal["alive"] = "alive"


class ReadyBody(AnswerBody):
    """Requests can be answered now."""

    status: Literal["ready"] = "ready"
    running: int = Field(description="Sequences that the engine is working on.")
    waiting: int = Field(description="Sequences that wait for the engine.")
