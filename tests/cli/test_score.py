"""``lrm score`` and ``lrm models`` against a scripted server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from lrm_client.wire import reward_pb2 as pb
from lrm_server.cli import app
from tests.cli.conftest import write_folder, write_video
from tests.client.scripted import Asked, ScriptedCore, problem

LEVELS = [0, 40, 80, 120, 160, 200]


def score(source: Path, server: str, *arguments: str) -> tuple[Result, list[dict[str, Any]]]:
    result = CliRunner().invoke(
        app, ["score", str(source), "--task", "lift", "--server", server, *arguments]
    )
    return result, [json.loads(line) for line in result.stdout.splitlines()]


def spec_of(core: ScriptedCore) -> pb.TrajectorySpec:
    return core.last("ScoreTrajectory")[0].trajectory


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "frames", LEVELS)


def test_a_row_for_each_frame_and_head(folder: Path, server: str, core: ScriptedCore) -> None:
    core.answer = lambda asked: asked.step / 10
    result, rows = score(folder, server, "--head", "progress", "--head", "contrastive")
    assert result.exit_code == 0, result.stderr
    assert [(row["frame"], row["head"]) for row in rows] == [
        (frame, head) for frame in range(6) for head in ("progress", "contrastive")
    ]
    progress = [row for row in rows if row["head"] == "progress"]
    assert [row["value"] for row in progress] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert [row["source"] for row in progress] == ["queried"] * 6
    assert progress[1]["probabilities"] == {"no": 0.25, "yes": 0.75}
    assert progress[1]["name"] == "frame1.png"
    assert spec_of(core).task == "lift"


def test_a_head_that_compares_has_no_value_at_the_first_frame(
    folder: Path, server: str, core: ScriptedCore
) -> None:
    core.answer = lambda asked: 1.0
    _, rows = score(folder, server, "--head", "contrastive")
    assert [row["value"] for row in rows] == [None] + [1.0] * 5
    assert [row["source"] for row in rows] == ["initial"] + ["queried"] * 5


def test_frames_between_queries_hold_and_the_last_is_asked(
    folder: Path, server: str, core: ScriptedCore
) -> None:
    core.answer = lambda asked: (1 + asked.step) / 10
    result, rows = score(folder, server, "--interval", "2")
    sources = ["queried", "held", "queried", "held", "queried", "queried"]
    assert [row["source"] for row in rows] == sources
    assert [row["value"] for row in rows] == [0.1, 0.1, 0.2, 0.2, 0.3, 0.4]
    assert [row["frame"] for row in rows] == list(range(6))
    assert len(core.asked) == 4
    assert result.exit_code == 0


def test_before_its_first_value_a_head_is_neutral(
    folder: Path, server: str, core: ScriptedCore
) -> None:
    core.answer = lambda asked: problem("label_mass_low") if asked.step == 0 else 0.7
    _, rows = score(folder, server, "--interval", "2")
    assert [row["source"] for row in rows][:3] == ["failed", "neutral", "queried"]
    assert rows[1]["value"] == 0.0


def test_a_failed_frame_is_a_row_with_an_error_and_no_value(
    folder: Path, server: str, core: ScriptedCore
) -> None:
    def answer(asked: Asked) -> float | pb.Problem:
        return problem("label_mass_low", "not answering") if asked.step == 3 else 0.7

    core.answer = answer
    result, rows = score(folder, server)
    assert result.exit_code == 1
    assert [row["value"] for row in rows] == [0.7, 0.7, 0.7, None, 0.7, 0.7]
    assert rows[3]["source"] == "failed"
    assert rows[3]["error"] == "label_mass_low: not answering"
    assert [row["error"] for row in rows if row["frame"] != 3] == [""] * 5


def test_a_frame_that_cannot_be_read_fails_alone(
    folder: Path, server: str, core: ScriptedCore
) -> None:
    (folder / "frame0.png").write_bytes(b"broken")
    (folder / "frame4.png").write_bytes(b"broken")
    result, rows = score(folder, server)
    assert result.exit_code == 1
    assert [row["source"] for row in rows] == [
        "failed",
        "queried",
        "queried",
        "queried",
        "failed",
        "queried",
    ]
    assert "frame4.png" in rows[4]["error"]
    assert len(core.asked) == 4


def test_frames_at_the_end_that_cannot_be_read_are_told(
    folder: Path, server: str, core: ScriptedCore
) -> None:
    for name in ("frame4.png", "frame5.png"):
        (folder / name).write_bytes(b"broken")
    result, rows = score(folder, server)
    assert result.exit_code == 1
    assert [row["source"] for row in rows] == ["queried"] * 4 + ["failed"] * 2


def test_a_folder_of_which_nothing_can_be_read_asks_nothing(
    tmp_path: Path, server: str, core: ScriptedCore
) -> None:
    folder = write_folder(tmp_path / "broken", [1, 2])
    for path in folder.iterdir():
        path.write_bytes(b"broken")
    result, rows = score(folder, server)
    assert result.exit_code == 1
    assert [row["source"] for row in rows] == ["failed", "failed"]
    assert core.count("ScoreTrajectory") == 0


def test_a_video_is_sampled(tmp_path: Path, server: str, core: ScriptedCore) -> None:
    video = write_video(tmp_path / "v.mp4", [100] * 10, fps=10)
    result, rows = score(video, server, "--fps", "5")
    assert result.exit_code == 0, result.stderr
    assert [row["seconds"] for row in rows] == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8])
    assert [row["frame"] for row in rows] == [0, 2, 4, 6, 8]


def test_options_reach_the_server(folder: Path, server: str, core: ScriptedCore) -> None:
    score(folder, server, "--swap", "--use", "expected", "--readout", "generate", "--interval", "3")
    spec = spec_of(core)
    assert spec.swap
    assert spec.use == pb.USE_EXPECTED
    assert spec.readout == pb.READOUT_GENERATE
    assert [asked.step for asked in core.asked] == [0, 1, 2]


def test_results_and_a_plot_are_written(folder: Path, server: str, tmp_path: Path) -> None:
    out, plot = tmp_path / "r.jsonl", tmp_path / "r.png"
    result, printed = score(folder, server, "--out", str(out), "--plot", str(plot))
    assert result.exit_code == 0, result.stderr
    assert printed == []
    assert len(out.read_text().splitlines()) == len(LEVELS)
    assert min(Image.open(plot).size) > 200


@pytest.mark.parametrize(
    "arguments",
    [
        ("--out", "r.csv"),
        ("--plot", "r.pdf"),
        ("--fps", "2"),
        ("--every", "2", "--fps", "2"),
        ("--out", "no/such/folder/r.jsonl"),
    ],
)
def test_what_cannot_be_done_is_said_before_a_frame_is_asked(
    folder: Path, server: str, core: ScriptedCore, arguments: tuple[str, ...]
) -> None:
    result, _ = score(folder, server, *arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("lrm: ")
    assert core.asked == []


def test_a_source_that_is_missing_is_named(tmp_path: Path, server: str) -> None:
    result, _ = score(tmp_path / "none.mp4", server)
    assert result.exit_code == 2
    assert "none.mp4" in result.stderr


def test_an_unknown_head_ends_the_command(folder: Path, server: str) -> None:
    result, rows = score(folder, server, "--head", "beauty")
    assert result.exit_code == 1
    assert "beauty" in result.stderr
    assert rows == []


@pytest.mark.parametrize("command", ["score", "models"])
def test_without_a_server_it_says_how_to_start_one(folder: Path, command: str) -> None:
    arguments = [str(folder), "--task", "lift"] if command == "score" else []
    result = CliRunner().invoke(app, [command, *arguments, "--server", "127.0.0.1:9"])
    assert result.exit_code == 1
    assert "`lrm serve`" in result.stderr
    assert "127.0.0.1:9" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_address_that_is_none_is_said(folder: Path) -> None:
    result, _ = score(folder, "ftp://somewhere")
    assert result.exit_code == 1
    assert "scheme" in result.stderr


def test_the_token_is_sent(folder: Path, server: str, core: ScriptedCore) -> None:
    score(folder, server, "--token", "t0ken")
    assert {entry["authorization"] for entry in core.metadata} == {"Bearer t0ken"}


def test_models_is_a_table_of_heads(server: str) -> None:
    result = CliRunner().invoke(app, ["models", "--server", server])
    assert result.exit_code == 0, result.stderr
    for expected in ("lrm-tiny", "progress", "lrm-progress", "likelihood", "a tiny model", "512"):
        assert expected in result.stdout
