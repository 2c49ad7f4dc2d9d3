"""The table of what PPO makes of each reward."""

from __future__ import annotations

import json
from argparse import Namespace

import pytest

from training.policies.compare_rewards import as_markdown, figures, missing


def write_result(root, name, seed, start, end):
    folder = root / name / str(seed)
    folder.mkdir(parents=True)
    success = {"0": start, "10": [not one for one in end], "30": end}
    result = {"success": success, "queries": 40 * seed, "steps": 1600}
    (folder / "result.json").write_text(json.dumps(result))


def test_the_figures_are_of_the_last_iteration_against_the_start(tmp_path):
    write_result(tmp_path, "tri", 1, [True, False, False, False], [True, True, False, True])
    write_result(tmp_path, "tri", 2, [True, False, False, False], [True, True, False, False])
    row = figures(tmp_path, ["tri", "progress"], 3)["tri"]
    assert row["start"] == 0.25
    assert row["rates"] == [0.75, 0.5]
    assert row["mean"] == 0.625
    assert row["spread"] == pytest.approx(0.1768, abs=1e-4)
    mean, low, high = row["gain"]
    assert mean == 0.375
    assert low < mean < high
    assert row["queries"] == [40, 80]


def test_a_reward_without_runs_has_no_row(tmp_path):
    write_result(tmp_path, "warm-up_and_self-certainty", 1, [False, True], [True, True])
    rows = figures(tmp_path, ["tri", "warm-up and self-certainty"], 3)
    assert list(rows) == ["warm-up and self-certainty"]
    table = as_markdown("PushCube-v1", "some-model", rows, "")
    assert "| warm-up and self-certainty | 1 | 100.0% | - | +50.0 points" in table
    assert "`some-model`" in table
    assert "50% of 2 evaluation episodes" in table


def test_runs_that_have_a_result_are_not_made_again(tmp_path):
    write_result(tmp_path / "PushCube-v1", "tri", 1, [True], [True])
    args = Namespace(to=tmp_path, env_id="PushCube-v1", seeds=2, rows=["tri", "progress"])
    assert [(name, seed) for name, seed, _ in missing(args)] == [
        ("progress", 1),
        ("tri", 2),
        ("progress", 2),
    ]
