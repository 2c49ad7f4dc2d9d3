"""Where progress stands still."""

from __future__ import annotations

import numpy as np
import pytest

from lrm_server.audit.checks import plateaus
from lrm_server.audit.checks.plateaus import plateau
from lrm_server.audit.findings import NotComputableError, Verdict
from tests.audit.builders import LINEAR, SHIPPED, evidence, trace, value, verdicts


def of(truth: list[float], progress: list[float]) -> tuple[float, float]:
    return plateau(np.asarray(truth), np.asarray(progress), 0.05)


def test_the_longest_stretch_and_the_ceiling() -> None:
    truth = [0.0, 0.25, 0.5, 0.75, 1.0]
    assert of(truth, truth) == (0.0, 1.0)
    assert of(truth, [0.0, 0.9, 0.9, 0.9, 0.9]) == (0.75, 0.25)
    # Flat in the middle, but it rises again: no saturation.
    assert of(truth, [0.0, 0.3, 0.3, 0.3, 1.0]) == (0.5, 1.0)
    assert of(truth, [0.4] * 5) == (1.0, 0.0)


def test_one_high_frame_makes_no_plateau() -> None:
    truth = list(LINEAR)
    spiky = [*truth[:3], 0.8, *truth[4:]]
    # The fit shares the spike with the three frames after it, 0.575 each; as it stands, nothing
    # rises above it for half of the way.
    assert of(truth, spiky) == (pytest.approx(0.3), 1.0)


def test_stages_of_a_tenth_are_no_plateau() -> None:
    truth = np.linspace(0, 1, 41)
    longest, ceiling = plateau(truth, np.round(truth, 1), 0.05)
    assert longest == pytest.approx(0.1)
    assert ceiling >= 0.9


def test_early_then_flat_is_convicted_and_a_right_model_is_not() -> None:
    flat = [min(t / 0.4, 1.0) for t in LINEAR]
    found = plateaus.check(
        evidence(*(trace(f"e{n}", truth=LINEAR, progress=flat) for n in range(6))), SHIPPED
    )
    assert value(found, "plateau.flat") == pytest.approx(0.6)
    assert value(found, "plateau.saturation") == pytest.approx(0.4)
    assert set(verdicts(found).values()) == {Verdict.FAIL}
    right = plateaus.check(
        evidence(*(trace(f"e{n}", truth=LINEAR, progress=LINEAR) for n in range(6))), SHIPPED
    )
    assert right.verdict is Verdict.PASS


def test_what_falls_back_after_its_best_is_judged_on_the_way_up() -> None:
    truth = [0.1, 0.3, 0.5, 0.7, 0.9, 0.1, 0.1, 0.1, 0.1]
    answered = [0.1, 0.3, 0.5, 0.7, 0.9, 0.9, 0.9, 0.9, 0.9]
    traces = [trace(f"e{n}", truth=truth, progress=answered, success=False) for n in range(6)]
    assert value(plateaus.check(evidence(*traces), SHIPPED), "plateau.flat") == 0


def test_episodes_that_do_not_get_far_say_nothing() -> None:
    short = [trace(f"e{n}", truth=[0.1, 0.3], progress=[0.1, 0.1]) for n in range(5)]
    with pytest.raises(NotComputableError, match="0 episodes with progress labels that rise"):
        plateaus.check(evidence(*short), SHIPPED)
