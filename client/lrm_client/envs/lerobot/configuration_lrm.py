"""How a reward model of LeRobot's reaches its server, and what it asks."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lrm_client.connection import DEFAULT_TIMEOUT
from lrm_client.envs.lerobot.bases import RewardModelConfig
from lrm_client.frames import JPEG_QUALITY, FrameEncoder
from lrm_client.types import Readout, Use

FAILURE_POLICIES: Final = ("raise", "mask")


@RewardModelConfig.register_subclass("lrm")
@dataclass
class LrmConfig(RewardModelConfig):
    """LeRobot's type ``lrm``: a head of a reward-model server.

    It is written into checkpoints and logs, so it names the file of the token and never holds
    the token itself.

    Attributes:
        target: ``host:port`` for gRPC, or an ``http://`` or ``https://`` URL.
        token_file: file whose content is the server's token; needed off loopback.
        head: the head that is asked: progress, contrastive, completion, tri, roboreward,
            topreward, or another that the server names.
        image_keys: the batch's keys of the camera, or of the cameras of a head that looks
            at several views, in their order; [] for the only camera of the batch.
        previous_key: key of the earlier frame that contrastive compares with; None for the
            oldest frame of the camera's window.
        initial_key: key of the episode's first frame, for heads that look at it.
        goal_key: key of a frame of the goal, for heads that look at it.
        task_key: key of the task in words.
        default_task: where the batch has none.
        frames: frames of a window, which LeRobot's data sets then load; 1 for none.
        stride: steps of the data set between two frames of a window.
        fps: frames per second of a window: the data set's over ``stride``. Heads that see
            a video need it.
        readout: None for the checkpoint's default.
        use: ``label`` or ``expected``; None for the label's value.
        swap: contrastive: ask both orders.
        failure: ``raise``, or ``mask``: NaN where the server has no reward, and False in
            the model's ``valid``.
        encoding: ``auto``, ``raw``, ``jpeg`` or ``png``; see ``FrameEncoder``.
        quality: of JPEG, 1 to 100.
        timeout: seconds that a batch may take, retries included.
        device: of LeRobot's own; nothing is computed on it.

    Raises:
        ImportError: LeRobot is not installed.
        ValueError: a value that is none of those above.
    """

    device: str | None = "cpu"

    target: str = "127.0.0.1:50051"
    token_file: str | None = None
    head: str = "progress"
    image_keys: list[str] = field(default_factory=list)
    previous_key: str | None = None
    initial_key: str | None = None
    goal_key: str | None = None
    task_key: str = "task"
    default_task: str | None = None
    frames: int = 1
    stride: int = 1
    fps: float | None = None
    readout: str | None = None
    use: str | None = None
    swap: bool = False
    failure: str = "raise"
    encoding: str = "auto"
    quality: int = JPEG_QUALITY
    timeout: float = DEFAULT_TIMEOUT

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.failure not in FAILURE_POLICIES:
            raise ValueError(f"failure must be raise or mask, not {self.failure!r}")
        for name in ("frames", "stride"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.fps is not None and not self.fps > 0:
            raise ValueError(f"fps must be above 0, not {self.fps}")
        if self.readout is not None:
            Readout(self.readout)
        if self.use is not None:
            Use(self.use)
        self.encoder()

    @property
    def observation_delta_indices(self) -> list[int] | None:
        """Which frames LeRobot's data sets load for a sample, counted from its own."""
        if self.frames == 1:
            return None
        return list(range(-(self.frames - 1) * self.stride, 1, self.stride))

    @property
    def action_delta_indices(self) -> None:
        """No actions are looked at."""
        return

    @property
    def reward_delta_indices(self) -> None:
        """No rewards are looked at."""
        return

    def encoder(self) -> FrameEncoder:
        """How frames are encoded."""
        return FrameEncoder(self.encoding, self.quality)  # type: ignore[arg-type]

    def token(self) -> str | None:
        """The token in the file.

        Raises:
            OSError: the file cannot be read.
        """
        return None if self.token_file is None else Path(self.token_file).read_text().strip()
