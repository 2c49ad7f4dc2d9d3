"""From a video's frames to the patches that a Qwen3-VL vision tower takes.

Equal to what Hugging Face's ``Qwen3VLVideoProcessor`` does up to normalisation, with
frames that were sampled before: the same target size, resize, padding and order of
patches; and the same times. vLLM normalises on the engine's device.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lrm_server.engine.patches import MAX_ASPECT_RATIO, Patches, processor_config, resized
from lrm_server.errors import invalid
from lrm_server.frames import Pixels

# The processor's own defaults, for checkpoints that leave them out.
_SHORTEST, _LONGEST = 128 * 32 * 32, 32 * 32 * 768
_MAX_VIDEO_TOKENS = 768


@dataclass(frozen=True, slots=True)
class VideoPreparation:
    """How videos become patches; read from a checkpoint's processor files.

    Attributes:
        patch: side of a patch, in pixels.
        temporal_patch: frames in a patch; the last frame is repeated to fill it.
        merge: patches along each side that become one token.
        min_pixels: of all frames together; smaller videos are enlarged.
        max_pixels: of all frames together; larger videos are shrunk.
        frame_pixels: most pixels of one frame; None for no such bound.
    """

    patch: int
    temporal_patch: int
    merge: int
    min_pixels: int
    max_pixels: int
    frame_pixels: int | None = None

    @property
    def digest(self) -> str:
        """8 hex digits that change with anything that changes the patches of a video."""
        fields = (
            *(self.patch, self.temporal_patch, self.merge),
            *(self.min_pixels, self.max_pixels, self.frame_pixels),
        )
        return hashlib.blake2b(repr(fields).encode(), digest_size=4).hexdigest()

    def target_size(self, frames: int, height: int, width: int) -> tuple[int, int]:
        """Height and width after resizing; the rounding is that of Qwen3-VL's ``smart_resize``.

        A single frame counts as often as it is repeated to fill a patch.

        Raises:
            DomainError: INVALID_ARGUMENT when one side is over 200 times the other.
        """
        unit = self.patch * self.merge
        frames = max(frames, self.temporal_patch)
        most = self.max_pixels
        if self.frame_pixels is not None:
            share = min(self.frame_pixels, self.max_pixels // frames)
            most = frames * max(share, int(self.min_pixels * 1.05))
        if min(height, width) < unit:
            scale = max(unit / height, unit / width)
            height, width = int(height * scale), int(width * scale)
        if max(height, width) > MAX_ASPECT_RATIO * min(height, width):
            raise invalid(
                "",
                f"the frames are {height}x{width} pixels: one side is over "
                f"{MAX_ASPECT_RATIO:.0f} times the other. Crop them.",
            )
        rows, columns = round(height / unit) * unit, round(width / unit) * unit
        filled = round(frames / self.temporal_patch) * self.temporal_patch
        if filled * rows * columns > most:
            factor = math.sqrt(frames * height * width / most)
            rows = max(unit, math.floor(height / factor / unit) * unit)
            columns = max(unit, math.floor(width / factor / unit) * unit)
        elif filled * rows * columns < self.min_pixels:
            factor = math.sqrt(self.min_pixels / (frames * height * width))
            rows = math.ceil(height * factor / unit) * unit
            columns = math.ceil(width * factor / unit) * unit
        return rows, columns


def prepare_video(frames: Sequence[Pixels], how: VideoPreparation) -> Patches:
    """Resizes a video's frames and cuts them into patches.

    Args:
        frames: uint8 (height, width, 3), RGB, of one size, in the order of time.
        how: the checkpoint's preparation.

    Returns:
        Patches of the whole video; ``tokens`` is of one step of time alone.
    """
    height, width = frames[0].shape[:2]
    rows, columns = how.target_size(len(frames), height, width)
    if (rows, columns) != (height, width):
        frames = [resized(frame, rows, columns) for frame in frames]
    missing = -len(frames) % how.temporal_patch
    video = np.stack([*frames, *[frames[-1]] * missing])
    grid_t = len(video) // how.temporal_patch
    grid_h, grid_w = rows // how.patch, columns // how.patch
    # A token's merge x merge patches lie together; within a patch the order is channel, time,
    # row, column.
    blocks = video.reshape(
        *(grid_t, how.temporal_patch),
        *(grid_h // how.merge, how.merge, how.patch),
        *(grid_w // how.merge, how.merge, how.patch),
        3,
    ).transpose(0, 2, 5, 3, 6, 8, 1, 4, 7)
    return Patches(
        values=torch.from_numpy(np.ascontiguousarray(blocks).reshape(grid_t * grid_h * grid_w, -1)),
        grid=torch.tensor([grid_t, grid_h, grid_w], dtype=torch.int64),
        tokens=grid_h * grid_w // how.merge**2,
    )


def step_times(times: Sequence[float], temporal_patch: int) -> tuple[float, ...]:
    """The time of each step of a video: the middle of its first and its last frame, in seconds."""
    filled = [*times, *[times[-1]] * (-len(times) % temporal_patch)]
    return tuple(
        (filled[at] + filled[at + temporal_patch - 1]) / 2
        for at in range(0, len(filled), temporal_patch)
    )


def read_video_preparation(checkpoint: Path) -> VideoPreparation:
    """The preparation of videos that a checkpoint's processor files ask for.

    Raises:
        DomainError: INVALID_ARGUMENT when the files are missing or ask for something
            else than this preparation does.
    """
    config = processor_config(checkpoint, "video_processor", "video_preprocessor_config.json")
    kind = str(config.get("video_processor_type", "Qwen3VLVideoProcessor"))
    if kind != "Qwen3VLVideoProcessor":
        raise invalid(
            "model",
            f"the checkpoint's video processor is {kind}; lrm prepares videos for Qwen3-VL's.",
        )
    if config.get("resample", 3) != 3 or not config.get("do_resize", True):
        raise invalid("model", "the checkpoint's video processor does not resize bicubically.")
    size = config.get("size") or {}
    patch, merge = int(config.get("patch_size", 16)), int(config.get("merge_size", 2))
    ceiling = int(config.get("max_video_tokens") or _MAX_VIDEO_TOKENS) * (patch * merge) ** 2
    return VideoPreparation(
        patch=patch,
        temporal_patch=int(config.get("temporal_patch_size", 2)),
        merge=merge,
        min_pixels=int(size.get("shortest_edge", _SHORTEST)),
        max_pixels=int(size.get("longest_edge", _LONGEST)),
        frame_pixels=ceiling if config.get("cap_pixels_per_frame") else None,
    )
