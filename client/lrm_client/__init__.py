"""Rewards from a reward-model server: send frames and a task, get rewards back.

Stateless, one question at a time::

    from lrm_client import RewardClient

    with RewardClient("127.0.0.1:50051") as client:
        reply = client.contrastive(before, after, "put the red cube on the plate")
        print(reply.value, reply.probabilities)

N environments, asked every ten steps, with frames rendered only when they are wanted::

    episodes = client.vector_episodes(320, "put the red cube on the plate", ["contrastive"])
    episodes.reset(render_all())
    for action in actions:
        terminated, truncated = envs.step(action)
        rewards = episodes.step(render_some, final=terminated | truncated)

``episodes.submit`` takes a step without waiting for its rewards, and ``episodes.gather``
returns those of a whole rollout. ``AsyncRewardClient`` does the same on an event loop.
``client.robot_session`` is for a control loop that must never wait, ``client.score_trajectory``
scores a recorded attempt, and ``lrm_client.envs`` has adapters of simulators.

Frames are uint8 arrays (H, W, 3) in RGB, PIL images, or bytes of a JPEG or PNG file. A
failure is an exception, or is marked in ``valid``; it is never a reward.
"""

from lrm_client.async_client import AsyncRewardClient
from lrm_client.async_vector_episodes import AsyncStepHandle, AsyncVectorEpisodes
from lrm_client.budgets import Run, close_run, get_run, open_run
from lrm_client.client import RewardClient
from lrm_client.clock import Hold, Phase, Source
from lrm_client.connection import Priority, Retry
from lrm_client.episodes import AsyncEpisode, Episode, StepReward
from lrm_client.errors import (
    DeadlineExceeded,
    EpisodeEnded,
    EpisodeExists,
    EpisodeNotFound,
    FailedPoint,
    FailedReward,
    FrameRequired,
    InvalidRequest,
    LrmError,
    ModelError,
    Overloaded,
    RewardsFailed,
    RunNotFound,
    ServerError,
    StepBehind,
    TrajectoryFailed,
    Unauthenticated,
    Unavailable,
    UnknownHead,
    WarmUpOver,
)
from lrm_client.frames import EncodedFrame, FrameEncoder, FrameLike
from lrm_client.rate import Rate
from lrm_client.readings import HeadReading, NoReward, Reading, SessionCounters
from lrm_client.rewards import FailurePolicy, HeadRewards, HeadStep, Rewards, RolloutRewards
from lrm_client.robot_session import RobotOptions, RobotSession
from lrm_client.subtasks import Subtask
from lrm_client.trajectories import (
    HeadScores,
    Normalise,
    TrajectoryOptions,
    TrajectoryPoint,
    TrajectoryScores,
    Windows,
)
from lrm_client.types import (
    EpisodeSpec,
    EpisodeStep,
    HeadAnswer,
    HeadInfo,
    Limits,
    ModelInfo,
    OpenedEpisode,
    Query,
    Readout,
    Reply,
    ServedModels,
    StepReply,
    Timings,
    Tokens,
    Use,
    WindowFrame,
    WindowInfo,
)
from lrm_client.vector_episodes import StepHandle, VectorEpisodes
from lrm_client.version import __version__

__all__ = [
    "AsyncEpisode",
    "AsyncRewardClient",
    "AsyncStepHandle",
    "AsyncVectorEpisodes",
    "DeadlineExceeded",
    "EncodedFrame",
    "Episode",
    "EpisodeEnded",
    "EpisodeExists",
    "EpisodeNotFound",
    "EpisodeSpec",
    "EpisodeStep",
    "FailedPoint",
    "FailedReward",
    "FailurePolicy",
    "FrameEncoder",
    "FrameLike",
    "FrameRequired",
    "HeadAnswer",
    "HeadInfo",
    "HeadReading",
    "HeadRewards",
    "HeadScores",
    "HeadStep",
    "Hold",
    "InvalidRequest",
    "Limits",
    "LrmError",
    "ModelError",
    "ModelInfo",
    "NoReward",
    "Normalise",
    "OpenedEpisode",
    "Overloaded",
    "Phase",
    "Priority",
    "Query",
    "Rate",
    "Reading",
    "Readout",
    "Reply",
    "Retry",
    "RewardClient",
    "Rewards",
    "RewardsFailed",
    "RobotOptions",
    "RobotSession",
    "RolloutRewards",
    "Run",
    "RunNotFound",
    "ServedModels",
    "ServerError",
    "SessionCounters",
    "Source",
    "StepBehind",
    "StepHandle",
    "StepReply",
    "StepReward",
    "Subtask",
    "Timings",
    "Tokens",
    "TrajectoryFailed",
    "TrajectoryOptions",
    "TrajectoryPoint",
    "TrajectoryScores",
    "Unauthenticated",
    "Unavailable",
    "UnknownHead",
    "Use",
    "VectorEpisodes",
    "WarmUpOver",
    "WindowFrame",
    "WindowInfo",
    "Windows",
    "__version__",
    "close_run",
    "get_run",
    "open_run",
]
