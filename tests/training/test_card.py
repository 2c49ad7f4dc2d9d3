"""The model card says the evaluation's figures."""

from __future__ import annotations

import pytest

pytest.importorskip(
    "training.architecture",
    reason="needs PyTorch and transformers (extra `train`)",
    exc_type=ImportError,
)

from training.card import write


def part(value):
    return {
        "progress_mae": {"label": value, "expected": 0.2, "random": 0.37, "time": 0.1, "count": 5},
        "direction_accuracy": {"model": 0.8, "random": 0.5, "time": 0.9, "count": 5},
        "completion_auc": {"model": 0.9, "random": 0.5, "time": 0.7, "count": 5},
    }


def test_every_place_is_filled():
    planner = {
        "episodes": 3,
        "successes": 2,
        "tasks": {"PickCube-v1": part(0.123)},
        "overall": part(0.456),
    }
    without_success = {"progress_mae": part(0.789)["progress_mae"]}
    policies = {**planner, "tasks": {"StackCube-v1": without_success}, "overall": part(0.5)}
    figures = {"scored_by": "a test", "sets": {"planner": planner, "policies": policies}}
    text = write(figures, 7_900_000, "10 attempts")
    assert "0.123" in text
    assert "| **all** | 0.456" in text
    assert "| StackCube-v1 | 0.789 (0.370, 0.100) | 0.200 | - | - | - |" in text
    assert "7.9 million" in text
    assert "{" not in text
