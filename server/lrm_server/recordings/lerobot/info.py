"""``meta/info.json``: what a data set in LeRobot's layout says about itself."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from lrm_server.recordings.episode import RecordingError

INFO_FILE: Final = "meta/info.json"
VERSION: Final = "v3.0"
CHUNK_SIZE: Final = 1000
"""Files in a chunk's folder."""

EPISODES_PATH: Final = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA_PATH: Final = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH: Final = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
TASKS_PATH: Final = "meta/tasks.parquet"
STATS_PATH: Final = "meta/stats.json"
CAMERA_PREFIX: Final = "observation.images."


def name_of_files(name: str) -> str:
    """A camera's name, which files and folders have too.

    Raises:
        ValueError: it would name another folder.
    """
    if name in ("", ".", "..") or any(character in name for character in "/\\\0"):
        raise ValueError(f"camera {name!r} must be a name without / and \\")
    return name


class Feature(BaseModel):
    """A column of the data set, or a camera: dtype ``image`` or ``video``."""

    model_config = ConfigDict(frozen=True)

    dtype: str
    shape: list[int]
    names: Any = None

    @property
    def is_camera(self) -> bool:
        """Whether it is frames."""
        return self.dtype in ("image", "video")

    @property
    def is_numeric(self) -> bool:
        """Whether it is numbers or flags, not words."""
        try:
            return np.dtype(self.dtype).kind in "biuf"
        except TypeError:
            return False


def _named(features: dict[str, Feature]) -> dict[str, Feature]:
    for name, feature in features.items():
        if feature.is_camera:
            name_of_files(name)
    return features


class Info(BaseModel):
    """The parts of ``meta/info.json`` that reading needs."""

    model_config = ConfigDict(frozen=True)

    codebase_version: str
    fps: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    features: Annotated[dict[str, Feature], AfterValidator(_named)]
    data_path: str
    video_path: str | None = None
    chunks_size: Annotated[int, Field(gt=0)] = CHUNK_SIZE

    @property
    def has_shared_files(self) -> bool:
        """Whether files hold several episodes (v3.0), not one each (v2.x)."""
        return self.codebase_version.startswith("v3.")

    @property
    def cameras(self) -> tuple[str, ...]:
        """The features that are frames."""
        return tuple(name for name, feature in self.features.items() if feature.is_camera)

    @property
    def numeric(self) -> tuple[str, ...]:
        """The features that are numbers."""
        return tuple(name for name, feature in self.features.items() if feature.is_numeric)

    def shape_of(self, name: str) -> list[int]:
        """Of a row of a column; one number where it is no feature."""
        feature = self.features.get(name)
        return [1] if feature is None else feature.shape

    def choose_camera(self, wanted: str | None) -> str:
        """The camera that is wanted, by its name or by what follows ``observation.images.``.

        Raises:
            RecordingError: there is no such camera, or none is named and there are several.
        """
        cameras = self.cameras
        if not cameras:
            raise RecordingError("the data set has no camera: no feature is an image or a video")
        named = ", ".join(camera.removeprefix(CAMERA_PREFIX) for camera in cameras)
        if wanted is None:
            if len(cameras) > 1:
                raise RecordingError(f"the data set has several cameras: choose one of {named}")
            return cameras[0]
        for camera in (wanted, f"{CAMERA_PREFIX}{wanted}"):
            if camera in cameras:
                return camera
        raise RecordingError(f"the data set has no camera {wanted!r}: choose one of {named}")


def read_info(root: Path) -> Info:
    """Reads ``meta/info.json``.

    Raises:
        RecordingError: it is missing, wrong (the field is named), or of another version.
    """
    path = root / INFO_FILE
    try:
        info = Info.model_validate_json(path.read_bytes())
    except OSError as error:
        raise RecordingError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in problem["loc"])
        raise RecordingError(f"{path}: {field or 'the file'}: {problem['msg']}") from error
    if not info.codebase_version.startswith(("v2.", "v3.")):
        raise RecordingError(
            f"{path}: codebase_version {info.codebase_version} is not read: convert the data set "
            f"to {VERSION} with lerobot"
        )
    return info


def file_path(root: Path, field: str, template: str | None, **parts: object) -> Path:
    """A file of the data set.

    Args:
        root: the data set's folder.
        field: of ``meta/info.json`` that holds the template, for the error.
        template: with the parts' names in braces.
        parts: what stands for them.

    Raises:
        RecordingError: there is no template, it names other parts, or the file lies elsewhere.
    """
    if template is None:
        raise RecordingError(f"{root / INFO_FILE}: {field} is missing, but there is a video")
    try:
        name = template.format(**parts)
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise RecordingError(f"{root / INFO_FILE}: {field} {template!r}: {error!r}") from error
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts:
        raise RecordingError(f"{root / INFO_FILE}: {field} leads out of the data set: {name}")
    return root / relative
