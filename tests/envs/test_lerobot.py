"""How LeRobot's batches are asked, and what comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import grpc
import numpy as np
import pytest
import torch

from lrm_client.errors import InvalidRequest, ServerError, UnknownHead
from tests.client.scripted import ScriptedCore, ScriptedError, frames_of, problem
from tests.client.scripted_grpc import serve_grpc
from tests.envs.lerobot_rig import CAMERA, ServingCore, batch_of, images, windows
from tests.envs.lerobot_stub import stand_in

Make = Callable[..., Any]
PAD = f"{CAMERA}_is_pad"


@pytest.fixture
def adapter() -> Iterator[ModuleType]:
    with stand_in() as module:
        yield module


@pytest.fixture
def core() -> ScriptedCore:
    return ServingCore()


@pytest.fixture
def make(adapter: ModuleType, core: ScriptedCore) -> Iterator[Make]:
    made = []
    with serve_grpc(core) as target:

        def make(**options: Any) -> Any:
            made.append(adapter.LrmRewardModel(adapter.LrmConfig(target=target, **options)))
            return made[-1]

        yield make
        for model in made:
            model.close()


def red(core: ScriptedCore) -> list[int]:
    """The levels of the frames of the last call, in their order."""
    return [data[0] for data in frames_of(core.last("Score").frames)]


@pytest.mark.parametrize(
    "kind", [torch.uint8, torch.float32, torch.float64, torch.float16, torch.bfloat16, np.float32]
)
def test_a_batch_is_one_call_and_gives_a_float_for_each_sample(
    make: Make, core: ScriptedCore, kind: Any
) -> None:
    pixels = images(0, 51, 255)
    if kind is np.float32:
        pixels = pixels.numpy().astype(np.float32) / 255
    elif kind is not torch.uint8:
        pixels = (pixels.to(torch.float32) / 255).to(kind)
    rewards = make().compute_reward(batch_of(pixels))
    assert (rewards.dtype, rewards.shape) == (torch.float32, (3,))
    assert rewards.tolist() == pytest.approx([0.0, 0.2, 1.0])
    assert core.count("Score") == 1
    assert [query.head for query in core.last("Score").queries] == ["progress"] * 3
    assert red(core) == [0, 51, 255]


def test_every_level_of_a_float_image_is_the_byte_that_it_was(
    make: Make, core: ScriptedCore
) -> None:
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).repeat(1, 3, 1, 1)
    make().compute_reward(batch_of(pixels / 255))
    (frame,) = frames_of(core.last("Score").frames)
    assert np.frombuffer(frame, np.uint8).reshape(256, 3).tolist() == [[i] * 3 for i in range(256)]


def test_rows_columns_and_colours_keep_their_places(make: Make, core: ScriptedCore) -> None:
    pixels = torch.arange(3 * 4 * 6, dtype=torch.uint8).reshape(1, 3, 4, 6)
    make().compute_reward(batch_of(pixels))
    (frame,) = frames_of(core.last("Score").frames)
    shown = np.frombuffer(frame, np.uint8).reshape(4, 6, 3)
    assert (shown == pixels[0].permute(1, 2, 0).numpy()).all()


def test_a_head_of_single_frames_sees_the_newest_of_a_window(
    make: Make, core: ScriptedCore
) -> None:
    rewards = make(head="completion").compute_reward(batch_of(windows([1, 2, 51], [3, 4, 102])))
    assert rewards.tolist() == pytest.approx([0.2, 0.4])
    assert red(core) == [51, 102]


def test_contrastive_compares_the_newest_with_the_oldest(make: Make, core: ScriptedCore) -> None:
    make(head="contrastive", swap=True, use="expected").compute_reward(
        batch_of(windows([1, 2, 3], [4, 5, 6]))
    )
    request = core.last("Score")
    levels = red(core)
    assert [(levels[q.previous], levels[q.current]) for q in request.queries] == [(1, 3), (4, 6)]
    assert all(query.swap for query in request.queries)


def test_the_earlier_the_first_and_a_goal_frame_have_keys_of_their_own(
    make: Make, core: ScriptedCore
) -> None:
    batch = batch_of(images(9, 8), before=images(7, 6), first=windows([0, 5], [0, 4]))
    make(head="contrastive", previous_key="before", initial_key="first").compute_reward(batch)
    levels = red(core)
    seen = [(levels[q.previous], levels[q.initial], levels[q.current])
            for q in core.last("Score").queries]  # fmt: skip
    assert seen == [(7, 5, 9), (6, 4, 8)]
    with pytest.raises(InvalidRequest, match=r"does not look at a frame goal.*leave goal_key out"):
        make(head="contrastive", goal_key="before").compute_reward(batch)


def test_an_episodes_first_frame_is_compared_with_nothing(make: Make, core: ScriptedCore) -> None:
    padded = torch.tensor([[True, False], [True, False], [False, False]])
    batch = batch_of(windows([7, 7], [7, 51], [7, 102]), **{PAD: padded})
    model = make(head="contrastive")
    assert model.compute_reward(batch).tolist() == pytest.approx([0.25, 0.2, 0.4])
    assert len(core.last("Score").queries) == 2
    assert model.valid.all()
    assert model.replies[0] is None
    calls = core.count("Score")
    only = {**batch_of(windows([7, 7])), PAD: padded[:1]}
    assert model.compute_reward(only).tolist() == [0.25]
    assert core.count("Score") == calls


def test_a_video_head_sees_the_window_from_the_episodes_first_frame_on(
    make: Make, core: ScriptedCore
) -> None:
    padded = torch.tensor([[True, True, False], [False, False, False]])
    batch = batch_of(windows([1, 1, 1], [1, 2, 3]), ["a", "b"], **{PAD: padded})
    make(head="roboreward", fps=2.5).compute_reward(batch)
    request, levels = core.last("Score"), red(core)
    shown = [[levels[item.frame] for item in query.window] for query in request.queries]
    assert shown == [[1], [1, 2, 3]]
    assert {query.fps for query in request.queries} == {2.5}
    assert {item.view for query in request.queries for item in query.window} == {""}
    assert [query.task for query in request.queries] == ["a", "b"]


def test_the_views_of_several_cameras_are_named_by_their_keys(
    make: Make, core: ScriptedCore
) -> None:
    wrist = "observation.images.wrist"
    batch = batch_of(windows([1, 2]), **{wrist: windows([3, 4])})
    make(head="roboreward", image_keys=[wrist, CAMERA]).compute_reward(batch)
    levels = red(core)
    (query,) = core.last("Score").queries
    seen = [(item.view, levels[item.frame]) for item in query.window]
    assert seen == [(wrist, 3), (wrist, 4), (CAMERA, 1), (CAMERA, 2)]
    with pytest.raises(InvalidRequest, match="name one in image_keys"):
        make().compute_reward(batch)
    with pytest.raises(InvalidRequest, match="looks at one camera"):
        make(image_keys=[wrist, CAMERA]).compute_reward(batch)


@pytest.mark.parametrize(
    ("given", "asked"),
    [("a", ["a", "a"]), (["a"], ["a", "a"]), (("a", "b"), ["a", "b"]), (None, ["z", "z"])],
)
def test_a_task_is_for_all_samples_or_for_each(
    make: Make, core: ScriptedCore, given: Any, asked: list[str]
) -> None:
    batch = batch_of(images(1, 2), given)
    if given is None:
        del batch["task"]
    make(default_task="z").compute_reward(batch)
    assert [query.task for query in core.last("Score").queries] == asked


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        (batch_of(images(1, 2).permute(0, 2, 3, 1)), r"RGB of shape .* not \(2, 4, 6, 3\)"),
        (batch_of(images(1)[0]), r"RGB of shape .* not \(3, 4, 6\)"),
        (batch_of(images(1).float() * 2 - 300), "before they are normalised"),
        (batch_of(torch.full((1, 3, 4, 6), torch.nan)), "not nan to nan"),
        (batch_of(images(1).long()), "not int64"),
        (batch_of(images(1), ["a", "b"]), "task holds 2 texts for 1 samples"),
        (batch_of(images(1), [7]), "a text or a list of texts"),
        ({CAMERA: images(1)}, "has no task"),
        ({"task": "a"}, r"no observation\.images"),
        (batch_of(windows([1, 2]), **{PAD: torch.zeros(1, 3)}), r"shape \(1, 2\), not \(1, 3\)"),
    ],
)
def test_a_batch_that_is_wrong_is_refused_before_anything_is_asked(
    make: Make, core: ScriptedCore, batch: dict[str, Any], said: str
) -> None:
    head = "roboreward" if PAD in batch else "progress"
    with pytest.raises(InvalidRequest, match=said):
        make(head=head, failure="mask").compute_reward(batch)
    assert core.count("Score") == 0


def test_contrastive_without_an_earlier_frame_says_where_it_may_come_from(make: Make) -> None:
    with pytest.raises(InvalidRequest, match="frames and stride load, or name previous_key"):
        make(head="contrastive").compute_reward(batch_of(images(1)))


def fail_second(core: ScriptedCore) -> None:
    core.answer = lambda asked: (
        problem("label_mass_low", "it was not answering") if asked.frame[0] == 2 else 0.5
    )


def test_a_sample_that_failed_is_raised_with_the_others_rewards(
    make: Make, adapter: ModuleType, core: ScriptedCore
) -> None:
    fail_second(core)
    model = make()
    with pytest.raises(adapter.BatchFailed, match="sample 1: label_mass_low: it was not") as caught:
        model.compute_reward(batch_of(images(1, 2, 3)))
    rewards = caught.value.rewards
    assert rewards.isnan().tolist() == [False, True, False]
    assert rewards[[0, 2]].tolist() == [0.5, 0.5]
    assert [failure.sample for failure in caught.value.failures] == [1]


def test_a_masked_failure_is_nan_and_not_valid(make: Make, core: ScriptedCore) -> None:
    fail_second(core)
    model = make(failure="mask")
    assert model.valid is None
    rewards = model.compute_reward(batch_of(images(1, 2, 3)))
    assert rewards.isnan().tolist() == [False, True, False]
    assert model.valid.tolist() == [True, False, True]
    assert [(f.sample, f.error.code) for f in model.failures] == [(1, "label_mass_low")]
    assert model.replies[1] is None
    assert model.replies[2].value == 0.5
    core.answer = lambda asked: 1.0
    assert model.compute_reward(batch_of(images(1, 2))).tolist() == [1.0, 1.0]
    assert model.valid.tolist() == [True, True]
    assert model.failures == ()


@pytest.mark.parametrize("method", ["Score", "ListModels"])
def test_a_call_that_fails_as_a_whole_fails_every_sample(
    make: Make, core: ScriptedCore, method: str
) -> None:
    down = ScriptedError(grpc.StatusCode.INTERNAL, problem("internal", "the engine is down"))
    core.fail_next(method, down, down)
    model = make(failure="mask")
    assert model.compute_reward(batch_of(images(1, 2))).isnan().all()
    assert not model.valid.any()
    assert {failure.error.code for failure in model.failures} == {"internal"}
    with pytest.raises(ServerError, match="the engine is down"):
        make().compute_reward(batch_of(images(1, 2)))


@pytest.mark.parametrize("failure", ["raise", "mask"])
def test_a_head_that_is_not_served_is_told_with_those_that_are(make: Make, failure: str) -> None:
    with pytest.raises(
        UnknownHead, match="no head 'speed', only completion, contrastive, progress"
    ):
        make(head="speed", failure=failure).compute_reward(batch_of(images(1)))
