"""Bounded, spread over tasks and outcomes, seeded."""

from __future__ import annotations

from collections import Counter

import numpy as np

from lrm_server.audit.sampling import Budget, choose_cases, choose_pairs, choose_probes
from tests.audit.builders import LINEAR, episode

MANY = [
    episode(
        f"{task}{success}{n}",
        task=task,
        success=success,
        progress=LINEAR if success else [0.0] * 11,
    )
    for task, count in (("lift", 30), ("push", 4))
    for success in (True, False)
    for n in range(count)
]


def test_tasks_and_outcomes_take_turns() -> None:
    cases = choose_cases(MANY, Budget(episodes=12))
    counted = Counter((case.episode.task, case.truth.success) for case in cases)
    assert counted == {(task, end): 3 for task in ("lift", "push") for end in (True, False)}


def test_a_stratum_that_runs_out_leaves_its_turns_to_the_others() -> None:
    cases = choose_cases(MANY, Budget(episodes=40))
    assert len(cases) == 40
    assert sum(case.episode.task == "push" for case in cases) == 8


def test_a_seed_settles_everything() -> None:
    first, again, other = (
        [case.episode.id for case in choose_cases(MANY, Budget(episodes=12, seed=seed))]
        for seed in (1, 1, 2)
    )
    assert first == again != other


def test_the_reset_observation_is_not_asked() -> None:
    (case,) = choose_cases([episode()], Budget())
    assert case.frames == tuple(range(1, 11))
    (alone,) = choose_cases([episode(progress=[1.0])], Budget())
    assert alone.frames == ()


def test_few_frames_are_spread_and_hold_the_success() -> None:
    done = [place >= 60 for place in range(101)]
    long = episode(progress=np.linspace(0, 1, 101).tolist(), done=done)
    (case,) = choose_cases([long], Budget(frames=4))
    assert case.frames == (1, 34, 59, 60, 67, 100)


def test_pairs_differ_in_truth_and_near_ones_come_first() -> None:
    (case,) = choose_cases([episode(progress=[0.0, 0.1, 0.1, 0.2, 0.3, 0.9, 1.0])], Budget())
    random = np.random.default_rng(0)
    pairs = choose_pairs(case, 50, 0.1, random)
    assert (1, 2) not in pairs
    gaps = [later - earlier <= 2 for earlier, later in pairs]
    assert gaps == sorted(gaps, reverse=True)
    assert len(choose_pairs(case, 2, 0.1, random)) == 2


def test_probes_hold_last_frames_of_successes_and_failures() -> None:
    cases = choose_cases(MANY, Budget())
    probes = choose_probes(cases, Budget(probes=6))
    assert len({number for number, _ in probes}) == 6
    last = [cases[number].truth.success for number, place in probes if place == 10]
    assert sorted(last, key=bool) == [False] * 3 + [True] * 3


def test_up_to_half_of_the_pairs_are_falls_the_deepest_first() -> None:
    (case,) = choose_cases(
        [episode(progress=[0.0, 0.2, 0.8, 0.6, 0.1, 0.1], success=False)], Budget()
    )
    pairs = choose_pairs(case, 4, 0.1, np.random.default_rng(0))
    # From the peak to the end, which is as low as the frame before and later.
    assert pairs[:2] == [(2, 5), (2, 4)]
    (rising,) = choose_cases([episode()], Budget())
    assert len(choose_pairs(rising, 4, 0.1, np.random.default_rng(0))) == 4
