"""The refit experiment: its arms, its figures, and that it goes on where it was."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from training.policies.refit import arms_of, digest_of, judge, measure_task, select
from training.policies.refit_arms import ARMS, Selection, as_markdown, figures, paired_gain
from training.policies.refit_runs import Attempt, Bench, Run
from training.policies.rollouts import missing, success_rates
from training.rollouts.store import Rollout, encode_jpeg, path_of, save
from training.tasks import TASK_BY_ID

from .states import pick_expert

ATTEMPTS = [Attempt(f"pickcube_{seed}", seed, seed in (1, 2)) for seed in range(4)]
SUMMARY = {
    "kept": ["pickcube_1", "pickcube_3", "pushcube_2"],
    "not_judged": {"pickcube_0": "?"},
    "not_readable": {},
}


def test_a_selection_is_counted_over_its_own_rollouts():
    kept, selection = select(ATTEMPTS, SUMMARY)
    assert kept == {1, 3}
    assert selection == Selection(4, 2, 2, 1, unjudged=1)
    assert (selection.precision, selection.recall) == (0.5, 0.5)


def test_figures_of_an_empty_selection_are_none():
    nothing = Selection(4, 0, 0, 0)
    assert (nothing.precision, nothing.recall) == (None, None)


def test_each_arm_gets_its_rollouts():
    assert arms_of(ATTEMPTS, {3, 1}) == {
        "none": [],
        "all": [0, 1, 2, 3],
        "filtered": [1, 3],
        "successful": [1, 2],
    }
    assert list(arms_of(ATTEMPTS, ())) == list(ARMS)


def test_a_gain_is_paired():
    rng = np.random.default_rng(0)
    base = rng.random((3, 100)) < 0.5
    # Better in ten scenes of each run, and worse in none: unpaired, noise would hide it.
    better = base.copy()
    for run in better:
        run[np.flatnonzero(~run)[:10]] = True
    gain = paired_gain(better, base)
    assert gain.mean == pytest.approx(0.1)
    assert 0.03 < gain.low < 0.1 < gain.high < 0.17
    same = paired_gain(base, base)
    assert (same.mean, same.low, same.high) == (0.0, 0.0, 0.0)


def test_the_tables_say_what_was_measured():
    won, lost = [True] * 10, [False] * 10
    ends = {
        "none": [lost, lost],
        "all": [lost, won],
        "filtered": [won, won],
        "successful": [won, won],
    }
    made = figures(ends, [Selection(8, 4, 5, 4), Selection(8, 4, 0, 0)])
    assert made["arms"]["all"]["mean"] == 0.5
    assert made["arms"]["all"]["spread"] == pytest.approx(0.7071, abs=1e-4)
    assert made["arms"]["filtered"]["gain"] == [1.0, 1.0, 1.0]
    assert made["filtered_over_all"][0] == 0.5
    settings = {
        "checkpoint": "tiny",
        "fingerprint": "f1",
        "runs": 2,
        "rollouts": 8,
        "evaluations": 10,
        "last": 3,
        "threshold": 0.5,
    }
    text = as_markdown({"settings": settings, "tasks": {"PickCube-v1": made}})
    assert (
        "| refit on those that `lrm filter` keeps | 100.0% | 0.0% | "
        "+100.0 points [+100.0, +100.0] |" in text
    )
    assert "| 1 | 8 | 4 | 5 | 4 | 0.80 | 1.00 |" in text
    assert "| 2 | 8 | 4 | 0 | 0 | none | 0.00 |" in text
    assert "38.3%" in text


def test_a_gain_that_is_not_there_is_explained():
    won, lost = [True] * 10, [False] * 10
    ends = {"none": [lost], "all": [lost], "filtered": [lost], "successful": [won]}
    settings = dict.fromkeys(("checkpoint", "fingerprint"), "f1") | dict.fromkeys(
        ("runs", "rollouts", "evaluations", "last", "threshold"), 1
    )
    made = figures(ends, [Selection(20, 8, 10, 6)])
    text = as_markdown({"settings": settings, "tasks": {"PickCube-v1": made}})
    assert "40% of the kept rollouts failed" in text
    assert "25% of the successful ones were dropped" in text
    assert "over no refit is +100.0 points" in text
    nothing = figures(ends, [Selection(20, 8, 0, 0)])
    text = as_markdown({"settings": settings, "tasks": {"PickCube-v1": nothing}})
    assert "nothing was kept" in text


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_a_judgement_that_is_there_is_not_asked_again(tmp_path):
    # In the place of an interpreter: "-m lrm_server.main filter DATA OUT --checkpoint ...".
    server = script(
        tmp_path / "python",
        f'mkdir -p "$5"; echo "$@" >> {tmp_path}/calls; echo \'{{"kept": []}}\' > "$5/filter.json"',
    )
    out = tmp_path / "judged"
    out.mkdir()
    (out / "leftover").touch()
    arguments = SimpleNamespace(last=2, threshold=0.25)
    for _ in range(2):
        assert judge(server, Path("ck"), arguments, tmp_path / "data", out) == {"kept": []}
    (call,) = (tmp_path / "calls").read_text().splitlines()
    assert call.endswith("--checkpoint ck --heads completion --last 2 --threshold 0.25")
    assert not (out / "leftover").exists()


def test_a_judgement_that_fails_is_no_empty_selection(tmp_path):
    server = script(tmp_path / "python", "exit 3")
    arguments = SimpleNamespace(last=3, threshold=0.5)
    with pytest.raises(RuntimeError, match="status 3"):
        judge(server, Path("ck"), arguments, tmp_path, tmp_path / "judged")


def test_another_checkpoint_is_judged_anew(tmp_path):
    names = set()
    for weights in (b"one", b"two"):
        (tmp_path / "model.safetensors").write_bytes(weights)
        names.add(digest_of(tmp_path))
    assert len(names) == 2


def test_a_task_is_measured_with_the_judges_selection(tmp_path, monkeypatch):
    evaluated: list[list[int]] = []

    class Rolled(SimpleNamespace):
        def roll_out(self, bench: Bench, episodes: Path) -> None:
            folder = episodes / "pickcube"
            folder.mkdir(parents=True, exist_ok=True)

        def attempts(self) -> list[Attempt]:
            return [Attempt(f"pickcube_{s}", s, s % 2 == 0) for s in self.seeds]

        def evaluate(self, bench: Bench, seeds: list[int]) -> list[bool]:
            evaluated.append(list(seeds))
            # The more it is refitted on, the better it gets.
            return [place < len(seeds) for place in range(len(self.evaluation))]

    monkeypatch.setattr("training.policies.refit_runs.Run", Rolled)
    summary = {
        "kept": ["pickcube_50000", "pickcube_50001"],
        "not_judged": {},
        "not_readable": {},
        "model": {"id": "tiny", "fingerprint": "f1"},
    }
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    server = script(
        tmp_path / "python", f'mkdir -p "$5"; cp {tmp_path}/summary.json "$5/filter.json"'
    )
    arguments = SimpleNamespace(
        root=tmp_path / "root",
        runs=2,
        rollouts=4,
        evaluations=10,
        steps=10,
        last=3,
        threshold=0.5,
        checkpoint=tmp_path,
        server_python=server,
        demonstrations=tmp_path,
    )
    made, said = measure_task("PickCube-v1", arguments)
    assert said == summary
    first, second = [50_000, 50_001, 50_002, 50_003], [51_000, 51_001, 51_002, 51_003]
    assert evaluated[:4] == [[], first, first[:2], first[::2]]
    assert evaluated[4:] == [[], second, [], second[::2]]
    assert made["arms"]["filtered"]["rates"] == [0.2, 0.0]
    assert [one["kept_successful"] for one in made["selections"]] == [1, 0]


def run_at(root: Path, **changes: object) -> Run:
    settings = {
        "root": root,
        "env_id": "PickCube-v1",
        "number": 0,
        "demonstrations": root / "demonstrations",
        "count": 5,
        "noise": 0.01,
        "steps": 10,
        "seeds": range(3),
        "evaluation": range(4),
    }
    return Run(**{**settings, **changes})  # type: ignore[arg-type]


def test_an_evaluation_that_was_made_is_read_and_belongs_to_its_rollouts(tmp_path):
    run, bench = run_at(tmp_path), Bench("PickCube-v1")
    for seeds, ends in (([1, 2], [True, False, True, True]), ([], [False] * 4)):
        path = run._path(seeds, "4.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(ends))
    assert run.evaluate(bench, [2, 1]) == [True, False, True, True]
    assert run.evaluate(bench, []) == [False] * 4
    paths = {
        each._path([1], "pt")
        for each in (run, run_at(tmp_path, steps=20), run_at(tmp_path, count=6))
    }
    assert len(paths) == 3


def test_too_few_demonstrations_are_said(tmp_path):
    with pytest.raises(ValueError, match="0 successful demonstrations of 5"):
        run_at(tmp_path).evaluate(Bench("PickCube-v1"), [])


def test_policies_rollouts_go_on_where_they_were_and_are_counted_by_kind(tmp_path):
    task = TASK_BY_ID["PickCube-v1"]
    frame = encode_jpeg(np.zeros((32, 32, 3), np.uint8))
    for seed, (kind, won) in enumerate([("clone-weak", 0.0), ("clone-weak", 1.0)]):
        rows = pick_expert().copy()
        rows[-1, -1] = won
        steps = np.array([0], np.int32)
        save(Rollout(task.env_id, seed, kind, False, rows, steps, (frame,)), tmp_path)
    assert path_of(tmp_path, task.env_id, 1).exists()
    assert list(missing([task], 3, 0, tmp_path)) == [(task, 2)]
    assert success_rates([task], 3, 0, tmp_path) == {(task.env_id, "clone-weak"): (1, 2)}
