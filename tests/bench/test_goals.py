"""Goals are met, or missed; a figure that there is none of is missed."""

from __future__ import annotations

import math

import pytest

from bench.goals import Goal


@pytest.mark.parametrize(
    ("found", "bound", "at_least", "met"),
    [
        (1.0, 1.0, True, True),
        (0.9, 1.0, True, False),
        (0.9, 1.0, False, True),
        (1.1, 1.0, False, False),
        (math.nan, 1.0, True, False),
        (math.nan, 1.0, False, False),
    ],
)
def test_a_goal_is_met_on_the_right_side_of_its_bound(
    found: float, bound: float, at_least: bool, met: bool
) -> None:
    assert Goal("", found, bound, at_least).met is met
