"""What requests are held to, as both transports name it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lrm_server.frames import FrameLimits
from lrm_server.trajectories.types import TrajectoryLimits

if TYPE_CHECKING:
    from lrm_server.config import Settings

MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may be. All sizes in bytes.

    Attributes:
        shared_memory: whether frames may lie in memory that the client shares.
    """

    message: int
    batch: int
    seconds: float
    labels: int
    frame: FrameLimits
    trajectory: TrajectoryLimits
    shared_memory: bool = False

    @classmethod
    def of(cls, settings: Settings, *, max_labels: int = 128) -> Limits:
        """The limits that the settings set.

        Args:
            settings: of the server.
            max_labels: how many labels the engine can read at a head's answer slot.
        """
        return cls(
            message=settings.max_message_mib * MIB,
            batch=settings.max_batch,
            seconds=settings.request_timeout_seconds,
            labels=max_labels,
            frame=FrameLimits(
                max_bytes=settings.max_frame_mib * MIB, max_pixels=settings.max_frame_pixels
            ),
            trajectory=TrajectoryLimits(
                max_bytes=settings.max_trajectory_mib * MIB,
                max_frames=settings.max_trajectory_frames,
                max_trajectories=settings.max_trajectories,
                max_queries=settings.max_trajectory_queries,
                max_decode_seconds=settings.max_decode_seconds,
                seconds=settings.trajectory_timeout_seconds,
            ),
            shared_memory=settings.reads_shared_memory,
        )

    def named(self) -> dict[str, int]:
        """The limits as both transports name them to callers."""
        return {
            "max_message_bytes": self.message,
            "max_frame_bytes": self.frame.max_bytes,
            "max_frame_pixels": self.frame.max_pixels,
            "max_batch": self.batch,
            "max_labels": self.labels,
            "max_trajectory_bytes": self.trajectory.max_bytes,
            "max_trajectory_frames": self.trajectory.max_frames,
        }
