"""Recording an environment while it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lrm_server.recordings.episode import RecordedEpisode, RecordingError
from lrm_server.recordings.folders import write_folders
from lrm_server.recordings.pixels import as_pixels
from lrm_server.recordings.recorder import Recorder, record_episodes
from tests.recordings.corridor import LIMIT, Corridor, stay, walk
from tests.recordings.made import assert_same_labels


def record(
    env: Any,
    policy: Any = walk,
    episodes: int = 1,
    seed: int = 0,
    longest: int = 100,
    **options: Any,
) -> list[RecordedEpisode]:
    taken: list[RecordedEpisode] = []
    recorder = Recorder(env, task="Walk to the end.", taken=taken.append, **options)
    list(record_episodes(recorder, policy(env), episodes=episodes, seed=seed, longest=longest))
    return taken


def levels(episode: RecordedEpisode) -> list[int]:
    return [int(as_pixels(frame)[0, 0, 0]) for frame in episode.frames]


@pytest.mark.parametrize("tensors", [False, True])
def test_a_success_from_reset_to_its_end(tensors: bool) -> None:
    (one,) = record(Corridor(tensors=tensors), group="Corridor-v0", kind="walk", fps=10.0)
    assert levels(one) == [31 * step for step in range(7)]
    assert one.steps.tolist() == list(range(7))
    assert (one.length, one.success, one.seed) == (6, True, 0)
    assert one.done is not None
    assert one.done.tolist() == [False] * 6 + [True]
    assert one.rewards is not None
    np.testing.assert_allclose(one.rewards, np.arange(7) / 6)
    assert one.columns["action"].tolist() == [[1.0]] * 7
    assert (one.id, one.group, one.kind, one.fps) == ("Corridor-v0_0", "Corridor-v0", "walk", 10.0)


def test_a_truncated_episode_is_a_failure_with_its_last_frame() -> None:
    (one,) = record(Corridor(), stay)
    assert (one.length, one.success) == (LIMIT, False)
    assert levels(one)[-1] == LIMIT


def test_seeds_count_up_and_episodes_are_apart() -> None:
    first, second = record(Corridor(), episodes=2, seed=4)
    assert (first.seed, second.seed) == (4, 5)
    assert (first.length, second.length) == (5, 4)
    assert levels(second)[0] == 60


def test_an_episode_that_ends_at_once() -> None:
    env = Corridor()
    env.reset()
    taken: list[RecordedEpisode] = []
    recorder = Recorder(env, task="Walk.", taken=taken.append)
    recorder.reset()
    env.place = 5
    recorder.step(1)
    assert (taken[0].length, len(taken[0].frames), taken[0].success) == (1, 2, True)


def test_every_nth_step_and_the_last_and_no_picture_more() -> None:
    env = Corridor()
    (one,) = record(env, every=4)
    assert one.steps.tolist() == [0, 4, 6]
    assert levels(one) == [0, 31 * 4, 31 * 6]
    assert env.renders == 3
    assert "action" not in one.columns


def test_the_longest_episode_is_ended() -> None:
    (one,) = record(Corridor(), stay, longest=3, every=2)
    assert one.steps.tolist() == [0, 2, 3]
    assert one.success is False


@pytest.mark.parametrize("key", ["success", "is_success"])
def test_success_under_either_name(key: str) -> None:
    assert record(Corridor(says=key))[0].success is True


def test_an_environment_that_says_nothing_of_success() -> None:
    (one,) = record(Corridor(says=""))
    assert one.success is None
    assert one.done is None


def test_success_that_is_told_at_the_end_alone() -> None:
    (one,) = record(Corridor(says_at_end=True))
    assert one.success is True
    assert one.done is None


@pytest.mark.parametrize("tensors", [False, True])
def test_a_camera_in_the_observation(tensors: bool) -> None:
    env = Corridor(tensors=tensors)
    (one,) = record(env, camera="observation/sensor/eye/rgb")
    assert levels(one) == [255 - 31 * step for step in range(7)]
    assert env.renders == 0


@pytest.mark.parametrize(
    ("camera", "named"),
    [
        ("observation/sensor/ear", "observation/sensor has no 'ear'; it has eye"),
        ("observation", "gave dict"),
        ("observation/place", "int64"),
        ("front", "render or observation"),
        ("render/front", "render or observation"),
    ],
)
def test_a_camera_that_gives_no_picture(camera: str, named: str) -> None:
    with pytest.raises(RecordingError, match=named):
        record(Corridor(), camera=camera)


def test_an_environment_that_is_not_rendered() -> None:
    env = Corridor()
    env.render = lambda: None  # type: ignore[method-assign]
    with pytest.raises(RecordingError, match="rgb_array"):
        record(env)


def test_several_environments_are_refused() -> None:
    env = Corridor()
    step = env.step

    def two(action: Any) -> Any:
        observation, reward, *rest = step(action)
        return observation, np.array([reward, reward]), *rest

    env.step = two  # type: ignore[method-assign]
    with pytest.raises(RecordingError, match="one environment"):
        record(env)


def test_a_step_before_any_reset_is_refused() -> None:
    with pytest.raises(RecordingError, match="reset"):
        Recorder(Corridor(), task="Walk.", taken=lambda episode: None).step(1)


def test_what_a_reset_interrupts_is_no_episode() -> None:
    taken: list[RecordedEpisode] = []
    recorder = Recorder(Corridor(), task="Walk.", taken=taken.append)
    recorder.reset(seed=1)
    recorder.step(1)
    recorder.reset(seed=2)
    assert not taken
    recorder.step(1)
    recorder.end()
    recorder.end()
    assert [one.seed for one in taken] == [2]


def test_the_environment_answers_as_without_the_recorder() -> None:
    recorder = Recorder(Corridor(), task="Walk.", taken=lambda episode: None)
    observation, info = recorder.reset(seed=2)
    assert (observation["place"], info) == (2, {})
    _, reward, terminated, truncated, info = recorder.step(1)
    assert (float(reward), bool(terminated), bool(truncated)) == (0.5, False, False)
    assert recorder.metadata == Corridor.metadata


def test_pictures_that_are_drawn_into_one_buffer_are_copied() -> None:
    env = Corridor()
    buffer = np.zeros((8, 8, 3), np.uint8)

    def render() -> np.ndarray:
        buffer[:] = 31 * env.steps
        return buffer

    env.render = render  # type: ignore[method-assign]
    (one,) = record(env)
    assert levels(one) == [31 * step for step in range(7)]


def test_what_is_recorded_is_written_and_read(tmp_path: Path) -> None:
    from lrm_server.recordings.data_set import open_data_set

    recorded = record(Corridor(), episodes=3)
    write_folders(recorded, tmp_path / "set")
    for found, wanted in zip(open_data_set(tmp_path / "set"), recorded, strict=True):
        assert_same_labels(found, wanted)


@pytest.mark.parametrize("reward", [float("nan"), float("inf")])
def test_a_reward_that_is_no_number_is_named_by_its_step(
    reward: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Corridor.step

    def broken(self: Corridor, action: Any) -> Any:
        observation, _, *rest = step(self, action)
        return observation, reward if self.steps == 3 else 0.0, *rest

    monkeypatch.setattr(Corridor, "step", broken)
    with pytest.raises(RecordingError, match=f"Corridor-v0 gave the reward {reward} at step 3"):
        record(Corridor(), group="Corridor-v0")
