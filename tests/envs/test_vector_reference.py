"""The vector adapter against the clock in few lines, whatever the episodes' lengths."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st

from lrm_client.envs.vector import RewardVectorEnv
from tests.envs.counting import TASK, Counting, client_of, counting_core

STEPS = 12


def expected(
    index: int, lengths: tuple[int, ...], interval: int, reset_is_a_call: bool
) -> list[tuple[float, bool]]:
    """Reward and whether it is one, at every call: due at multiples of K of the calls."""
    rows, call = [], 0
    for episode in range(STEPS + 1):
        value = 0.0
        length = lengths[episode] if episode < len(lengths) else STEPS + 1
        for step in range(1, length + 1):
            call += 1
            if call % interval == 0 or step == length:
                value = index / 10 + episode / 100 + step / 1000
            rows.append((value, True))
        if reset_is_a_call:
            call += 1
            rows.append((0.0, False))
    return rows[:STEPS]


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.lists(st.integers(1, 5), max_size=5).map(tuple), min_size=1, max_size=4),
    interval=st.integers(1, 4),
    mode=st.sampled_from(AutoresetMode),
    deferred=st.booleans(),
    terminates=st.booleans(),
)
def test_any_lengths(
    lengths: list[tuple[int, ...]],
    interval: int,
    mode: AutoresetMode,
    deferred: bool,
    terminates: bool,
) -> None:
    count, core = len(lengths), counting_core()
    makers = [partial(Counting, at, own, terminates) for at, own in enumerate(lengths)]
    env = RewardVectorEnv(
        SyncVectorEnv(makers, autoreset_mode=mode, copy=False),
        client_of(core),
        TASK,
        ["progress"],
        camera="observation/camera",
        terminations="keep",
        interval=interval,
        deferred=deferred,
    )
    env.reset()
    rewards, valid = [], []
    for _ in range(STEPS):
        _, row, terminations, truncations, infos = env.step(np.zeros(count, np.int64))
        rewards.append(row)
        valid.append(infos["lrm"].get("valid"))
        ended = terminations | truncations
        if mode is AutoresetMode.DISABLED and ended.any():
            env.reset(options={"reset_mask": ended})
    if deferred:
        gathered = env.gather()
        rewards, valid = list(gathered.rewards), list(gathered.valid)
    env.close()
    next_step = mode is AutoresetMode.NEXT_STEP
    for at, own in enumerate(lengths):
        reference = expected(at, own, interval, next_step)
        assert [row[at] for row in rewards] == pytest.approx([row[0] for row in reference])
        assert [row[at] for row in valid] == [row[1] for row in reference]
    assert not core.episodes
