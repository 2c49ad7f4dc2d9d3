"""Rewards end to end: client, wire, episodes, heads and engine are all real."""

from __future__ import annotations

import numpy as np
import pytest

from lrm_client import RewardClient
from tests.conftest import LiveServer
from tests.rollout_frames import episodes

INTERVAL = 3


@pytest.fixture(params=["grpc", "http"])
def client(request: pytest.FixtureRequest, live_server: LiveServer):
    target = live_server.http if request.param == "http" else f"grpc://{live_server.grpc}"
    with RewardClient(target) as client:
        yield client


def test_progress_rises_on_a_success_and_is_held_between_queries(client: RewardClient) -> None:
    rollout = next(e for e in episodes() if e.env_id == "PushCube-v1" and e.success)
    with client.episode(rollout.task, ["progress"], interval=INTERVAL) as episode:
        episode.reset(rollout.jpeg(0))
        rewards = []
        for index in range(1, len(rollout.frames)):
            final = index == len(rollout.frames) - 1
            wanted = episode.wants(terminated=final)
            assert wanted == (index % INTERVAL == 0 or final)
            rewards.append(episode.step(rollout.jpeg(index) if wanted else None, terminated=final))
    values = [reward.reward for reward in rewards]
    assert values[: INTERVAL - 1] == [0.0] * (INTERVAL - 1)
    assert values[-1] >= 0.8
    queried = values[INTERVAL - 1 :: INTERVAL]
    assert np.corrcoef(queried, np.arange(len(queried)))[0, 1] > 0.8
    for at in range(INTERVAL - 1, len(values) - INTERVAL, INTERVAL):
        assert len(set(values[at : at + INTERVAL])) == 1


def test_both_transports_give_the_reward_of_a_stateless_query(live_server: LiveServer) -> None:
    rollout = episodes()[1]
    replies = []
    for target in (f"grpc://{live_server.grpc}", live_server.http):
        with RewardClient(target) as client:
            replies.append(client.progress(rollout.jpeg(9), rollout.task, initial=rollout.jpeg(0)))
    one, other = replies
    assert one.probabilities == pytest.approx(other.probabilities, abs=0.01)
    assert (one.model, one.profile) == (other.model, other.profile)


def test_sixteen_environments_share_an_engine_and_fail_one_by_one(
    live_server: LiveServer,
) -> None:
    rollouts = [episodes()[at % len(episodes())] for at in range(16)]
    with RewardClient(f"grpc://{live_server.grpc}") as client:
        vector = client.vector_episodes(
            16, [r.task for r in rollouts], ["progress", "tri"], interval=2, failure="mask"
        )
        vector.reset([r.jpeg(0) for r in rollouts])
        vector.step(None)
        frames = [r.jpeg(4) for r in rollouts]
        result = vector.step(frames)
        assert result.valid.all()
        vector.step(None)
        frames[5] = b"\xff\xd8\xff not an image"
        broken = vector.step(frames)
        vector.close()
    assert np.flatnonzero(~broken.valid).tolist() == [5]
    assert np.isnan(broken.rewards[5])
    assert np.isfinite(np.delete(broken.rewards, 5)).all()
