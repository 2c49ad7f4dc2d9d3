"""The evaluation gives known scorers their known figures."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from training.cases import near_pairs
from training.evaluate import SETS, evaluate, show
from training.frame_folders import read_all
from training.metrics import auc, random_progress_error, value_order
from training.rollouts.store import HELD_OUT_FROM
from training.tasks import KEPT_OUT, TASKS


@pytest.fixture(scope="module")
def episodes():
    return read_all(SETS["planner"])


def oracle(episodes):
    """A scorer that knows every frame by its bytes."""
    known = {e.jpeg(i): frame for e in episodes for i, frame in enumerate(e.frames)}

    def score(queries):
        answers = []
        for query in queries:
            frames = {role: known[jpeg] for role, jpeg in query.frames.items()}
            current = frames["current"]
            if query.head == "progress":
                answers.append(
                    {f"{n / 10:.1f}": float(n == round(10 * current.progress)) for n in range(11)}
                )
            elif query.head == "completion":
                answers.append({"yes": float(current.done), "no": float(not current.done)})
            else:
                better = float(current.progress > frames["previous"].progress)
                answers.append({"current": better, "previous": 1 - better})
        return answers

    return score


def undecided(queries):
    names = {
        "progress": [f"{n / 10:.1f}" for n in range(11)],
        "completion": ["no", "yes"],
        "contrastive": ["previous", "current"],
    }
    return [dict.fromkeys(names[q.head], 1 / len(names[q.head])) for q in queries]


def test_who_knows_everything_scores_full_marks(episodes):
    overall = evaluate(episodes, oracle(episodes))["overall"]
    # Stages are a tenth apart.
    assert overall["progress_mae"]["label"] < 0.05
    assert overall["direction_accuracy"]["model"] == 1.0
    assert overall["completion_auc"]["model"] == 1.0
    assert overall["value_order"]["spearman"] > 0.99


def test_who_cannot_decide_gets_no_pair_right(episodes):
    result = evaluate(episodes, undecided)
    assert result["overall"]["direction_accuracy"]["model"] == 0.0
    assert result["overall"]["completion_auc"]["model"] == 0.5
    assert show("a test", result).row_count == len(TASKS) + 1


@pytest.mark.parametrize(("name", "tasks"), [("planner", TASKS), ("kept_out", KEPT_OUT)])
def test_the_planners_held_out_sets_are_balanced(name, tasks):
    episodes = read_all(SETS[name])
    assert {e.env_id for e in episodes} == {task.env_id for task in tasks}
    for task in tasks:
        mine = [e for e in episodes if e.env_id == task.env_id]
        assert sum(e.success for e in mine) == sum(not e.success for e in mine)


@pytest.mark.parametrize("name", SETS)
def test_the_held_out_sets_are_unseen_and_small(name):
    assert all(e.seed >= HELD_OUT_FROM for e in read_all(SETS[name]))
    assert sum(path.stat().st_size for path in SETS[name].rglob("*")) <= 8 * 2**20


def test_the_policies_held_out_set_is_of_several_strengths_on_all_tasks():
    episodes = read_all(SETS["policies"])
    assert {e.env_id for e in episodes} == {task.env_id for task in (*TASKS, *KEPT_OUT)}
    assert len({e.kind for e in episodes}) >= 3
    assert 0.15 < np.mean([e.success for e in episodes]) < 0.85


def test_what_a_set_cannot_tell_is_left_out(episodes):
    failures = [e for e in episodes if not e.success and not any(f.done for f in e.frames)]
    overall = evaluate(failures, undecided)["overall"]
    assert "completion_auc" not in overall
    assert "value_order" not in overall
    assert "progress_mae" in overall


def test_a_success_that_is_not_followed_has_no_order():
    rising, flat = ([0, 5, 10], [0.1, 0.5, 0.9]), ([0, 5, 10], [0.4, 0.4, 0.4])
    assert value_order([rising, flat]) == {
        "pearson": pytest.approx(0.5),
        "spearman": pytest.approx(0.5),
        "count": 2,
    }


def test_its_frames_are_of_the_size_that_the_model_sees(episodes):
    for episode in episodes[::10]:
        with Image.open(episode.folder / episode.frames[0].file) as image:
            assert image.size == (128, 128)


def test_pairs_are_about_a_tenth_apart_and_differ(episodes):
    assert all(near_pairs(e) for e in episodes if e.success)
    for episode in episodes:
        for one, other in near_pairs(episode):
            assert episode.frames[one].step < episode.frames[other].step
            assert episode.frames[one].progress != episode.frames[other].progress


def test_auc_counts_ties_half():
    assert auc([0.9, 0.5, 0.5, 0.1], [True, True, False, False]) == pytest.approx(0.875)


def test_random_error_of_the_middle():
    assert random_progress_error([0.5], 11) == pytest.approx(
        np.abs(np.linspace(0, 1, 11) - 0.5).mean()
    )
