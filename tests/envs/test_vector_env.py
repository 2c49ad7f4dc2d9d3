"""N Gymnasium environments against traces that were computed by hand.

Three environments, K = 3, aligned. The first ends at step 4, the second has two episodes of
one step, the third ends at step 6; their next episodes do not end.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

from lrm_client import EpisodeEnded, RewardsFailed
from lrm_client.envs.vector import RewardVectorEnv
from lrm_client.wire import reward_pb2 as pb
from tests.client.scripted import Asked, ScriptedCore, problem
from tests.envs.counting import TASK, Counting, client_of, counting_core, digits, sent

LENGTHS = ((4,), (1, 1), (6,))
N = len(LENGTHS)
STEPS = 8
ACTIONS = np.zeros(N, np.int64)

Frame = tuple[int, int, int]

# A column is an environment, a row is a call of step. Digits: environment, episode, step.
NEXT_STEP_REWARDS = [
    [0.0, 0.101, 0.0],
    [0.0, 0.0, 0.0],
    [0.003, 0.111, 0.203],
    [0.004, 0.0, 0.203],
    [0.0, 0.0, 0.203],
    [0.011, 0.122, 0.206],
    [0.011, 0.122, 0.0],
    [0.011, 0.122, 0.0],
]
NEXT_STEP_STEPS = [
    [1, 1, 1],
    [2, 0, 2],
    [3, 1, 3],
    [4, 0, 4],
    [0, 1, 5],
    [1, 2, 6],
    [2, 3, 0],
    [3, 4, 1],
]
NEXT_STEP_SOURCES = [
    ["neutral", "queried", "neutral"],
    ["neutral", "", "neutral"],
    ["queried", "queried", "queried"],
    ["queried", "", "held"],
    ["", "neutral", "held"],
    ["queried", "queried", "queried"],
    ["held", "held", ""],
    ["held", "held", "neutral"],
]
NEXT_STEP_FRAMES = [(1, 0, 1), (0, 0, 3), (1, 1, 1), (2, 0, 3), (0, 0, 4)]
NEXT_STEP_FRAMES += [(0, 1, 1), (1, 2, 2), (2, 0, 6)]
NEXT_STEP_INITIAL = [(0, 0, 0), (1, 0, 0), (2, 0, 0), (1, 1, 0), (1, 2, 0), (0, 1, 0), (2, 1, 0)]

# Where an episode begins within the step that ends the last one, or before the next call.
AT_ONCE_REWARDS = [
    [0.0, 0.101, 0.0],
    [0.0, 0.111, 0.0],
    [0.003, 0.121, 0.203],
    [0.004, 0.121, 0.203],
    [0.0, 0.121, 0.203],
    [0.012, 0.124, 0.206],
    [0.012, 0.124, 0.0],
    [0.012, 0.124, 0.0],
]
AT_ONCE_STEPS = [
    [1, 1, 1],
    [2, 1, 2],
    [3, 1, 3],
    [4, 2, 4],
    [1, 3, 5],
    [2, 4, 6],
    [3, 5, 1],
    [4, 6, 2],
]
AT_ONCE_SOURCES = [
    ["neutral", "queried", "neutral"],
    ["neutral", "queried", "neutral"],
    ["queried", "queried", "queried"],
    ["queried", "held", "held"],
    ["neutral", "held", "held"],
    ["queried", "queried", "queried"],
    ["held", "held", "neutral"],
    ["held", "held", "neutral"],
]
AT_ONCE_FRAMES = [(1, 0, 1), (1, 1, 1), (0, 0, 3), (1, 2, 1), (2, 0, 3), (0, 0, 4)]
AT_ONCE_FRAMES += [(0, 1, 2), (1, 2, 4), (2, 0, 6)]
AT_ONCE_INITIAL = [(0, 0, 0), (1, 0, 0), (2, 0, 0), (1, 1, 0), (1, 2, 0), (0, 1, 0), (2, 1, 0)]

NEXT_STEP_TRACE = (
    NEXT_STEP_REWARDS,
    NEXT_STEP_STEPS,
    NEXT_STEP_SOURCES,
    NEXT_STEP_FRAMES,
    NEXT_STEP_INITIAL,
)
AT_ONCE_TRACE = (AT_ONCE_REWARDS, AT_ONCE_STEPS, AT_ONCE_SOURCES, AT_ONCE_FRAMES, AT_ONCE_INITIAL)


def vector(mode: AutoresetMode, kind: str = "sync", **options: Any) -> VectorEnv:
    makers = [partial(Counting, at, lengths, **options) for at, lengths in enumerate(LENGTHS)]
    if kind == "sync":
        # One buffer for all observations, as fast learners have it.
        return SyncVectorEnv(makers, autoreset_mode=mode, copy=False)
    return AsyncVectorEnv(makers, autoreset_mode=mode, context="spawn")


def rewarded(core: ScriptedCore, env: VectorEnv, **options: Any) -> RewardVectorEnv:
    given = {"interval": 3, **options}
    return RewardVectorEnv(env, client_of(core), TASK, ["progress"], **given)


def rollout(env: RewardVectorEnv, steps: int = STEPS) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """The rewards, float (steps, N), and the infos of so many calls of ``step``."""
    rows, infos = [], []
    env.reset(seed=1)
    for _ in range(steps):
        _, rewards, terminations, truncations, info = env.step(ACTIONS)
        assert (rewards.shape, rewards.dtype) == ((N,), np.float32)
        rows.append(rewards)
        infos.append(info["lrm"])
        ended = terminations | truncations
        if env.metadata["autoreset_mode"] is AutoresetMode.DISABLED and ended.any():
            env.reset(options={"reset_mask": ended})
    return np.asarray(rows), infos


CASES = [
    pytest.param(AutoresetMode.NEXT_STEP, "render", NEXT_STEP_TRACE, id="next step, rendered"),
    pytest.param(
        AutoresetMode.NEXT_STEP, "observation/camera", NEXT_STEP_TRACE, id="next step, observed"
    ),
    pytest.param(
        AutoresetMode.SAME_STEP, "observation/camera", AT_ONCE_TRACE, id="same step, observed"
    ),
    pytest.param(AutoresetMode.DISABLED, "render", AT_ONCE_TRACE, id="disabled, rendered"),
    pytest.param(
        AutoresetMode.DISABLED, "observation/camera", AT_ONCE_TRACE, id="disabled, observed"
    ),
]


@pytest.mark.parametrize(("mode", "camera", "trace"), CASES)
def test_environments_that_end_at_different_steps(
    mode: AutoresetMode, camera: str, trace: Any
) -> None:
    expected, steps, sources, frames, initial = trace
    core = counting_core()
    rewards, infos = rollout(rewarded(core, vector(mode), camera=camera))
    assert rewards == pytest.approx(np.asarray(expected))
    assert [info["step"].tolist() for info in infos] == steps
    assert [info["heads"]["progress"]["source"].tolist() for info in infos] == sources
    valid = [[bool(word) for word in row] for row in sources]
    assert [info["valid"].tolist() for info in infos] == valid
    assert sent(core, initial=False) == frames
    assert sent(core, initial=True) == initial


@pytest.mark.parametrize(("mode", "camera", "trace"), CASES)
def test_deferred_rewards_are_those_of_blocking_steps(
    mode: AutoresetMode, camera: str, trace: Any
) -> None:
    expected, steps, sources, frames, initial = trace
    core = counting_core()
    env = rewarded(core, vector(mode), camera=camera, deferred=True)
    stepped = np.asarray(steps) > 0
    rewards, infos = rollout(env)
    assert np.isnan(rewards[stepped]).all()
    assert (rewards[~stepped] == 0).all()
    assert [info["step"].tolist() for info in infos] == steps
    assert "heads" not in infos[0]
    gathered = env.gather()
    assert gathered.rewards == pytest.approx(np.asarray(expected))
    assert gathered.model.source.tolist() == sources
    assert (gathered.valid == stepped).all()
    assert gathered.environment[stepped] == pytest.approx(10 * np.asarray(steps)[stepped])
    assert sent(core, initial=False) == frames
    assert sent(core, initial=True) == initial
    assert env.gather().rewards.shape == (0, N)


@pytest.mark.parametrize(("mode", "camera", "trace"), [CASES[0], CASES[2]])
def test_environments_in_processes_of_their_own(
    mode: AutoresetMode, camera: str, trace: Any
) -> None:
    expected, _, sources, frames, initial = trace
    core = counting_core()
    env = rewarded(core, vector(mode, "async"), camera=camera)
    try:
        rewards, infos = rollout(env)
    finally:
        env.close()
    assert rewards == pytest.approx(np.asarray(expected))
    assert [info["heads"]["progress"]["source"].tolist() for info in infos] == sources
    assert sent(core, initial=False) == frames
    assert sent(core, initial=True) == initial


def test_only_what_is_sent_is_rendered() -> None:
    env = vector(AutoresetMode.NEXT_STEP)
    core = counting_core()
    rollout(rewarded(core, env))
    rendered = {(at, *frame) for at, single in enumerate(env.envs) for frame in single.rendered}
    assert sum(len(single.rendered) for single in env.envs) == len(rendered)
    assert rendered == {*NEXT_STEP_FRAMES, *NEXT_STEP_INITIAL}


def test_a_function_may_render_and_is_given_the_environments_that_are_due() -> None:
    env, asked = vector(AutoresetMode.NEXT_STEP), []

    def camera(indices: np.ndarray) -> list[np.ndarray]:
        asked.append(indices.tolist())
        return [env.envs[at].render() for at in indices]

    core = counting_core()
    rewards, _ = rollout(rewarded(core, env, camera=camera))
    assert rewards == pytest.approx(np.asarray(NEXT_STEP_REWARDS))
    assert asked == [[0, 1, 2], [1], [1], [0, 1, 2], [0], [1], [0], [0, 1, 2], [2]]


@pytest.mark.parametrize("mode", AutoresetMode)
def test_a_kept_termination_ends_an_episode_as_a_truncation_does(mode: AutoresetMode) -> None:
    core, truncating = counting_core(), counting_core()
    options: dict[str, Any] = {"camera": "observation/camera", "terminations": "keep"}
    rewards, _ = rollout(rewarded(core, vector(mode, terminates=True), **options))
    expected, _ = rollout(rewarded(truncating, vector(mode), **options))
    assert (rewards == expected).all()
    assert sent(core, initial=False) == sent(truncating, initial=False)


@pytest.mark.parametrize("mode", AutoresetMode)
def test_a_termination_is_refused_where_it_is_to_be_ignored(mode: AutoresetMode) -> None:
    env = rewarded(counting_core(), vector(mode, terminates=True), camera="observation/camera")
    env.reset()
    with pytest.raises(RuntimeError, match=r"environments \[1\].*FixedHorizon.*'keep'"):
        env.step(ACTIONS)


def test_an_episode_that_was_not_reset_takes_no_step() -> None:
    class Careless(SyncVectorEnv):
        def step(self, actions: Any) -> Any:
            self._autoreset_envs[:] = False
            return super().step(actions)

    makers = [partial(Counting, at, lengths) for at, lengths in enumerate(LENGTHS)]
    env = rewarded(counting_core(), Careless(makers, autoreset_mode=AutoresetMode.DISABLED))
    env.reset()
    env.step(ACTIONS)
    with pytest.raises(EpisodeEnded, match="environment 1 "):
        env.step(ACTIONS)


def test_a_reset_of_some_keeps_the_others_and_the_options() -> None:
    core = counting_core()
    env = rewarded(core, vector(AutoresetMode.NEXT_STEP))
    env.reset()
    env.step(ACTIONS)
    options = {"reset_mask": np.array([True, True, False])}
    env.reset(options=options)
    assert list(options) == ["reset_mask"]
    _, _, _, _, infos = env.step(ACTIONS)
    # The second ended, and the reset of it that was to come with the next step is done.
    assert infos["lrm"]["step"].tolist() == [1, 1, 2]
    assert sent(core, initial=True)[N:] == [(0, 1, 0), (1, 1, 0)]


def failing(at: Frame) -> Any:
    def answer(asked: Asked) -> float | pb.Problem:
        return problem("label_mass_low") if tuple(asked.frame[:3]) == at else digits(asked)

    return answer


@pytest.mark.parametrize("deferred", [False, True])
def test_a_query_that_failed_is_masked_until_the_next_that_succeeds(deferred: bool) -> None:
    core = counting_core()
    core.answer = failing((0, 0, 3))
    env = rewarded(core, vector(AutoresetMode.NEXT_STEP), failure="mask", deferred=deferred)
    rewards, infos = rollout(env)
    valid = np.asarray(NEXT_STEP_STEPS) > 0
    expected = np.asarray(NEXT_STEP_REWARDS)
    expected[2, 0], valid[2, 0] = np.nan, False
    if deferred:
        gathered = env.gather()
        rewards, told = gathered.rewards, gathered.valid
    else:
        told = np.asarray([info["valid"] for info in infos])
        errors = infos[2]["heads"]["progress"]["error"]
        assert [bool(error) for error in errors] == [True, False, False]
        assert infos[2]["heads"]["progress"]["source"].tolist()[0] == "failed"
    assert rewards == pytest.approx(expected, nan_ok=True)
    assert (told == valid).all()


def test_a_failure_that_is_raised_leaves_every_episode_where_it_is() -> None:
    core = counting_core()
    core.answer = failing((1, 1, 1))
    env = rewarded(core, vector(AutoresetMode.SAME_STEP), camera="observation/camera")
    env.reset()
    env.step(ACTIONS)
    with pytest.raises(RewardsFailed, match="environment 1 "):
        env.step(ACTIONS)
    rest = [env.step(ACTIONS)[1] for _ in range(STEPS - 2)]
    assert np.asarray(rest) == pytest.approx(np.asarray(AT_ONCE_REWARDS[2:]))


def test_rewards_are_blended() -> None:
    core = counting_core()
    rewards, infos = rollout(rewarded(core, vector(AutoresetMode.NEXT_STEP), weight=0.25))
    own = 10.0 * np.asarray(NEXT_STEP_STEPS)
    assert rewards == pytest.approx(0.75 * own + 0.25 * np.asarray(NEXT_STEP_REWARDS))
    assert np.asarray([info["environment"] for info in infos]) == pytest.approx(own)


def test_every_head_is_told_of_and_one_pays() -> None:
    env = RewardVectorEnv(
        vector(AutoresetMode.NEXT_STEP),
        client_of(counting_core()),
        TASK,
        ["progress", "completion"],
        interval=2,
        scale=3.0,
        head="completion",
    )
    env.reset()
    env.step(ACTIONS)
    _, rewards, _, _, infos = env.step(ACTIONS)
    head = infos["lrm"]["heads"]["completion"]
    told = {name for name in infos["lrm"]["heads"] if not name.startswith("_")}
    assert told == {"progress", "completion"}
    assert (rewards[[0, 2]] == head["reward"][[0, 2]]).all()
    assert head["reward"][[0, 2]] == pytest.approx([0.006, 0.606])
    assert head["value"][[0, 2]] == pytest.approx([0.002, 0.202])
    assert head["age"].tolist() == [0, -1, 0]
    assert head["error"].tolist() == [""] * N


def test_a_task_that_is_set_holds_for_the_episodes_that_begin_after() -> None:
    core = counting_core()
    env = rewarded(core, vector(AutoresetMode.NEXT_STEP))
    env.reset()
    env.task = ["first", "second", "third"]
    env.step(ACTIONS)
    env.step(ACTIONS)
    tasks = [
        spec.task
        for method, request in core.requests
        if method == "OpenEpisodes"
        for spec in request.episodes
    ]
    assert tasks == [TASK] * N + ["second"]


def test_closing_closes_the_episodes_and_the_environments() -> None:
    core, inner = counting_core(), vector(AutoresetMode.NEXT_STEP)
    env = rewarded(core, inner)
    env.reset()
    assert len(core.episodes) == N
    env.close()
    assert not core.episodes
    assert inner.closed
