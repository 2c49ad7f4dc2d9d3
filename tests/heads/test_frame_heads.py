from __future__ import annotations

import math
from collections.abc import Callable
from importlib import resources
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from lrm_server.engine.frame_reader import ControlToken, FrameQuestion, FrameReadings
from lrm_server.engine.protocol import EngineStatus, EngineTimings, FrameSlot
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.frames import Encoding, Frame, FrameLimits, open_frame
from lrm_server.heads.catalogue import ServedHead
from lrm_server.heads.frame_heads import ask_at_frames, ask_for_preference, frame_question
from lrm_server.heads.frame_profile import FrameProfile
from lrm_server.heads.profile import Readout, Use
from lrm_server.heads.query import Query, Reply, WindowFrame
from lrm_server.heads.window import Shown, shown

PROGRESS = ControlToken("<|prog_token|>")
ASKED = (
    "Given the trajectory video, predict the task progress at each frame, how far along the robot "
    "is towards completing the task, a float between 0 and 1, where 0 is the starting state and 1 "
    "is when the task is completed. If the robot is not performing the same task, predict 0 "
    "progress."
)


def document(name: str) -> dict[str, Any]:
    built_in = resources.files("lrm_server.heads") / "profiles" / f"{name}.yaml"
    return dict(yaml.safe_load(built_in.read_text("utf-8")))


def profile(name: str, **changes: Any) -> FrameProfile:
    return FrameProfile.model_validate(document(name) | changes)


def head(of: FrameProfile) -> ServedHead:
    return ServedHead(name=of.head, profile=of, readout=Readout.LIKELIHOOD)  # type: ignore[arg-type]


def frame(shade: int) -> Frame:
    pixels = np.full((32, 32, 3), shade, dtype=np.uint8)
    return open_frame(pixels.tobytes(), Encoding.RAW, FrameLimits(), height=32, width=32)


def window(of: FrameProfile, *shades: int) -> Shown:
    return shown(of.window, [WindowFrame(frame(shade)) for shade in shades], of.head)


class ScriptedReader:
    """Answers as it is told.

    Attributes:
        asked: every question.
    """

    fingerprint = "0123456789abcdef"

    def __init__(self, answer: Callable[[FrameQuestion], FrameReadings]) -> None:
        self._answer = answer
        self.asked: list[FrameQuestion] = []

    async def read_frames(self, question: FrameQuestion) -> FrameReadings:
        self.asked.append(question)
        return self._answer(question)

    async def status(self) -> EngineStatus:
        return EngineStatus(True, "", 0, 0)


def readings(
    progress: tuple[float, ...], success: tuple[float, ...], preference: float | None = None
) -> FrameReadings:
    return FrameReadings(progress, success, preference, 10, 10, EngineTimings(1.0, 2.0, 3.0))


def test_the_progress_question_is_the_published_one() -> None:
    of = profile("robometer_progress")
    question = frame_question(of, Query(head="progress", task="{task} <window>"), window(of, 1, 2))
    first, *rest = question.parts
    assert first == f"The task for the robot is '{{task}} <window>'. {ASKED}"
    slots = [part for part in rest if isinstance(part, FrameSlot)]
    assert rest == [slots[0], PROGRESS, slots[1], PROGRESS]
    assert [slot.name for slot in slots] == ["window[0]", "window[1]"]


def test_the_comparison_is_the_published_one() -> None:
    of = profile("robometer_preference")
    query = Query(head="preference", task="Sweep.", deadline=5.0)
    question = frame_question(of, query, window(of, 1), window(of, 2, 3))
    written = [
        "[frame]" if isinstance(part, FrameSlot) else getattr(part, "text", part)
        for part in question.parts
    ]
    assert "".join(written) == (
        "Given these two trajectories for the task 'Sweep.', evaluate which one makes more "
        "progress towards the task. Return A for the first trajectory and B for the second "
        "trajectory. Also predict the task progress at each frame of the first trajectory, how "
        "far along the robot is towards completing the task, a float between 0 and 1, where 0 "
        "is the starting state and 1 is when the task is completed. If the robot is not "
        "performing the same task, predict 0 progress.This is Trajectory A. "
        "[frame]<|prog_token|><|split_token|>This is Trajectory B. "
        "[frame]<|prog_token|>[frame]<|prog_token|>Now predict the preference between the two "
        "trajectories.<|pref_token|>"
    )
    assert question.deadline == 5.0
    names = [part.name for part in question.parts if isinstance(part, FrameSlot)]
    assert names == ["window[0]", "other_window[0]", "other_window[1]"]


