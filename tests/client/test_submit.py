"""Steps that are submitted now and gathered later."""

from __future__ import annotations

import threading
from typing import Any

import grpc
import numpy as np
import pytest

from lrm_client import (
    EpisodeEnded,
    EpisodeNotFound,
    FrameRequired,
    InvalidRequest,
    LrmError,
    Phase,
    RewardClient,
    RewardsFailed,
    ServerError,
    StepHandle,
    VectorEpisodes,
)
from lrm_client.wire import reward_pb2 as pb
from tests.client.direct import DirectClient
from tests.client.gate import Gate
from tests.client.scripted import Asked, ScriptedCore, ScriptedError, problem

TASK = "put the cube on the plate"
N = 3
FRAMES = np.stack([np.full((4, 5, 3), at, np.uint8) for at in range(N)])
DOWN = ScriptedError(grpc.StatusCode.INTERNAL, problem("internal", "engine lost"))


def opened(core: ScriptedCore, **options: Any) -> VectorEpisodes:
    episodes = VectorEpisodes(
        DirectClient(core), N, TASK, ["progress"], **{"interval": 2, **options}
    )
    episodes.reset(FRAMES)
    return episodes


def by_step(asked: Asked) -> float:
    return asked.step / 10


def test_gathered_rewards_are_those_of_steps_taken_one_by_one(client: RewardClient) -> None:
    def run(submitting: bool) -> tuple[np.ndarray, np.ndarray]:
        options: dict[str, Any] = {"interval": 2, "phase": Phase.ALIGNED}
        episodes = client.vector_episodes(N, TASK, ["progress"], **options)
        episodes.reset(FRAMES)
        taken = []
        for step in range(1, 8):
            final = np.array([False, step == 3, False])
            take = episodes.submit if submitting else episodes.step
            taken.append(take(FRAMES, final=final))
            if final.any():
                episodes.reset(FRAMES, final)
        if submitting:
            gathered = episodes.gather(taken)
            return gathered.rewards, gathered.source
        return np.stack([r.rewards for r in taken]), np.stack([r.source for r in taken])

    (rewards, sources), (expected, expected_sources) = run(True), run(False)
    assert (rewards.shape, rewards.dtype) == ((7, N), np.float32)
    assert (rewards == expected).all()
    assert (sources == expected_sources).all()


def test_submitting_does_not_wait_for_the_server(core: ScriptedCore, gate: Gate) -> None:
    core.answer = by_step
    episodes = opened(core)
    handles = [episodes.submit(FRAMES) for _ in range(5)]
    assert gate.reached.wait(20)
    assert [handle.done() for handle in handles[1:]] == [False] * 4
    gate.open()
    gathered = episodes.gather(handles)
    assert gathered.rewards[:, 0] == pytest.approx([0.0, 0.2, 0.2, 0.4, 0.4])
    assert gathered.valid.all()
    assert gathered.source[:, 0].tolist() == ["neutral", "queried", "held", "queried", "held"]
    assert [step.heads["progress"].age[0] for step in gathered.steps] == [-1, 0, 1, 0, 1]


def test_frames_are_taken_when_they_are_submitted(core: ScriptedCore, gate: Gate) -> None:
    rendered: list[list[int]] = []

    def render(indices: np.ndarray) -> np.ndarray:
        rendered.append(indices.tolist())
        return scene[indices]

    episodes, scene = opened(core), FRAMES.copy()
    handles = []
    for step in range(1, 5):
        scene[:] = step
        handles.append(episodes.submit(render, force=np.array([step == 3, False, False])))
    scene[:] = 99
    gate.open()
    episodes.gather(handles)
    assert rendered == [[0, 1, 2], [0], [0, 1, 2]]
    assert [(asked.step, asked.frame[0]) for asked in core.asked] == [
        *[(2, 2)] * N,
        (3, 3),
        *[(4, 4)] * N,
    ]


def test_wants_looks_ahead_of_what_is_pending(core: ScriptedCore, gate: Gate) -> None:
    episodes = opened(core)
    seen = []
    for _ in range(4):
        seen.append(episodes.wants().tolist())
        episodes.submit(FRAMES)
    assert seen == [[False] * N, [True] * N, [False] * N, [True] * N]


