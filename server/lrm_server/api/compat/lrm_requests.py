"""What LRM's clients send, as queries.

An image is ``{"data", "shape", "dtype"}``, or flat: ``X`` beside ``X_shape`` and ``X_dtype``.
Paths that take either form take it for every image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from lrm_server.api.compat.arrays import brief, raw_frame
from lrm_server.api.compat.bodies import Object, list_of, parsed, text_of
from lrm_server.errors import DomainError, invalid
from lrm_server.frames import Frame, FrameLimits
from lrm_server.heads.profile import Role
from lrm_server.heads.query import Query, WindowFrame

PROGRESS: Final = "progress"
MOST_FPS: Final = 1000.0
_DTYPE: Final = "uint8"


@dataclass(frozen=True, slots=True)
class Judged:
    """An image whose progress, or anything else that ``kind`` says, is asked.

    Attributes:
        query: of the progress head.
        kind: ``progress``; for any other kind LRM's service asks how well the robot does.
    """

    query: Query
    kind: str


def reward(content: bytes, limits: FrameLimits, deadline: float) -> Judged:
    """``compute_reward``.

    Raises:
        DomainError: INVALID_ARGUMENT or IMAGE_TOO_LARGE of a field of the body.
    """
    body = parsed(content)
    frames = {Role.CURRENT: _image(body, "image", limits)}
    for name, role in (("initial_image", Role.INITIAL), ("goal_image", Role.GOAL)):
        if body.get(name):
            frames[role] = _image(body, name, limits, like="image")
    task = text_of(body, "task_description")
    return Judged(_query(PROGRESS, task, deadline, frames), _kind(body))


def rewards(
    content: bytes, limits: FrameLimits, most: int, deadline: float
) -> list[Judged | DomainError]:
    """``compute_rewards_batch``: a query or what is wrong with it, for each image in order.

    Raises:
        DomainError: INVALID_ARGUMENT of the body as a whole.
    """
    body = parsed(content)
    images = list_of(body, "images", most)
    tasks = body.get("task_descriptions")
    if isinstance(tasks, str):
        tasks = [tasks] * len(images)
    if not isinstance(tasks, list) or len(tasks) != len(images):
        came = len(tasks) if isinstance(tasks, list) else brief(tasks)
        raise invalid(
            "task_descriptions",
            f"there are {len(images)} images and task_descriptions is {came}: send one for each.",
        )
    kind = _kind(body)

    def judged(at: int) -> Judged | DomainError:
        try:
            frame = _nested(images[at], f"images[{at}]", limits)
            if not isinstance(tasks[at], str):
                raise invalid(f"task_descriptions[{at}]", f"it is {brief(tasks[at])}: send text.")
        except DomainError as error:
            return error
        return Judged(_query(PROGRESS, tasks[at], deadline, {Role.CURRENT: frame}), kind)

    return [judged(at) for at in range(len(images))]


def completion(content: bytes, limits: FrameLimits, deadline: float) -> Query:
    """``compute_completion``. Raises as ``reward``."""
    body = parsed(content)
    frame = _image(body, "image", limits)
    task = text_of(body, "task_description")
    return _query("completion", task, deadline, {Role.CURRENT: frame})


def comparison(content: bytes, limits: FrameLimits, deadline: float) -> Query:
    """``compute_comparison``: image A is previous, image B is current. Raises as ``reward``."""
    body = parsed(content)
    frames = {
        Role.PREVIOUS: _image(body, "image_a", limits),
        Role.CURRENT: _image(body, "image_b", limits),
    }
    return _query("contrastive", text_of(body, "task_description"), deadline, frames)


def video(
    head: str, content: bytes, limits: FrameLimits, most: int, deadline: float, fps: float | None
) -> Query:
    """``compute_roboreward``, ``compute_topreward`` and ``compute_robometer``.

    Args:
        head: that is asked.
        content: of the request.
        limits: of each frame.
        most: frames that there may be.
        deadline: of the query.
        fps: frames a second when the request does not say; None when the path takes none.

    Raises:
        DomainError: as ``reward``.
    """
    body = parsed(content)
    frames = []
    for at, item in enumerate(list_of(body, "frames", most)):
        place = f"frames[{at}]"
        if isinstance(item, str):
            frame = _flat(body, item, "frame", limits, place)
        else:
            frame = _nested(item, place, limits)
        frames.append(WindowFrame(frame, index=at))
    return Query(
        head=head,
        task=text_of(body, "task_description"),
        window=tuple(frames),
        fps=_fps(body, fps) if fps is not None else None,
        return_text=True,
        deadline=deadline,
    )


def _query(head: str, task: str, deadline: float, frames: Mapping[Role, Frame]) -> Query:
    return Query(head=head, task=task, frames=frames, return_text=True, deadline=deadline)


def _kind(body: Object) -> str:
    return text_of(body, "reward_type") if "reward_type" in body else PROGRESS


def _image(body: Object, name: str, limits: FrameLimits, like: str = "") -> Frame:
    """An image in either form.

    Args:
        body: in which it stands.
        name: of its field.
        limits: of the frame.
        like: field of the image whose shape and type it has when it says none itself.
    """
    value = body.get(name)
    if isinstance(value, str):
        return _flat(body, value, name, limits, name, like)
    return _nested(value, name, limits)


def _nested(value: Any, name: str, limits: FrameLimits) -> Frame:
    if not isinstance(value, dict):
        raise invalid(name, f'it is {brief(value)}: send {{"data", "shape", "dtype"}}.')
    try:
        return raw_frame(value.get("data"), value.get("shape"), value.get("dtype", _DTYPE), limits)
    except DomainError as error:
        raise error.within(name) from None


def _flat(
    body: Object, data: str, stem: str, limits: FrameLimits, place: str, like: str = ""
) -> Frame:
    shape, dtype = _form(body, stem, _form(body, like, (None, _DTYPE)) if like else (None, _DTYPE))
    try:
        return raw_frame(data, shape, dtype, limits)
    except DomainError as error:
        names = {"data": place, "shape": f"{stem}_shape", "dtype": f"{stem}_dtype"}
        # The flat form's fields have names of their own.
        raise DomainError(error.code, error.message, field=names.get(error.field, place)) from None


def _form(body: Object, stem: str, otherwise: tuple[Any, Any]) -> tuple[Any, Any]:
    """Shape and type that a body gives an image, in either form."""
    held = body.get(stem)
    if isinstance(held, dict):
        return held.get("shape", otherwise[0]), held.get("dtype", otherwise[1])
    return body.get(f"{stem}_shape", otherwise[0]), body.get(f"{stem}_dtype", otherwise[1])


def _fps(body: Object, otherwise: float) -> float:
    fps = body.get("fps", otherwise)
    if isinstance(fps, bool) or not isinstance(fps, (int, float)):
        raise invalid("fps", f"fps is {brief(fps)}: send a number.")
    if not (0 < fps <= MOST_FPS and math.isfinite(fps)):
        raise invalid("fps", f"fps is {brief(fps)}: send one in (0, {MOST_FPS:g}].")
    return float(fps)
