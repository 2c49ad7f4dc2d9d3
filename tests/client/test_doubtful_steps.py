"""Steps whose call broke off: the server may have taken them, and the clocks stay equal."""

from __future__ import annotations

import grpc
import numpy as np
import pytest

from lrm_client import (
    EpisodeSpec,
    EpisodeStep,
    Hold,
    Retry,
    RewardClient,
    Unavailable,
    VectorEpisodes,
)
from tests.client.direct import DirectClient
from tests.client.scripted import ScriptedCore, ScriptedError, problem
from tests.client.scripted_http import serve_http

TASK = "put the cube on the plate"
GONE = ScriptedError(grpc.StatusCode.INTERNAL, problem("internal", "engine lost"))
FULL = ScriptedError(grpc.StatusCode.RESOURCE_EXHAUSTED, problem("overloaded", "queue full"))


def lose_reply() -> None:
    raise GONE


def frame(step: int) -> np.ndarray:
    return np.full((1, 4, 5, 3), step, np.uint8)


def opened(client: object, *heads: str, **options: object) -> VectorEpisodes:
    episodes = VectorEpisodes(
        client, 1, TASK, heads or ("progress",), **{"interval": 1, "failure": "mask", **options}
    )
    episodes.reset(frame(0))
    return episodes


@pytest.fixture
def direct(core: ScriptedCore) -> DirectClient:
    return DirectClient(core)


def test_an_answer_that_was_lost_is_asked_for_again_in_the_next_steps_message(
    client: RewardClient, core: ScriptedCore
) -> None:
    episodes = opened(client, interval=2)
    core.fail_next("StepEpisodes", lose_reply)
    core.answer = lambda asked: asked.step / 10
    episodes.step()
    assert not episodes.step(frame(2)).valid.any()
    sent = core.last("StepEpisodes").steps[0]
    calls = core.count("StepEpisodes")
    rewards = episodes.step(frame(3))
    assert rewards.source.tolist() == ["queried"]
    # Step 2 was queried once, and its answer came with that of step 3.
    assert [asked.step for asked in core.asked] == [2, 3]
    again = [
        (step.request_id, step.HasField("frame"))
        for name, request in core.requests
        if name == "StepEpisodes"
        for step in request.steps
        if step.step == 2
    ]
    assert again == [(sent.request_id, True), (sent.request_id, False)]
    requests = core.count("StepEpisodes") - calls
    # Over HTTP each step is a request; over gRPC the two are one message.
    assert requests == (2 if client.target.startswith("http") else 1)
    episodes.step(frame(4))
    assert len(core.last("StepEpisodes").steps) == 1


def test_what_the_server_took_is_held_and_compared_with_but_not_paid(
    direct: DirectClient, core: ScriptedCore
) -> None:
    episodes = opened(direct, hold=Hold.DIFFERENCE)
    core.answer = lambda asked: 0.25
    core.fail_next("StepEpisodes", lose_reply)
    assert np.isnan(episodes.step(frame(1)).rewards).all()
    core.answer = lambda asked: 0.75
    assert episodes.step(frame(2)).rewards.tolist() == [0.5]


def test_the_age_of_a_failure_counts_from_the_answer_that_was_lost(
    direct: DirectClient, core: ScriptedCore
) -> None:
    episodes = opened(direct)
    core.fail_next("StepEpisodes", lose_reply)
    episodes.step(frame(1))
    core.answer = lambda asked: problem("label_mass_low")
    rewards = episodes.step(frame(2))
    assert rewards.source.tolist() == ["failed"]
    assert rewards.heads["progress"].age.tolist() == [1]


def test_a_step_that_was_never_taken_has_failed_and_nothing_advanced(
    direct: DirectClient, core: ScriptedCore
) -> None:
    episodes = opened(direct, hold=Hold.DIFFERENCE)
    core.answer = lambda asked: asked.step / 4
    core.fail_next("StepEpisodes", GONE)
    episodes.step(frame(1))
    rewards = episodes.step(frame(2))
    # The server compares step 2 with step 0, and that change is what is paid.
    assert [asked.step for asked in core.asked] == [2]
    assert rewards.rewards.tolist() == [0.5]


