"""Many environments in as many messages as the limits of one ask for."""

from __future__ import annotations

import numpy as np
import pytest

from lrm_client import EpisodeStep, RewardClient, VectorEpisodes
from lrm_client.chunks import MAX_ITEMS, Chunks
from lrm_client.episode_calls import EpisodeCalls
from lrm_client.flows import run
from lrm_client.frames import EncodedFrame
from tests.client.direct import DirectClient
from tests.client.scripted import Asked, ScriptedCore, ScriptedError, frames_of, problem
from tests.client.scripted_grpc import serve_grpc

TASK = "put the cube on the plate"
N = 6
SIDE = 60
FRAME_BYTES = SIDE * SIDE * 3
LIMIT = 4 * FRAME_BYTES
DOWN = ScriptedError(None, problem("internal", "engine lost"))  # type: ignore[arg-type]


def frames(step: int) -> np.ndarray:
    batch = np.zeros((N, SIDE, SIDE, 3), np.uint8)
    batch[:] = 10 * step + np.arange(N)[:, None, None, None]
    return batch


def sent_steps(core: ScriptedCore) -> list[list[tuple[str, int]]]:
    return [
        [(step.episode, step.step) for step in request.steps]
        for name, request in core.requests
        if name == "StepEpisodes"
    ]


@pytest.fixture
def small(core: ScriptedCore) -> DirectClient:
    """A client whose messages hold three frames, and a server that takes no larger ones."""
    handle = core.handle

    def limited(method: str, request: object) -> object:
        assert request.ByteSize() <= LIMIT  # type: ignore[attr-defined]
        return handle(method, request)

    core.handle = limited  # type: ignore[method-assign]
    client = DirectClient(core)
    client.max_message_bytes = LIMIT
    return client


def opened(client: object, **options: object) -> VectorEpisodes:
    episodes = VectorEpisodes(
        client, N, TASK, ["contrastive"], **{"interval": 1, "failure": "mask", **options}
    )
    episodes.reset(frames(0))
    return episodes


def test_frames_beyond_one_message_travel_in_several_over_the_wire(core: ScriptedCore) -> None:
    with (
        serve_grpc(core) as target,
        RewardClient(target, timeout=10.0, max_message_bytes=LIMIT) as client,
    ):
        rewards = opened(client).step(frames(1))
    assert rewards.valid.all()
    assert [len(steps) for steps in sent_steps(core)] == [3, 3, 3, 3]


def test_rewards_come_back_in_the_environments_order(
    small: DirectClient, core: ScriptedCore
) -> None:
    core.answer = lambda asked: float(asked.frame[0])
    assert opened(small).step(frames(1)).rewards.tolist() == [10 + at for at in range(N)]


def test_a_message_that_fails_fails_its_own_environments_alone(
    small: DirectClient, core: ScriptedCore
) -> None:
    episodes = opened(small)
    core.fail_next("StepEpisodes", DOWN)
    assert episodes.step(frames(1)).valid.tolist() == [False] * 3 + [True] * 3


def test_lost_episodes_whose_frames_exceed_one_message_are_opened_again(
    small: DirectClient, core: ScriptedCore
) -> None:
    episodes = opened(small)
    episodes.step(frames(1))
    core.lose_episodes()
    core.requests.clear()
    core.asked.clear()
    rewards = episodes.step(frames(2))
    assert rewards.source.tolist() == ["queried"] * N
    # The initial frame, the last and the current one of each environment, in one message.
    ids = episodes.episode_ids
    assert sent_steps(core)[2:] == [[(each, 0), (each, 1), (each, 2)] for each in ids]
    assert core.asked == [
        Asked(ids[at], step, "contrastive", frames(step)[at].tobytes())
        for at in range(N)
        for step in (1, 2)
    ]


def test_frames_of_one_environment_that_fit_no_message_together_keep_their_order(
    core: ScriptedCore,
) -> None:
    client = DirectClient(core)
    client.max_message_bytes = 2 * FRAME_BYTES
    episodes = opened(client)
    episodes.step(frames(1))
    core.lose_episodes()
    core.requests.clear()
    assert episodes.step(frames(2)).source.tolist() == ["queried"] * N
    ids = episodes.episode_ids
    expected = [[(each, step)] for each in ids for step in (0, 1, 2)]
    assert sent_steps(core)[N:] == expected


