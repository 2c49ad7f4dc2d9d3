"""What Robometer's clients send: samples of trajectories, as a form with ``.npy`` files or JSON.

A sample that is wrong is a DomainError in its place; the others are read all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from fastapi import Request
from pydantic_core import from_json
from starlette.datastructures import UploadFile

from lrm_server.api.calls import Limits
from lrm_server.api.compat.arrays import brief, listed_frames, npy_frames
from lrm_server.api.compat.bodies import Object, list_of
from lrm_server.errors import DomainError, invalid
from lrm_server.frames import Frame

FILE: Final = "__numpy_file__"
STEPS: Final = "use_frame_steps"
SAMPLE: Final = "sample_"
PROGRESS: Final = "progress"
PREFERENCE: Final = "preference"

Files: TypeAlias = Mapping[str, bytes]
_Left: TypeAlias = Callable[[], int]


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A task and at least one frame of it, of one size, oldest first."""

    task: str
    frames: tuple[Frame, ...]


@dataclass(frozen=True, slots=True)
class ProgressSample:
    """Asks for progress and success at every frame."""

    trajectory: Trajectory


@dataclass(frozen=True, slots=True)
class PreferenceSample:
    """Asks which of two trajectories does the first one's task better."""

    chosen: Trajectory
    rejected: Trajectory


Sample: TypeAlias = ProgressSample | PreferenceSample


@dataclass(frozen=True, slots=True)
class Sent:
    """A sample as it came.

    Attributes:
        sample: or what is wrong with it.
        preference: whether it asks for a preference; else it asks for progress, or does
            not say what it asks for.
    """

    sample: Sample | DomainError
    preference: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """A request.

    Attributes:
        samples: in order.
        frame_steps: judge every frame on its own prefix of the trajectory.
    """

    samples: tuple[Sent, ...]
    frame_steps: bool


async def read_form(request: Request, limits: Limits) -> tuple[list[str], Files, bool]:
    """The texts of the samples, the files, and ``use_frame_steps`` of a form.

    Raises:
        DomainError: the body is no form, or its samples are not sample_0, sample_1 and
            so on.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise invalid("content-type", f"the body is {kind or 'of no type'}: send a form.")
    texts: dict[str, str] = {}
    files: dict[str, bytes] = {}
    most = limits.batch
    async with request.form(max_files=2 * most, max_fields=most + 1) as form:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                # Other files are embeddings and the like, which no head looks at.
                if (value.filename or "").endswith(".npy"):
                    files[name] = await value.read()
            else:
                texts[name] = value
    steps = _flag(texts.pop(STEPS, "false"))
    samples = [texts[f"{SAMPLE}{at}"] for at in range(len(texts)) if f"{SAMPLE}{at}" in texts]
    if not samples or len(samples) != len(texts):
        raise invalid(
            SAMPLE + "0",
            f"the form has the fields {brief(sorted(texts))}: send the samples as sample_0, "
            f"sample_1 and so on, and {STEPS}.",
        )
    return samples, files, steps


def from_form(texts: list[str], files: Files, steps: bool, limits: Limits) -> Batch:
    """The samples of a form."""
    documents = [_parsed(text) for text in texts]
    return Batch(_samples(documents, files, limits, lambda at: f"{SAMPLE}{at}"), steps)


def from_body(body: Object, limits: Limits) -> Batch:
    """The samples of a JSON body, in which arrays are nested lists.

    Raises:
        DomainError: INVALID_ARGUMENT of ``samples`` or ``use_frame_steps``.
    """
    documents = list_of(body, "samples", limits.batch)
    steps = body.get(STEPS, False)
    if not isinstance(steps, bool):
        raise invalid(STEPS, f"{STEPS} is {brief(steps)}: send true or false.")
    return Batch(_samples(documents, {}, limits, lambda at: f"samples[{at}]"), steps)


def _parsed(text: str) -> Any:
    """A sample's JSON, or the DomainError of one that is none."""
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as error:
        return invalid("", f"the sample is not JSON ({error}).")


def _samples(
    documents: list[Any], files: Files, limits: Limits, place: Callable[[int], str]
) -> tuple[Sent, ...]:
    found: list[Sent] = []
    taken = 0

    def left() -> int:
        return limits.batch - taken

    for at, document in enumerate(documents):
        preference = isinstance(document, dict) and document.get("sample_type") == PREFERENCE
        try:
            if isinstance(document, DomainError):
                raise document
            sample = _sample(document, files, limits, left)
            taken += _frames_of(sample)
            if taken > limits.batch:
                raise invalid(
                    "", f"the request has over {limits.batch} frames: send them in several."
                )
            found.append(Sent(sample, preference))
        except DomainError as error:
            found.append(Sent(error.within(place(at)), preference))
    return tuple(found)


def _sample(document: Any, files: Files, limits: Limits, left: _Left) -> Sample:
    if not isinstance(document, dict):
        raise invalid("", f"a sample is an object and {brief(document)} came.")
    kind = document.get("sample_type")
    if kind == PROGRESS:
        return ProgressSample(_trajectory(document, "trajectory", files, limits, left))
    if kind == PREFERENCE:
        return PreferenceSample(
            _trajectory(document, "chosen_trajectory", files, limits, left),
            _trajectory(document, "rejected_trajectory", files, limits, left),
        )
    raise invalid("sample_type", f"sample_type is {brief(kind)}: send {PROGRESS} or {PREFERENCE}.")


def _trajectory(
    document: Object, name: str, files: Files, limits: Limits, left: _Left
) -> Trajectory:
    given = document.get(name)
    if not isinstance(given, dict):
        raise invalid(name, f"{name} is {brief(given)}: send an object.")
    task = given.get("task")
    if not isinstance(task, str):
        raise invalid(f"{name}.task", f"the task is {brief(task)}: send text.")
    try:
        frames = _frames(given.get("frames"), files, limits, left)
    except DomainError as error:
        raise error.within(f"{name}.frames") from None
    shape = [len(frames), frames[0].height, frames[0].width, 3]
    told = given.get("frames_shape")
    if told is not None and told != shape:
        raise invalid(
            f"{name}.frames_shape",
            f"frames_shape is {brief(told)} and the frames are {shape}: send one that is true.",
        )
    return Trajectory(task, tuple(frames))


def _frames(given: Any, files: Files, limits: Limits, left: _Left) -> list[Frame]:
    most = max(1, left())
    if isinstance(given, dict) and FILE in given:
        name = given[FILE]
        file = files.get(name) if isinstance(name, str) else None
        if file is None:
            raise invalid("", f"there is no .npy file {brief(name)} in the form.")
        return npy_frames(file, limits.frame, most)
    if isinstance(given, list):
        return listed_frames(given, limits.frame, most)
    raise invalid(
        "",
        f'frames are {brief(given)}: send {{"{FILE}": ...}} and the file, or nested lists. '
        "Embeddings, paths and URLs are not read.",
    )


def _frames_of(sample: Sample) -> int:
    if isinstance(sample, ProgressSample):
        return len(sample.trajectory.frames)
    return len(sample.chosen.frames) + len(sample.rejected.frames)


def _flag(word: str) -> bool:
    flags = {"true": True, "false": False}
    if word.strip().lower() not in flags:
        raise invalid(STEPS, f"{STEPS} is {brief(word)}: send true or false.")
    return flags[word.strip().lower()]