def test_an_episode_may_end_and_begin_again_while_steps_are_pending(
    core: ScriptedCore, gate: Gate
) -> None:
    core.answer = by_step
    episodes = opened(core)
    final = np.array([False, True, False])
    handles = [episodes.submit(), episodes.submit(FRAMES), episodes.submit(FRAMES, final=final)]
    with pytest.raises(EpisodeEnded, match="environment 1 "):
        episodes.submit(FRAMES)
    episodes.reset(FRAMES, final)
    handles += [episodes.submit(FRAMES), episodes.submit(FRAMES)]
    gate.open()
    gathered = episodes.gather(handles)
    assert gathered.source[:, 1].tolist() == ["neutral", "queried", "queried", "neutral", "queried"]
    assert gathered.rewards[:, 1] == pytest.approx([0.0, 0.2, 0.3, 0.0, 0.2])
    assert len(core.episodes) == N


def failing_at(step: int) -> Any:
    def answer(asked: Asked) -> float | pb.Problem:
        return problem("label_mass_low") if asked.step == step else by_step(asked)

    return answer


@pytest.mark.parametrize("failure", ["hold", "mask"])
def test_a_failure_lasts_up_to_the_next_frame_that_was_taken(
    core: ScriptedCore, gate: Gate, failure: str
) -> None:
    core.answer = failing_at(4)
    episodes = opened(core, failure=failure)
    handles = [episodes.submit(FRAMES) for _ in range(7)]
    gate.open()
    gathered = episodes.gather(handles)
    words = ["neutral", "queried", "held", "failed", "failed", "queried", "held"]
    assert gathered.source[:, 0].tolist() == words
    assert gathered.valid[:, 0].tolist() == [word != "failed" for word in words]
    kept = 0.2 if failure == "hold" else np.nan
    expected = [0.0, 0.2, 0.2, kept, kept, 0.6, 0.6]
    assert gathered.rewards[:, 0] == pytest.approx(expected, nan_ok=True)
    codes = [step.heads["progress"].errors[0].code for step in gathered.steps[3:5]]
    assert codes == ["label_mass_low", "frame_required"]


def test_a_failure_that_is_known_makes_the_next_submitted_step_due(core: ScriptedCore) -> None:
    core.answer = failing_at(2)
    episodes = opened(core, failure="mask")
    episodes.gather([episodes.submit(), episodes.submit(FRAMES)])
    assert episodes.wants().tolist() == [True] * N
    assert episodes.gather([episodes.submit(FRAMES)]).source.tolist() == [["queried"] * N]


def test_raise_names_the_failures_of_all_gathered_steps(core: ScriptedCore, gate: Gate) -> None:
    def answer(asked: Asked) -> float | pb.Problem:
        failed = (asked.step, asked.frame[0]) in ((2, 1), (4, 0))
        return problem("label_mass_low") if failed else 0.5

    core.answer = answer
    episodes = opened(core)
    handles = [episodes.submit(FRAMES) for _ in range(4)]
    gate.open()
    with pytest.raises(RewardsFailed) as failed:
        episodes.gather(handles)
    where = [(failure.environment, failure.step) for failure in failed.value.failures]
    assert where == [(1, 2), (1, 3), (0, 4)]
    assert failed.value.rewards is not None
    assert failed.value.rewards.valid.tolist() == [
        [True, True, True],
        [True, False, True],
        [True, False, True],
        [False, True, True],
    ]


def test_a_call_that_fails_fails_its_step_alone(core: ScriptedCore) -> None:
    episodes = opened(core, failure="mask")
    core.fail_next("StepEpisodes", DOWN)
    handles = [episodes.submit(FRAMES, force=[True] * N) for _ in range(3)]
    valid = episodes.gather(handles).valid
    assert valid.tolist() == [[False] * N, [True] * N, [True] * N]


def test_a_step_is_taken_behind_what_is_pending(core: ScriptedCore) -> None:
    episodes = opened(core)
    handle = episodes.submit()
    assert episodes.step(FRAMES).source.tolist() == ["queried"] * N
    assert handle.done()
    assert episodes.gather([handle]).source.tolist() == [["neutral"] * N]


def test_a_refused_submission_takes_no_step(core: ScriptedCore) -> None:
    episodes = opened(core)
    episodes.submit()
    with pytest.raises(FrameRequired):
        episodes.submit()
    with pytest.raises(InvalidRequest):
        episodes.submit(FRAMES[:1])
    assert episodes.gather([episodes.submit(FRAMES)]).source.tolist() == [["queried"] * N]


