"""Frames from shared memory give what the same frames give when they travel, to the last bit."""

from __future__ import annotations

import numpy as np

from lrm_client import FrameEncoder, Reply, RewardClient
from tests.conftest import LiveServer
from tests.rollout_frames import episodes, frame


def answer(reply: Reply) -> tuple[object, ...]:
    return reply.value, reply.expected, reply.label_mass, dict(reply.probabilities)


def test_replies_are_the_same_to_the_last_bit(live_server: LiveServer) -> None:
    rollout = episodes()[0]
    first, last = (frame(rollout, at).pixels() for at in (0, 9))
    raw = FrameEncoder("raw")
    with (
        RewardClient(live_server.grpc, encoder=raw) as inline,
        RewardClient(live_server.grpc, shared_memory=True) as shared,
    ):
        for ask in (
            lambda client: client.progress(last, rollout.task, initial=first),
            lambda client: client.contrastive(first, last, rollout.task),
        ):
            # Once more than is compared: what the engine knows of a prompt is then the same.
            replies = [ask(client) for client in (inline, inline, shared)]
            assert answer(replies[1]) == answer(replies[2])


def test_an_episode_is_paid_the_same(live_server: LiveServer) -> None:
    rollout = episodes()[0]
    film = [frame(rollout, at).pixels() for at in range(5)]

    def rewards(**options: bool) -> np.ndarray:
        with RewardClient(live_server.grpc, encoder=FrameEncoder("raw"), **options) as client:
            vector = client.vector_episodes(1, rollout.task, ["tri"], interval=2)
            vector.reset([film[0]])
            handles = [vector.submit([shown]) for shown in film[1:]]
            paid = vector.gather(handles).rewards
            vector.close()
        return paid

    rewards()
    assert np.array_equal(rewards(), rewards(shared_memory=True))
