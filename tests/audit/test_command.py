"""``lrm audit`` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from lrm_server.audit.constructed import BELIEFS
from lrm_server.audit.report import schema
from lrm_server.cli import app
from lrm_server.commands.audit import Constructed
from tests.audit.builders import LINEAR
from tests.audit.conftest import HELD_OUT

FAILED = [0.0, 0.2, 0.4, 0.6, 0.5, 0.3, 0.1]
NEAR = [0.0, 0.2, 0.5, 0.8, 0.9, 0.9, 0.85]


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LRM_SERVER", "LRM_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["audit", *map(str, arguments)])


def write(root: Path, name: str, progress: list[float], *, success: bool | None, task: str) -> None:
    """An episode folder with one picture, which all of its frames are."""
    folder = root / name
    folder.mkdir(parents=True)
    Image.new("RGB", (16, 16)).save(folder / "frame.jpg")
    frames = [
        {"file": "frame.jpg", "step": 5 * place, "progress": p, "done": bool(success and p == 1)}
        for place, p in enumerate(progress)
    ]
    if success is None:
        frames = [{k: v for k, v in frame.items() if k != "done"} for frame in frames]
    content = {"task": task, "length": 5 * (len(frames) - 1), "frames": frames}
    if success is not None:
        content["success"] = success
    (folder / "episode.json").write_text(json.dumps(content))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for number in range(16):
        task = ("lift", "push")[number % 2]
        write(root, f"good{number}", list(LINEAR), success=True, task=task)
        lost = (FAILED, NEAR)[number // 2 % 2]
        write(root, f"bad{number}", lost, success=False, task=task)
    return root


@pytest.mark.parametrize(
    ("model", "status", "words"),
    [
        ("oracle", 0, "TRAIN"),
        ("early_then_flat", 3, "DO NOT TRAIN"),
        ("uncorrelated", 3, "DO NOT TRAIN"),
        ("all_yes", 3, "DO NOT TRAIN"),
        ("by_time", 3, "DO NOT TRAIN"),
    ],
)
def test_the_exit_status_is_the_verdict(data: Path, model: str, status: int, words: str) -> None:
    result = run(data, "--constructed", model)
    assert result.exit_code == status, result.output
    assert words in result.output


def test_late_and_gradual_on_the_held_out_episodes() -> None:
    result = run(HELD_OUT, "--constructed", "late_and_gradual", "--episodes", 60, "--probes", 4)
    assert result.exit_code == 0, result.output
    assert "TRAIN WITH CARE" in result.output
    assert "longer horizon" in " ".join(result.output.split())


def test_without_success_labels_it_is_not_decided(tmp_path: Path) -> None:
    for number in range(8):
        write(tmp_path / "data", f"e{number}", list(LINEAR), success=None, task="lift")
    result = run(tmp_path / "data", "--constructed", "oracle")
    assert result.exit_code == 4
    assert "NOT DECIDED" in result.output
    assert "no episode says whether it succeeded" in " ".join(result.output.split())


def test_reports_are_written(data: Path, tmp_path: Path) -> None:
    report, page = tmp_path / "report.json", tmp_path / "report.html"
    arguments = ("--episodes", 10, "--frames", 5, "--seed", 3)
    run(data, "--constructed", "oracle", *arguments, "--json", report, "--html", page)
    content = json.loads(report.read_text())
    jsonschema.validate(content, schema())
    assert content["model"] == "constructed: oracle"
    assert content["asked"]["audited"] == 10
    assert content["asked"]["seed"] == 3
    assert max(len(episode["steps"]) for episode in content["episodes"]) <= 7
    assert page.read_text().startswith("<!doctype html>")


def test_thresholds_of_ones_own(data: Path, tmp_path: Path) -> None:
    strict = tmp_path / "strict.yaml"
    strict.write_text("measures: {label.mass: {}}")
    result = run(data, "--constructed", "oracle", "--thresholds", strict)
    assert result.exit_code == 2
    assert "label.mass is unknown" in result.output
    strict.write_text("measures: {labels.mass_median: {fail: 0.99}}")
    assert run(data, "--constructed", "oracle", "--thresholds", strict).exit_code == 3


def test_heads_and_words_are_chosen(data: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    words = ("--paraphrase", "Robot, {task}", "--wrong-task", "sweep")
    run(data, "--constructed", "oracle", "--head", "completion", *words, "--json", report)
    content = json.loads(report.read_text())
    assert content["heads"] == ["completion"]
    (paraphrases,) = (c for c in content["checks"] if c["check"] == "paraphrases")
    assert [row[0] for row in paraphrases["details"][0]["rows"]] == ["Robot, {task}"]


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (("nowhere", "--constructed", "oracle"), "nowhere"),
        ((HELD_OUT, "--constructed", "clip"), "clip"),
        ((HELD_OUT, "--head", "tri"), "tri"),
        ((HELD_OUT, "--server", "ftp://host:1"), "the scheme must be grpc"),
        ((HELD_OUT, "--paraphrase", "Do it."), "write {task}"),
        ((HELD_OUT, "--thresholds", "nowhere.yaml"), "nowhere.yaml"),
        ((HELD_OUT, "--json", "no/such/folder/a.json"), "no/such/folder"),
    ],
)
def test_wrong_usage(arguments: tuple[object, ...], cause: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert cause in " ".join(result.output.split())


def test_no_server() -> None:
    result = run(HELD_OUT, "--server", "grpc://127.0.0.1:9")
    assert result.exit_code == 1
    assert "no server answers" in result.output


def test_every_constructed_model_can_be_named() -> None:
    assert {each.value for each in Constructed} == set(BELIEFS)


def test_the_help_says_what_the_exit_status_means() -> None:
    said = " ".join(run("--help").output.split())
    assert "3 do not train" in said
    assert "4 not decided" in said