def test_a_reset_that_failed_behind_pending_steps_is_raised_by_gather(
    core: ScriptedCore, gate: Gate
) -> None:
    episodes = opened(core)
    first = True, False, False
    handles = [episodes.submit(FRAMES, final=first)]
    core.fail_next("OpenEpisodes", DOWN)
    episodes.reset(FRAMES, first)
    handles.append(episodes.submit(FRAMES))
    gate.open()
    with pytest.raises(LrmError, match="environment 0 was not reset: engine lost"):
        episodes.gather(handles)
    with pytest.raises(EpisodeNotFound, match="environment 0 "):
        episodes.submit(FRAMES)
    episodes.reset(FRAMES)
    assert episodes.step().valid.all()


def test_closing_waits_for_what_is_pending(core: ScriptedCore, gate: Gate) -> None:
    episodes = opened(core)
    handles = [episodes.submit(FRAMES) for _ in range(2)]
    gate.open()
    episodes.close()
    assert core.episodes == {}
    assert episodes.gather(handles).source[1].tolist() == ["queried"] * N
    episodes.reset(FRAMES)
    assert episodes.gather([episodes.submit()]).valid.all()
    episodes.close()


def test_gathering_nothing_gives_no_rows(core: ScriptedCore) -> None:
    assert opened(core).gather([]).rewards.shape == (0, N)


def test_results_name_the_step_and_the_episode_that_they_belong_to(
    core: ScriptedCore, gate: Gate
) -> None:
    core.answer = by_step
    episodes = opened(core, interval=3)
    first = episodes.episode_ids
    ends = np.array([False, True, False])
    handles = [
        episodes.submit(FRAMES, final=ends),
        episodes.submit(mask=[True, False, True]),
    ]
    episodes.reset(FRAMES, ends)
    handles += [episodes.submit(FRAMES), episodes.submit(mask=[False, True, False])]
    gate.open()
    gathered = episodes.gather(handles)
    assert gathered.step.dtype == np.int32
    assert gathered.step.tolist() == [[1, 1, 1], [2, -1, 2], [3, 1, 3], [-1, 2, -1]]
    last = episodes.episode_ids
    assert [step.episode_ids for step in gathered.steps] == [
        first,
        (first[0], "", first[2]),
        last,
        ("", last[1], ""),
    ]
    assert (last[0], last[2]) == (first[0], first[2])
    assert last[1] != first[1]


def test_a_step_that_is_not_submitted_names_itself_as_well(core: ScriptedCore) -> None:
    episodes = opened(core)
    rewards = episodes.step(mask=[True, False, True])
    assert rewards.step.tolist() == [1, -1, 1]
    assert rewards.episode_ids == (episodes.episode_ids[0], "", episodes.episode_ids[2])


def test_rows_are_in_the_order_of_the_handles_and_a_handle_may_be_gathered_again(
    core: ScriptedCore,
) -> None:
    core.answer = by_step
    episodes = opened(core)
    handles = [episodes.submit(FRAMES) for _ in range(4)]
    forwards, backwards = episodes.gather(handles), episodes.gather(handles[::-1])
    assert backwards.step[:, 0].tolist() == [4, 3, 2, 1]
    for there, back in zip(forwards.steps, reversed(backwards.steps), strict=True):
        assert there is back
    assert (backwards.rewards[::-1] == forwards.rewards).all()


def test_a_failure_is_raised_by_every_gathering_of_it(core: ScriptedCore) -> None:
    core.answer = failing_at(2)
    episodes = opened(core)
    handles = [episodes.submit(), episodes.submit(FRAMES)]
    for _ in range(2):
        with pytest.raises(RewardsFailed):
            episodes.gather(handles)
    assert episodes.gather(handles[:1]).valid.all()


def test_handles_of_other_episodes_are_refused(core: ScriptedCore) -> None:
    episodes, others = opened(core), opened(core)
    mine, other = episodes.submit(), others.submit()
    with pytest.raises(InvalidRequest, match="handle 1 was not submitted here") as refused:
        episodes.gather([mine, other])
    assert refused.value.field == "handles"
    with pytest.raises(InvalidRequest, match="handle 0 "):
        episodes.gather([others.gather([other])])  # type: ignore[list-item]
    assert episodes.gather([mine]).valid.all()


NAN = np.nan


