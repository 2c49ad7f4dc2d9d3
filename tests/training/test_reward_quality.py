"""The table of how well a reward judges the policies that it made."""

from __future__ import annotations

import json

from training.policies.reward_quality import FIGURES, as_markdown, cells, learned, success_rate


def figures_json(value, low=0.2):
    """As `lrm eval` writes it, of a model and the references that stand beside it."""
    tables = {}
    for section, key in FIGURES:
        row = {
            "key": key,
            "models": {
                "lrm": {"value": value, "low": low, "high": 0.8},
                "oracle": {"value": 1.0, "low": None, "high": None},
            },
        }
        tables.setdefault(section, []).append(row)
    heading = {"key": "roc_auc", "models": {}}
    return {
        "models": [{"name": "lrm"}],
        "tables": [{"section": s, "rows": [heading, *rows]} for s, rows in tables.items()],
    }


def test_the_cells_are_the_served_models_not_the_references():
    found = cells(figures_json(0.5))
    assert len(found) == len(FIGURES)
    assert all(parts == [0.5, 0.2, 0.8] for parts in found.values())


def test_a_figure_that_could_not_be_taken_stays_empty():
    columns = {
        "start": {"success": (0, 4), "figures": cells(figures_json(None))},
        "tri": {"success": (1, 4), "figures": cells(figures_json(0.5, low=None))},
        "progress": {"success": (2, 4), "figures": cells(figures_json(0.5))},
    }
    table = as_markdown("PushCube-v1", "some-model", columns)
    assert "| successes | 0 of 4 | 1 of 4 | 2 of 4 |" in table
    assert "| direction accuracy | - | 0.500 | 0.500 [0.200, 0.800] |" in table


def test_only_rewards_with_all_their_runs_are_judged(tmp_path):
    for folder in ("tri/1", "tri/2", "warm-up_and_self-certainty/1", "progress/2"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "result.json").write_text("{}")
    assert dict(learned(tmp_path, 2)) == {"tri": [tmp_path / "tri" / "1", tmp_path / "tri" / "2"]}


def test_successes_are_counted_over_the_recorded_episodes(tmp_path):
    for at, success in enumerate((True, False, True)):
        (tmp_path / f"pushcube_{at}").mkdir()
        (tmp_path / f"pushcube_{at}" / "episode.json").write_text(json.dumps({"success": success}))
    assert success_rate(tmp_path) == (2, 3)