def test_a_refusal_at_the_door_leaves_the_doubt(direct: DirectClient, core: ScriptedCore) -> None:
    episodes = opened(direct, hold=Hold.DIFFERENCE)
    core.answer = lambda asked: asked.step / 4
    core.fail_next("StepEpisodes", lose_reply, FULL)
    episodes.step(frame(1))
    episodes.step(frame(2))
    assert episodes.step(frame(3)).rewards.tolist() == [0.5]


def test_in_a_long_outage_the_first_doubtful_step_and_the_last_are_asked_for(
    direct: DirectClient, core: ScriptedCore
) -> None:
    episodes = opened(direct)
    core.fail_next("StepEpisodes", lose_reply, *[GONE] * 5, lose_reply)
    for step in range(1, 8):
        episodes.step(frame(step))
    core.answer = lambda asked: problem("label_mass_low")
    rewards = episodes.step(frame(8))
    assert [step.step for step in core.last("StepEpisodes").steps] == [1, 7, 8]
    assert rewards.heads["progress"].age.tolist() == [1]


def test_a_new_episode_has_no_doubts_of_the_one_before(
    direct: DirectClient, core: ScriptedCore
) -> None:
    episodes = opened(direct)
    core.fail_next("StepEpisodes", lose_reply)
    episodes.step(frame(1))
    episodes.reset(frame(0))
    episodes.step(frame(1))
    assert [step.step for step in core.last("StepEpisodes").steps] == [1]


def test_a_doubtful_step_is_not_asked_of_a_server_that_forgot_the_episode(
    direct: DirectClient, core: ScriptedCore
) -> None:
    episodes = opened(direct)
    core.answer = lambda asked: asked.step / 10
    episodes.step(frame(1))
    core.fail_next("StepEpisodes", lose_reply)
    episodes.step(frame(2))
    core.lose_episodes()
    core.asked.clear()
    assert episodes.step(frame(3)).source.tolist() == ["queried"]
    # The last frame whose answer is known is the one that step 3 compares with.
    assert [(asked.step, asked.frame[0]) for asked in core.asked] == [(1, 1), (3, 3)]


def test_the_frame_of_an_answer_that_was_lost_is_compared_with_after_a_restart(
    direct: DirectClient, core: ScriptedCore
) -> None:
    episodes = opened(direct)
    core.fail_next("StepEpisodes", lose_reply)
    episodes.step(frame(1))
    core.answer = lambda asked: problem("label_mass_low") if asked.step == 2 else 0.5
    episodes.step(frame(2))
    core.lose_episodes()
    core.asked.clear()
    episodes.step(frame(3))
    assert [(asked.step, asked.frame[0]) for asked in core.asked] == [(1, 1), (3, 3)]


def test_a_submitted_steps_failure_leaves_the_doubt_until_a_frame_is_sent(
    direct: DirectClient, core: ScriptedCore
) -> None:
    episodes = opened(direct, interval=3)
    core.answer = lambda asked: asked.step / 10
    core.fail_next("StepEpisodes", lose_reply)
    frames = {step: frame(step) for step in range(1, 7)}
    handles = [episodes.submit(frames[step] if step % 3 == 0 else None) for step in frames]
    rewards = episodes.gather(handles).steps
    assert [step.source[0] for step in rewards] == ["neutral"] * 2 + ["failed"] * 3 + ["queried"]
    assert [step.step for step in core.last("StepEpisodes").steps] == [3, 6]


def test_a_step_is_not_sent_after_one_of_its_episode_that_brought_no_answer(
    core: ScriptedCore,
) -> None:
    down = ScriptedError(grpc.StatusCode.UNAVAILABLE, problem("unavailable"))
    with serve_http(core) as target, RewardClient(target, retry=Retry(attempts=1)) as client:
        first, second = client.open_episodes([EpisodeSpec(TASK, ["progress"]) for _ in range(2)])
        client.step_episodes([EpisodeStep(each.id, 0, frame(0)[0]) for each in (first, second)])
        core.fail_next("StepEpisodes", down)
        core.requests.clear()
        with pytest.raises(Unavailable):
            client.step_episodes([EpisodeStep(first.id, at) for at in (1, 2)])
        steps = [r.steps[0].step for name, r in core.requests if name == "StepEpisodes"]
        assert steps == [1]