@pytest.mark.parametrize(
    ("failure", "kept"),
    [("mask", [[NAN] * 2] * 2), ("hold", [[0.2, 0.4], [0.2, 0.4]]), ("raise", [[NAN] * 2] * 2)],
)
def test_the_arrays_are_those_of_the_specification(
    client: RewardClient, core: ScriptedCore, failure: str, kept: list[list[float]]
) -> None:
    """K = 2, alpha = 2: environment 0 has no answer at step 4, environment 1 at step 6."""
    silent = {(4, 0), (6, 1)}

    def answer(asked: Asked) -> float | pb.Problem:
        at = (asked.step, asked.frame[0])
        return problem("label_mass_low") if at in silent else asked.step * (1 + at[1]) / 20

    core.answer = answer
    episodes = client.vector_episodes(2, TASK, ["progress"], interval=2, scale=2.0, failure=failure)
    episodes.reset(FRAMES[:2])
    handles = []
    for _ in range(8):
        # One at a time, so that a failure is known before the next step.
        handles.append(episodes.submit(FRAMES[:2]))
        handles[-1].wait()
    if failure == "raise":
        with pytest.raises(RewardsFailed) as failed:
            episodes.gather(handles)
        gathered = failed.value.rewards
    else:
        gathered = episodes.gather(handles)
    first = [0.0, 0.2, 0.2, kept[0][0], 0.5, 0.6, 0.6, 0.8]
    second = [0.0, 0.4, 0.4, 0.8, 0.8, kept[1][1] * 2, 1.4, 1.6]
    words = [
        ["neutral", "queried", "held", "failed", "queried", "queried", "held", "queried"],
        ["neutral", "queried", "held", "queried", "held", "failed", "queried", "queried"],
    ]
    assert (gathered.rewards.shape, gathered.rewards.dtype) == ((8, 2), np.float32)
    assert (gathered.valid.shape, gathered.valid.dtype) == ((8, 2), np.bool_)
    for at, expected in enumerate((first, second)):
        assert gathered.rewards[:, at] == pytest.approx(expected, nan_ok=True)
        assert gathered.source[:, at].tolist() == words[at]
        assert gathered.valid[:, at].tolist() == [word != "failed" for word in words[at]]
        assert gathered.step[:, at].tolist() == list(range(1, 9))


@pytest.mark.parametrize("back", [1, 2])
def test_an_answer_that_names_another_step_is_an_error_and_no_reward(
    client: RewardClient, core: ScriptedCore, back: int
) -> None:
    """The server repeats what it said of an earlier step, as if it came late."""
    handle, said = core.handle, dict[tuple[str, int], pb.StepResult]()
    late: set[str] = set()

    def repeat(method: str, request: Any) -> Any:
        response = handle(method, request)
        if method == "StepEpisodes":
            said.update({(result.episode, result.step): result for result in response.results})
            for result in response.results:
                if result.step == 4 and result.episode not in late:
                    late.add(result.episode)
                    result.CopyFrom(said[result.episode, 4 - back])
        return response

    core.handle = repeat  # type: ignore[method-assign]
    core.answer = by_step
    episodes = client.vector_episodes(N, TASK, ["progress"], interval=1, failure="mask")
    episodes.reset(FRAMES)
    gathered = episodes.gather([episodes.submit(FRAMES) for _ in range(6)])
    assert gathered.valid.tolist() == [[step != 4] * N for step in range(1, 7)]
    assert np.isnan(gathered.rewards[3]).all()
    error = gathered.steps[3].heads["progress"].errors[0]
    assert isinstance(error, ServerError)
    assert f"answered step {4 - back} " in error.message
    assert gathered.rewards[[0, 1, 2, 4, 5], 0] == pytest.approx([0.1, 0.2, 0.3, 0.5, 0.6])


def test_leaving_by_an_exception_gives_up_what_was_not_sent(core: ScriptedCore, gate: Gate) -> None:
    def stop(episodes: VectorEpisodes) -> None:
        with episodes:
            handles.extend(episodes.submit(FRAMES) for _ in range(4))
            assert gate.reached.wait(20)
            threading.Timer(0.05, gate.open).start()
            raise KeyboardInterrupt

    handles: list[StepHandle] = []
    episodes = opened(core, interval=1)
    with pytest.raises(KeyboardInterrupt):
        stop(episodes)
    assert core.episodes == {}
    assert {asked.step for asked in core.asked} == {1}
    assert episodes.gather(handles[:1]).valid.all()
    with pytest.raises(EpisodeNotFound, match="closed before this step was sent"):
        episodes.gather(handles)
    episodes.reset(FRAMES)
    assert episodes.gather([episodes.submit(FRAMES)]).valid.all()
    episodes.close()
