"""Which questions are asked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lrm_server.evaluation.plan import MOST_NEAR, near_pairs, plan_questions
from tests.evaluation.recorded import episode


def test_progress_shows_the_first_frame_beside_every_frame() -> None:
    asked = plan_questions(episode(), "progress")
    assert [(q.initial, q.current, q.previous) for q in asked] == [(0, at, None) for at in range(5)]


def test_a_head_without_an_initial_frame_is_shown_none() -> None:
    asked = plan_questions(episode(), "progress", roles={"current"})
    assert {q.initial for q in asked} == {None}


def test_completion_is_asked_of_every_frame_alone() -> None:
    asked = plan_questions(episode(), "completion")
    assert [(q.current, q.initial, q.previous) for q in asked] == [
        (at, None, None) for at in range(5)
    ]


def test_contrastive_compares_consecutive_frames_and_near_ones_in_both_orders() -> None:
    # Eleven frames: neighbours are a tenth of the episode apart, so near pairs are neighbours.
    made = episode("a", np.linspace(0, 1, 11))
    asked = {(q.previous, q.current) for q in plan_questions(made, "contrastive")}
    forward = {(at, at + 1) for at in range(10)}
    assert asked == forward | {(later, earlier) for earlier, later in forward}
    # Five frames stand a quarter of the episode apart: none are near.
    pairs = [(q.previous, q.current) for q in plan_questions(episode(), "contrastive")]
    assert pairs == [(0, 1), (1, 2), (2, 3), (3, 4)]


def test_near_frames_of_equal_progress_are_no_pair() -> None:
    flat = episode("a", [0.0, 0.1, 0.1, 0.12, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
    assert (1, 2) not in near_pairs(flat)
    assert (2, 3) not in near_pairs(flat)
    assert (0, 1) in near_pairs(flat)


def test_of_many_near_pairs_some_are_drawn_all_over_the_episode() -> None:
    long = episode("a", np.linspace(0, 1, 500))
    pairs = near_pairs(long)
    assert len(pairs) == len(set(pairs)) == MOST_NEAR
    assert pairs == near_pairs(long)
    assert pairs != near_pairs(replace(long, id="b"))
    # Forty stretches of some twelve frames each: none is left without a pair for long.
    earlier = np.array([0, *(one for one, _ in pairs), 460])
    assert np.diff(earlier).max() <= 3 * 500 / MOST_NEAR
    for one, other in pairs:
        assert 0.06 <= (other - one) / 499 <= 0.16
    assert len(plan_questions(long, "contrastive")) == 499 + 2 * MOST_NEAR


def test_a_success_extends_to_its_first_success_alone() -> None:
    # Done at step 50 of 100: a tenth of what counts is 5 steps, so frames 10 apart are not near.
    late = episode("a", [0.0, 0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1, 1, 1])
    assert near_pairs(late) == []
    failed = episode("b", [0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.8, 0.9, 0.8, 0.9, 0.8])
    assert (0, 1) in near_pairs(failed)


def test_without_progress_labels_only_consecutive_frames_are_compared() -> None:
    made = episode("a", np.linspace(0, 1, 11))
    asked = plan_questions(replace(made, progress=None), "contrastive")
    assert [(q.previous, q.current) for q in asked] == [(at, at + 1) for at in range(10)]


def test_a_single_frame_leaves_nothing_to_compare() -> None:
    single = episode("a", [0.0])
    assert plan_questions(single, "contrastive") == []
    assert len(plan_questions(single, "progress")) == 1


def test_a_head_that_is_not_judged_is_refused() -> None:
    with pytest.raises(ValueError, match="'tri' is not judged"):
        plan_questions(episode(), "tri")