@pytest.mark.parametrize(
    ("name", "value"), [("robometer_progress", 0.6), ("robometer_success", 0.2)]
)
async def test_the_last_frame_is_the_value_and_both_series_are_told(
    name: str, value: float
) -> None:
    of = profile(name)
    reader = ScriptedReader(lambda _: readings((0.1, 0.4, 0.6), (0.0, 0.1, 0.2)))
    reply = await ask_at_frames(
        reader, head(of), of, Query(head=of.head, task="Sweep."), window(of, 1, 2, 3)
    )
    assert reply.value == value
    assert reply.expected == value
    assert reply.series == {"progress": (0.1, 0.4, 0.6), "success": (0.0, 0.1, 0.2)}
    assert reply.probabilities == {}
    assert (reply.head, reply.model, reply.profile) == (of.head, reader.fingerprint, of.digest)
    assert reply.timings.engine_ms == 3.0


async def test_frames_that_were_thinned_out_have_no_number() -> None:
    of = profile("robometer_progress", window={"media": "images", "max_frames": 2})
    reader = ScriptedReader(lambda _: readings((0.1, 0.9), (0.0, 1.0)))
    reply = await ask_at_frames(
        reader, head(of), of, Query(head="progress", task="Sweep."), window(of, 1, 2, 3)
    )
    assert reply.series["progress"] == (0.1, None, 0.9)


async def preferred(share: float, other_way: float = 0.5, **options: Any) -> Reply:
    of = profile("robometer_preference")

    def answer(question: FrameQuestion) -> FrameReadings:
        first = next(part for part in question.parts if isinstance(part, FrameSlot))
        straight = first.name.startswith("window")
        return readings((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), share if straight else other_way)

    return await ask_for_preference(
        ScriptedReader(answer),
        head(of),
        of,
        Query(head="preference", task="Sweep.", **options),
        window(of, 1, 2),
        window(of, 3),
    )


async def test_the_preferred_window_is_worth_one_and_the_other_minus_one() -> None:
    reply = await preferred(0.8)
    assert (reply.label, reply.value) == ("window", 1.0)
    assert reply.probabilities == pytest.approx({"other_window": 0.2, "window": 0.8})
    assert reply.expected == pytest.approx(0.6)
    assert reply.confidence == pytest.approx(0.8)
    assert reply.series == {"progress": (0.1, 0.2), "success": (0.4, 0.5)}
    reply = await preferred(0.1)
    assert (reply.label, reply.value) == ("other_window", -1.0)
    reply = await preferred(0.1, use=Use.EXPECTED)
    assert reply.value == pytest.approx(-0.8)


async def test_asked_in_both_orders_the_log_odds_are_averaged() -> None:
    reply = await preferred(0.9, other_way=0.6, swap=True)
    mean = (math.log(9) - math.log(1.5)) / 2
    assert reply.probabilities["window"] == pytest.approx(1 / (1 + math.exp(-mean)))


async def test_a_certain_preference_is_finite() -> None:
    reply = await preferred(1.0)
    assert reply.probabilities["window"] == pytest.approx(1.0)
    reply = await preferred(0.0)
    assert reply.value == -1.0


@pytest.mark.parametrize(
    ("progress", "success"), [((0.5,), (0.5,)), ((0.5, math.nan), (0.5, 0.5)), ((0.1, 0.2), (0.1,))]
)
async def test_an_answer_that_is_no_number_for_each_frame_is_an_error(
    progress: tuple[float, ...], success: tuple[float, ...]
) -> None:
    of = profile("robometer_progress")
    reader = ScriptedReader(lambda _: readings(progress, success))
    with pytest.raises(DomainError) as caught:
        await ask_at_frames(
            reader, head(of), of, Query(head="progress", task="Sweep."), window(of, 1, 2)
        )
    assert caught.value.code is ErrorCode.INTERNAL


async def test_a_comparison_without_a_preference_is_an_error() -> None:
    of = profile("robometer_preference")
    reader = ScriptedReader(lambda _: readings((0.1, 0.2), (0.1, 0.2)))
    with pytest.raises(DomainError, match="preference"):
        await ask_for_preference(
            reader,
            head(of),
            of,
            Query(head="preference", task="Sweep."),
            window(of, 1),
            window(of, 2),
        )


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("robometer_progress", {"reads": "preference"}),
        ("robometer_preference", {"reads": "progress"}),
        ("robometer_progress", {"after_frame": "token"}),
        ("robometer_progress", {"window": {"media": "video", "max_frames": 8}}),
        ("robometer_progress", {"default_readout": "generate"}),
    ],
)
def test_profiles_that_cannot_be_asked_are_refused(name: str, changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        profile(name, **changes)
