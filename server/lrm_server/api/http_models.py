"""The JSON that HTTP requests bring, as they are checked and documented."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from lrm_server.episodes.opening import MAX_ID_LENGTH

UINT32_MAX: Final = 2**32 - 1
INLINE_ONLY: Final = (
    'a frame is its bytes, not a string: send {"data": base64, "encoding": "jpeg"|"png"|"raw"}. '
    "URLs, paths and data: URIs are never opened."
)

ReadoutWord = Literal["likelihood", "reason_then_read", "generate"]
UseWord = Literal["label", "expected"]
HoldWord = Literal["hold", "zero", "spread", "difference"]
WindowsWord = Literal["whole", "prefixes"]
NormaliseWord = Literal["min_max"]
PhaseWord = Literal["episode", "aligned"]
EncodingWord = Literal["jpeg", "png", "raw"]
Uint32 = Annotated[int, Field(ge=0, le=UINT32_MAX)]


class RequestBody(BaseModel):
    """What all request bodies have in common: a name that is not known is an error."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class FrameBody(RequestBody):
    """One image, its bytes inline."""

    data: str = Field(
        description="The image's bytes in base64 (RFC 4648, padded, no white space).",
        examples=["/9j/4AAQSkZJRgABAQ..."],
    )
    encoding: EncodingWord = Field(
        description="What the bytes are: a JPEG, a PNG, or raw uint8 RGB, row-major."
    )
    shape: list[int] | None = Field(
        None,
        description="Height, width and 3, in pixels; for raw frames, and ignored for others.",
        examples=[[224, 224, 3]],
        max_length=3,
    )

    @model_validator(mode="before")
    @classmethod
    def _inline_only(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise PydanticCustomError("inline_bytes_only", INLINE_ONLY)
        return value


class WindowFrameBody(FrameBody):
    """One image of a video window."""

    view: str = Field("", description="Name of the camera, where there are several.")
    index: Uint32 | None = Field(
        None,
        description="Its number on the video's own axis of time, at fps frames a second; its place "
        "in the window when absent.",
    )


class SubtaskBody(RequestBody):
    """One step of a task."""

    subtask: str = Field(description="What the robot is to do, in words.")
    done_when: str = Field(description="What an image shows when it is done.")


class PlannedBody(RequestBody):
    """What is said of a task to heads that measure progress over subtasks."""

    scene: str = Field("", description="What stands around the robot, in words.")
    subtasks: list[SubtaskBody] = Field(
        default_factory=list,
        description="Of the task, in order; a model writes them when there are none.",
    )


class QueryBody(PlannedBody):
    """One question to one head."""

    task: str = Field(
        description="The task in words; not empty.", examples=["pick up the red cube"]
    )
    current: FrameBody | None = Field(None, description="The frame that is judged.")
    previous: FrameBody | None = Field(
        None, description="The frame to compare with; contrastive needs it, of the same size."
    )
    initial: FrameBody | None = Field(None, description="The episode's first frame.")
    goal: FrameBody | None = Field(None, description="A frame in which the task is done.")
    window: list[WindowFrameBody] = Field(
        default_factory=list, description="Frames of a video head, oldest first."
    )
    other_window: list[WindowFrameBody] = Field(
        default_factory=list, description="A second window, for heads that compare two."
    )
    fps: float | None = Field(None, description="Frames per second of the window.")
    readout: ReadoutWord | None = Field(
        None, description="How the answer is read; the checkpoint's default when absent."
    )
    use: UseWord | None = Field(
        None, description="Which number becomes the value; the label's own when absent."
    )
    swap: bool = Field(
        False, description="For contrastive: ask both orders and average their log-odds."
    )
    margin: float | None = Field(
        None,
        description="For contrastive: |p(current) - 0.5| below it is undecided. In [0, 0.5].",
    )
    return_text: bool = Field(False, description="Also return what the model wrote.")


class HeadQueryBody(QueryBody):
    """One question of a batch, to the head that it names."""

    head: str = Field(description="A head that /v1/models lists.", examples=["progress"])


class EpisodeBody(PlannedBody):
    """What is fixed when an episode opens."""

    task: str = Field(
        description="The task in words; not empty.", examples=["pick up the red cube"]
    )
    heads: list[str] = Field(
        description="Heads to ask, in the order of the rewards.",
        examples=[["contrastive", "progress", "completion"]],
    )
    id: str = Field(
        "", description="Chosen by the caller, so that opening can be retried; made when empty."
    )
    interval: Annotated[int, Field(le=UINT32_MAX)] | None = Field(
        None, description="A query is due every so many steps; at least 1, 10 when absent."
    )
    scale: float | None = Field(None, description="Factor of every reward; 1 when absent.")
    hold: HoldWord | None = Field(
        None, description="What a step pays between queries; hold when absent."
    )
    phase: PhaseWord | None = Field(
        None, description="Where multiples of the interval are counted from; episode when absent."
    )
    offset: Uint32 = Field(
        0, description="Phase aligned: due where (step + offset) is a multiple of the interval."
    )
    use: UseWord | None = Field(
        None, description="Which number becomes the value; the label's own when absent."
    )
    readout: ReadoutWord | None = Field(
        None, description="How answers are read; the checkpoint's default when absent."
    )
    swap: bool = Field(False, description="For contrastive: ask both orders.")
    margin: float | None = Field(
        None, description="For contrastive: within it a pair is undecided. In [0, 0.5]."
    )
    fps: float | None = Field(
        None, description="Steps per second, above 0; heads that see a video need it."
    )


class StepBody(RequestBody):
    """One step of an episode."""

    step: Uint32 = Field(description="0 is the reset observation.", examples=[10])
    frame: FrameBody | None = Field(
        None, description="Needed at step 0 and where a query is due; elsewhere ignored."
    )
    final: bool = Field(False, description="The step terminated or truncated the episode.")
    force: bool = Field(False, description="Query at this step whatever the clock says.")
    request_id: str = Field(
        "",
        description="Names the attempt, so that a retry gets the same answer. At most "
        f"{MAX_ID_LENGTH} characters.",
    )


class TrajectoryBody(PlannedBody):
    """What is asked of a trajectory; its frames or its video come beside it."""

    task: str = Field(
        description="The task in words; not empty.", examples=["pick up the red cube"]
    )
    heads: list[str] = Field(description="Heads to ask, each once.", examples=[["progress", "tri"]])
    fps: float | None = Field(
        None,
        description="Frames a second: of frames without times, and of a video whose own times "
        "are not to count.",
    )
    times: list[float] = Field(
        default_factory=list,
        description="Seconds of each moment, increasing; for frames that do not come at one rate.",
    )
    every: Annotated[int, Field(ge=1, le=UINT32_MAX)] = Field(
        1, description="Every so many frames are scored, from the first, and the last."
    )
    windows: WindowsWord = Field(
        "whole",
        description="Heads that look at a window are asked once with the whole trajectory, or at "
        "every frame that is scored with the trajectory up to there.",
    )
    normalise: NormaliseWord | None = Field(
        None,
        description="Also map each head's log-probabilities to [0, 1] over the trajectory.",
    )
    views: list[str] = Field(
        default_factory=list,
        description="Names of the cameras: the frames of a moment come together, one of each, in "
        "this order. One camera without a name when empty.",
    )
    readout: ReadoutWord | None = Field(
        None, description="How answers are read; the checkpoint's default when absent."
    )
    use: UseWord | None = Field(
        None, description="Which number becomes the value; the label's own when absent."
    )
    swap: bool = Field(False, description="For contrastive: ask both orders.")
    margin: float | None = Field(
        None, description="For contrastive: within it a pair is undecided. In [0, 0.5]."
    )
    return_text: bool = Field(False, description="Also return what the model wrote.")
