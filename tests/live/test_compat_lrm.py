"""LRM's and Robometer's clients on the real engine."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import requests

from tests.api.compat import lrm_client, robometer_client
from tests.conftest import LiveServer
from tests.live.film import Film, success


@pytest.fixture(scope="module")
def rollout() -> Film:
    return success()


def posted(live_server: LiveServer, path: str, **sent: Any) -> dict[str, Any]:
    answer = requests.post(f"{live_server.http}/compat/{path}", timeout=60, **sent)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_the_three_heads_judge_a_success(live_server: LiveServer, rollout: Film) -> None:
    first, last = rollout.frames[0], rollout.frames[-1]

    def ask(path: str, body: dict[str, Any]) -> dict[str, Any]:
        return posted(live_server, f"lrm/{path}", json={**body, "task_description": rollout.task})

    progress = ask("compute_reward", lrm_client.reward(last, initial_image=first))
    assert progress["score"] >= 0.8
    assert json.loads(progress["response"]) == {"completion_progress": progress["score"]}
    done = ask("compute_completion", lrm_client.completion(last))
    assert (done["score"], done["completed"]) == (1.0, True)
    assert json.loads(done["response"]) == {"task_completed": "yes"}
    closer = ask("compute_comparison", lrm_client.comparison(first, last))
    assert (closer["result"], closer["score"]) == ("ImageB", 1.0)
    assert ask("compute_comparison", lrm_client.comparison(last, first))["result"] == "ImageA"


def test_many_callers_at_once_get_their_own_answers(live_server: LiveServer, rollout: Film) -> None:
    bodies = [
        {**lrm_client.reward(frame), "task_description": rollout.task} for frame in rollout.frames
    ]
    alone = [posted(live_server, "lrm/compute_reward", json=body)["score"] for body in bodies]
    with ThreadPoolExecutor(len(bodies)) as callers:
        together = list(
            callers.map(
                lambda body: posted(live_server, "lrm/compute_reward", json=body)["score"], bodies
            )
        )
    # In a batch, bfloat16 rounds otherwise: a frame between two stages may change sides.
    assert together == pytest.approx(alone, abs=0.11)
    assert len(set(together)) > 2


def test_robometers_client_sees_progress_rise(live_server: LiveServer, rollout: Film) -> None:
    film = np.stack(rollout.frames)
    samples = [
        robometer_client.progress(film, rollout.task),
        robometer_client.progress(film[:2], rollout.task),
        robometer_client.preference(film, film[:2]),
    ]
    samples[2]["chosen_trajectory"]["task"] = rollout.task
    body = posted(live_server, "robometer/evaluate_batch_npy", **robometer_client.form(samples))
    whole, begin = body["outputs_progress"]["progress_pred"]
    assert (len(whole), len(begin)) == (len(film), 2)
    assert np.corrcoef(whole, np.arange(len(whole)))[0, 1] > 0.8
    done = body["outputs_success"]["success_probs"][0]
    assert done[-1] > 0.5 > done[0]
    assert body["outputs_preference"]["predictions"] == [1]
