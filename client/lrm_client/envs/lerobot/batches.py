"""LeRobot's batches as questions to a head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from lrm_client.errors import InvalidRequest
from lrm_client.frames import as_array
from lrm_client.types import HeadInfo, Query, WindowFrame

if TYPE_CHECKING:
    from lrm_client.envs.lerobot.configuration_lrm import LrmConfig

ONE_IMAGE: Final = "observation.image"
IMAGES: Final = "observation.images."
PADDED: Final = "_is_pad"
"""Follows an image's key: bool (B, T), True where the frame repeats the episode's first."""

Pixels = NDArray[np.uint8]


def cameras_of(batch: Mapping[str, Any], chosen: Sequence[str]) -> tuple[str, ...]:
    """The keys of the cameras that are looked at.

    Raises:
        InvalidRequest: none is chosen, and the batch has several or none.
    """
    if chosen:
        return tuple(chosen)
    found = _image_keys(batch)
    if len(found) != 1:
        has = f"the cameras {', '.join(found)}" if found else f"no {IMAGES}*"
        raise InvalidRequest(f"the batch has {has}: name one in image_keys", field="image_keys")
    return found


def size_of(batch: Mapping[str, Any], key: str) -> int:
    """How many samples a batch has.

    Raises:
        InvalidRequest: it has no such images.
    """
    if key not in batch:
        has = ", ".join(_image_keys(batch)) or "none"
        raise InvalidRequest(f"the batch has no {key}; its images are: {has}", field=key)
    return int(np.shape(batch[key])[0])


def tasks_of(batch: Mapping[str, Any], key: str, default: str | None, count: int) -> list[str]:
    """The task of each sample.

    Args:
        batch: with a text, or a list with one text for all or for each sample.
        key: of the task.
        default: where the batch has none.
        count: B.

    Raises:
        InvalidRequest: there is none, something that is no text, or the number differs.
    """
    task = batch.get(key, default)
    if task is None:
        raise InvalidRequest(
            f"the batch has no {key}: put the task in it, or set default_task", field=key
        )
    tasks = [task] if isinstance(task, str) else list(task)
    if not all(isinstance(each, str) for each in tasks):
        raise InvalidRequest(f"{key} must be a text or a list of texts", field=key)
    if len(tasks) == 1:
        return tasks * count
    if len(tasks) != count:
        raise InvalidRequest(f"{key} holds {len(tasks)} texts for {count} samples", field=key)
    return tasks


def pixels_of(batch: Mapping[str, Any], key: str) -> Pixels:
    """A camera's frames, uint8 (B, T, H, W, 3), oldest first; T is 1 where there are no windows.

    Args:
        batch: with uint8, or floating point in [0, 1], of (B, 3, H, W) or (B, T, 3, H, W),
            as a tensor on any device or as an array.
        key: of the camera.

    Raises:
        InvalidRequest: it is not there, or has another shape, dtype or range.
    """
    size_of(batch, key)
    images = batch[key]
    if hasattr(images, "is_floating_point") and images.is_floating_point():
        # numpy has no bfloat16.
        images = images.float()
    array = as_array(images)
    if array.ndim == 4:
        array = array[:, None]
    if array.ndim != 5 or array.shape[2] != 3 or 0 in array.shape:
        raise InvalidRequest(
            "images must be RGB of shape (B, 3, H, W) or (B, T, 3, H, W), not "
            f"{tuple(images.shape)}",
            field=key,
        )
    if np.issubdtype(array.dtype, np.floating):
        low, high = array.min(), array.max()
        # Written so that NaN is refused as well.
        if not (low >= 0 and high <= 1):
            raise InvalidRequest(
                f"floating-point images must be within 0 and 1, not {low:.3g} to {high:.3g}: give "
                "them as they are before they are normalised",
                field=key,
            )
        array = np.rint(array * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise InvalidRequest(f"images must be uint8 or floating, not {array.dtype}", field=key)
    return np.ascontiguousarray(array.transpose(0, 1, 3, 4, 2))


def queries_of(batch: Mapping[str, Any], config: LrmConfig, head: HeadInfo) -> list[Query | None]:
    """A question for each sample; None where nothing came before, and so nothing is compared.

    Raises:
        InvalidRequest: the batch lacks what the head looks at, or is not what it must be.
    """
    cameras = cameras_of(batch, config.image_keys)
    count = size_of(batch, cameras[0])
    tasks = tasks_of(batch, config.task_key, config.default_task, count)
    seen = {key: _of_size(batch, key, count) for key in cameras}
    if not head.required_frames:
        return [
            _query(config, tasks[at], window=_window(batch, seen, at), fps=config.fps)
            for at in range(count)
        ]
    if len(cameras) > 1:
        raise InvalidRequest(
            f"head {head.name} looks at one camera, and these are {len(cameras)}: "
            f"{', '.join(cameras)}",
            field="image_keys",
        )
    (camera,) = cameras
    frames = {"current": seen[camera][:, -1], **_keyed(batch, config, head, count)}
    begun = np.zeros(count, np.bool_)
    if "previous" in head.required_frames and "previous" not in frames:
        frames["previous"] = _oldest(seen[camera], head.name)
        begun = _begun(batch, camera, seen[camera])
    return [
        None if begun[at] else _query(config, tasks[at], **{r: p[at] for r, p in frames.items()})
        for at in range(count)
    ]


def _keyed(
    batch: Mapping[str, Any], config: LrmConfig, head: HeadInfo, count: int
) -> dict[str, Pixels]:
    """The frames that have keys of their own, uint8 (B, H, W, 3), by role."""
    looks = (*head.required_frames, *head.optional_frames)
    found = {}
    for role in ("previous", "initial", "goal"):
        field = f"{role}_key"
        key = getattr(config, field)
        if key is not None:
            if role not in looks:
                raise InvalidRequest(
                    f"head {head.name} does not look at a frame {role}, only at "
                    f"{', '.join(looks)}: leave {field} out",
                    field=field,
                )
            found[role] = _of_size(batch, key, count)[:, -1]
        elif role in head.required_frames and role != "previous":
            raise InvalidRequest(f"head {head.name} needs {field}", field=field)
    return found


def _oldest(windows: Pixels, head: str) -> Pixels:
    if windows.shape[1] < 2:
        raise InvalidRequest(
            f"head {head} compares two frames: give windows (B, T, 3, H, W), which frames and "
            "stride load, or name previous_key",
            field="previous_key",
        )
    return windows[:, 0]


def _begun(batch: Mapping[str, Any], key: str, windows: Pixels) -> NDArray[np.bool_]:
    """Whether a sample is its episode's first frame, bool (B,): its window repeats that one."""
    same: NDArray[np.bool_] = (windows[:, 0] == windows[:, -1]).all((1, 2, 3))
    return _padding(batch, key, windows)[:, 0] & same


