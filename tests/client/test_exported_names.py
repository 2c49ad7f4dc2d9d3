"""The package's one public list of names."""

from __future__ import annotations

import inspect

import lrm_client
from lrm_client import errors

PUBLIC = {
    "AsyncEpisode",
    "AsyncRewardClient",
    "AsyncStepHandle",
    "AsyncVectorEpisodes",
    "EncodedFrame",
    "Episode",
    "EpisodeSpec",
    "EpisodeStep",
    "FailedPoint",
    "FailedReward",
    "FailurePolicy",
    "FrameEncoder",
    "FrameLike",
    "HeadAnswer",
    "HeadInfo",
    "HeadReading",
    "HeadRewards",
    "HeadScores",
    "HeadStep",
    "Hold",
    "Limits",
    "ModelInfo",
    "NoReward",
    "Normalise",
    "OpenedEpisode",
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
    "RobotOptions",
    "RobotSession",
    "RolloutRewards",
    "Run",
    "ServedModels",
    "SessionCounters",
    "Source",
    "StepHandle",
    "StepReply",
    "StepReward",
    "Subtask",
    "Timings",
    "Tokens",
    "TrajectoryOptions",
    "TrajectoryPoint",
    "TrajectoryScores",
    "Use",
    "VectorEpisodes",
    "WindowFrame",
    "WindowInfo",
    "Windows",
    "__version__",
    "close_run",
    "get_run",
    "open_run",
}


def test_the_public_names_are_these() -> None:
    raised = {
        name
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.LrmError)
    }
    assert set(lrm_client.__all__) == PUBLIC | raised
    assert len(set(lrm_client.__all__)) == len(lrm_client.__all__)


def test_every_public_name_can_be_imported() -> None:
    assert [name for name in lrm_client.__all__ if not hasattr(lrm_client, name)] == []


def test_nothing_else_is_public() -> None:
    public = {
        name
        for name, value in vars(lrm_client).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert public <= set(lrm_client.__all__)


def test_every_public_class_is_documented() -> None:
    undocumented = [
        name
        for name in lrm_client.__all__
        if inspect.isclass(getattr(lrm_client, name)) and not getattr(lrm_client, name).__doc__
    ]
    assert undocumented == []


def test_both_clients_and_both_kinds_of_episodes_have_the_same_methods() -> None:
    for blocking, asynchronous in (
        (lrm_client.RewardClient, lrm_client.AsyncRewardClient),
        (lrm_client.Episode, lrm_client.AsyncEpisode),
        (lrm_client.VectorEpisodes, lrm_client.AsyncVectorEpisodes),
    ):
        # A robot session brings its own thread, and is used on an event loop as it is.
        names = [name for name in dir(blocking) if name[0] != "_" and name != "robot_session"]
        assert names == [name for name in dir(asynchronous) if not name.startswith("_")]
        for name in names:
            one, other = getattr(blocking, name), getattr(asynchronous, name)
            if inspect.isfunction(one):
                there = inspect.signature(other).parameters
                assert list(inspect.signature(one).parameters) == list(there), name