def test_steps_behind_a_message_of_their_episode_that_failed_are_not_sent(
    core: ScriptedCore,
) -> None:
    client = DirectClient(core)
    client.max_message_bytes = 2 * FRAME_BYTES
    episodes = opened(client)
    core.lose_episodes()
    core.requests.clear()
    # Each environment's step is refused; then the first environment's step 0 fails.
    core.fail_next("StepEpisodes", *[lambda: None] * N, DOWN)
    rewards = episodes.step(frames(1))
    assert rewards.valid.tolist() == [False] + [True] * (N - 1)
    first = episodes.episode_ids[0]
    assert [steps for steps in sent_steps(core)[N:] if steps[0][0] == first] == [[(first, 0)]]
    assert episodes.step(frames(2)).valid.all()


def test_a_frame_that_fits_no_message_fails_for_its_own_environment(core: ScriptedCore) -> None:
    with (
        serve_grpc(core) as target,
        RewardClient(target, timeout=10.0, max_message_bytes=LIMIT) as client,
    ):
        episodes = opened(client)
        large = list(frames(1))
        large[2] = np.zeros((200, 200, 3), np.uint8)
        rewards = episodes.step(large)
    assert rewards.valid.tolist() == [True, True, False, True, True, True]
    assert "max_message_bytes" in str(rewards.heads["contrastive"].errors[2])


def test_more_environments_than_one_message_may_hold(core: ScriptedCore) -> None:
    count = MAX_ITEMS + 1
    episodes = VectorEpisodes(DirectClient(core), count, TASK, ["progress"], interval=1)
    tiny = np.zeros((count, 1, 1, 3), np.uint8)
    episodes.reset(tiny)
    assert episodes.step(tiny).valid.all()
    episodes.close()
    sizes = {
        name: [
            len(getattr(request, "steps" if name == "StepEpisodes" else "episodes"))
            for method, request in core.requests
            if method == name
        ]
        for name in ("OpenEpisodes", "StepEpisodes", "CloseEpisodes")
    }
    assert sizes == {
        "OpenEpisodes": [MAX_ITEMS, 1],
        "StepEpisodes": [MAX_ITEMS, 1] * 2,
        "CloseEpisodes": [MAX_ITEMS, 1],
    }
    assert core.episodes == {}


def test_specifications_beyond_one_message_travel_in_several(
    small: DirectClient, core: ScriptedCore
) -> None:
    tasks = ["put the cube on the plate " * 600] * N
    episodes = VectorEpisodes(small, N, tasks, ["progress"])
    episodes.reset(np.zeros((N, 4, 4, 3), np.uint8))
    assert core.count("OpenEpisodes") == 3
    assert len(core.episodes) == N


def test_a_frame_that_several_steps_share_counts_once(core: ScriptedCore) -> None:
    client = DirectClient(core)
    client.max_message_bytes = LIMIT
    shared = EncodedFrame("raw", bytes(FRAME_BYTES), SIDE, SIDE)
    steps = [EpisodeStep(f"episode {at}", 0, shared) for at in range(N)]
    run(EpisodeCalls(client).step(steps), client)
    request = core.last("StepEpisodes")
    assert (len(request.steps), len(frames_of(request.frames))) == (N, 1)


@pytest.mark.parametrize(
    ("groups", "cut"),
    [
        ([], []),
        (["ab", "cd"], ["abcd"]),
        (["abc", "def"], ["abc", "def"]),
        (["a", "bcdefg", "h"], ["a", "bcde", "fgh"]),
        (["abcd", "e"], ["abcd", "e"]),
    ],
    ids=str,
)
def test_a_group_is_cut_only_where_it_does_not_fit_by_itself(
    groups: list[str], cut: list[str]
) -> None:
    sized = [[(letter, {letter: 1}) for letter in group] for group in groups]
    assert ["".join(chunk) for chunk in Chunks[str](4).cut(sized)] == cut
    assert ["".join(chunk) for chunk in Chunks[str](100, 4).cut(sized)] == cut