def _window(batch: Mapping[str, Any], seen: Mapping[str, Pixels], at: int) -> list[WindowFrame]:
    """A sample's window; the frames before its episode's first are left out."""
    return [
        WindowFrame(frame, key if len(seen) > 1 else "")
        for key, pixels in seen.items()
        for frame, repeated in zip(pixels[at], _padding(batch, key, pixels)[at], strict=True)
        if not repeated
    ]


def _padding(batch: Mapping[str, Any], key: str, pixels: Pixels) -> NDArray[np.bool_]:
    """Whether each frame repeats the episode's first, bool (B, T); the newest never does."""
    name = f"{key}{PADDED}"
    padded = np.zeros(pixels.shape[:2], np.bool_)
    if name in batch:
        told = as_array(batch[name])
        if told.shape != padded.shape:
            raise InvalidRequest(
                f"{name} must be of shape {padded.shape}, not {told.shape}", field=name
            )
        padded[:, :-1] = told[:, :-1]
    return padded


def _of_size(batch: Mapping[str, Any], key: str, count: int) -> Pixels:
    pixels = pixels_of(batch, key)
    if len(pixels) != count:
        raise InvalidRequest(f"{key} holds {len(pixels)} samples, not {count}", field=key)
    return pixels


def _query(config: LrmConfig, task: str, **frames: Any) -> Query:
    return Query(
        config.head, task, readout=config.readout, use=config.use, swap=config.swap, **frames
    )


def _image_keys(batch: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(
        key
        for key in batch
        if (key == ONE_IMAGE or key.startswith(IMAGES)) and not key.endswith(PADDED)
    )
