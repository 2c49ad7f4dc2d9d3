"""``lrm eval`` against a scripted server: files, exit status, going on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from lrm_client import Unavailable, __version__
from lrm_client.wire import reward_pb2 as pb
from lrm_server.cli import app
from lrm_server.evaluation.asking import Question, ServedModel
from lrm_server.recordings.folders import write_folders
from tests.client.scripted import Asked, ScriptedCore, problem
from tests.evaluation.recorded import HEADS, episode, failure

EPISODES = [episode("a"), failure("b"), episode("c")]
QUESTIONS = 42


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_folders(EPISODES, tmp_path / "set")
    return tmp_path / "set"


@pytest.fixture
def scripted(core: ScriptedCore) -> ScriptedCore:
    """Serves LRM's three heads."""
    whole = core._ListModels

    def models(request: pb.ListModelsRequest) -> pb.ListModelsResponse:
        response = whole(request)
        (head,) = response.models[0].heads
        for name in HEADS[::2]:
            response.models[0].heads.add().CopyFrom(head)
            response.models[0].heads[-1].name = name
        return response

    core._ListModels = models  # type: ignore[method-assign]
    return core


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["eval", *(str(argument) for argument in arguments)])


def evaluate(data: Path, server: str, *arguments: object) -> Result:
    out = data.parent / "out"
    return run(data, "--server", server, "--out", out, "--resamples", "0", *arguments)


def asked(core: ScriptedCore) -> int:
    return sum(len(r.queries) for name, r in core.requests if name == "Score")


def test_tables_a_report_figures_and_answers(
    data: Path,
    server: str,
    scripted: ScriptedCore,
) -> None:
    result = evaluate(data, server)
    assert result.exit_code == 0, result.output
    assert "LRM: contrastive" in result.stdout
    assert "not comparable" in " ".join(result.stdout.split())
    out = data.parent / "out"
    assert "</html>" in (out / "report.html").read_text("utf-8")
    content = json.loads((out / "figures.json").read_text("utf-8"))
    assert content["models"][0]["questions"] == QUESTIONS == asked(scripted)
    assert content["models"][0]["server"]
    assert content["models"][0]["readouts"]["progress"] == "likelihood"
    assert len(content["data_sets"][0]["digest"]) == 64
    assert content["references"] == ["time alone", "at random", "oracle"]
    progress = next(t for t in content["tables"] if t["section"] == "progress")
    mae = next(row for row in progress["rows"] if row["key"] == "mae")
    # 0.5 to everything: successes are off by 0.25, 0, 0.25, 0.5, the failure by 0.3, 0.1, 0.3, 0.4.
    assert mae["models"]["lrm-tiny, likelihood"]["value"] == pytest.approx(3.1 / 12)
    assert len(list(out.rglob("part-*.parquet"))) == 3


def test_figures_say_with_which_options_they_can_be_had_again(
    data: Path, server: str, scripted: ScriptedCore
) -> None:
    arguments = ("--heads", "progress", "--readouts", "default,generate", "--every", "2")
    evaluate(data, server, *arguments, "--resamples", "100", "--seed", "7")
    content = json.loads((data.parent / "out" / "figures.json").read_text("utf-8"))
    assert content["options"] == {
        "data_sets": [str(data)],
        "checkpoints": [],
        "servers": [server],
        "heads": ["progress"],
        "readouts": ["default", "generate"],
        "every": 2,
        "camera": None,
        "resamples": 100,
        "seed": 7,
    }
    assert content["intervals"]["level"] == 0.95
    assert content["lrm"] == __version__


def test_each_model_is_told_of_by_its_own_words(
    data: Path, server: str, scripted: ScriptedCore
) -> None:
    whole = scripted._ListModels

    def described(request: pb.ListModelsRequest) -> pb.ListModelsResponse:
        response = whole(request)
        response.models[0].description = "trained on [tea]"
        return response

    scripted._ListModels = described  # type: ignore[method-assign]
    said = evaluate(data, server).stdout
    assert "lrm-tiny: trained on [tea]" in said
    assert "embedded" not in said


def test_a_second_run_asks_nothing(data: Path, server: str, scripted: ScriptedCore) -> None:
    evaluate(data, server)
    before = asked(scripted)
    result = evaluate(data, server)
    assert result.exit_code == 0
    assert asked(scripted) == before


def fail_dark_frames(asked: Asked) -> float | pb.Problem:
    return problem("label_mass_low", "[b]dark[/b]") if asked.head == "completion" else 0.5


def test_failed_questions_are_counted_and_the_status_is_one(
    data: Path,
    server: str,
    scripted: ScriptedCore,
) -> None:
    scripted.answer = fail_dark_frames
    result = evaluate(data, server)
    assert result.exit_code == 1
    assert "15 of 42 questions failed" in result.stdout
    assert "label_mass_low: [b]dark[/b]" in result.stdout
    assert "no episode has an answer that this needs" in " ".join(result.stdout.split())


def test_failures_up_to_a_share_may_be_allowed(
    data: Path,
    server: str,
    scripted: ScriptedCore,
) -> None:
    scripted.answer = fail_dark_frames
    assert evaluate(data, server, "--allow-failures", "0.4").exit_code == 0
    assert evaluate(data, server, "--allow-failures", "0.3").exit_code == 1


def test_nothing_to_report_is_a_failure(data: Path, server: str, scripted: ScriptedCore) -> None:
    scripted.answer = lambda asked: problem("internal", "down")
    assert evaluate(data, server, "--allow-failures", "1").exit_code == 1


def test_a_frame_that_is_missing_is_a_failed_question_and_no_more(
    data: Path,
    server: str,
    scripted: ScriptedCore,
) -> None:
    (data / "a" / "0020.png").unlink()
    (data / "b" / "0040.png").write_bytes(b"broken")
    result = evaluate(data, server)
    assert result.exit_code == 1
    # Four questions about the frame in the middle, three about the last one.
    assert "7 of 42 questions failed" in result.stdout
    assert "unreadable: " in result.stdout


def test_an_episode_that_cannot_be_read_is_left_out_and_named(
    data: Path,
    server: str,
    scripted: ScriptedCore,
) -> None:
    (data / "b" / "episode.json").write_text("{}")
    result = evaluate(data, server)
    assert result.exit_code == 0, result.output
    assert "left out of set: b: " in result.stdout
    assert "left out" in (data.parent / "out" / "report.html").read_text("utf-8")


def test_heads_readouts_and_frames_can_be_chosen(
    data: Path,
    server: str,
    scripted: ScriptedCore,
) -> None:
    result = evaluate(
        data, server, "--heads", "progress", "--readouts", "likelihood,generate", "--every", "3"
    )
    assert result.exit_code == 0, result.output
    # Frames 0, 3 and 4 of three episodes, in two ways.
    queries = [q for name, r in scripted.requests if name == "Score" for q in r.queries]
    assert len(queries) == 18
    assert {q.head for q in queries} == {"progress"}
    assert {q.readout for q in queries} == {pb.READOUT_LIKELIHOOD, pb.READOUT_GENERATE}
    assert "generate" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--heads", "tri"), "tri"),
        (("--heads", ""), "--heads"),
        (("--readouts", "magic"), "magic"),
        (("--readouts", ","), "--readouts"),
        (("--resamples", "5"), "--resamples"),
        (("--camera", "front"), "front"),
        (("--server", "ftp://host"), "ftp"),
        (("--allow-failures", "2"), "allow-failures"),
    ],
)
def test_wrong_usage_is_said_before_a_question_is_asked(
    data: Path,
    server: str,
    scripted: ScriptedCore,
    arguments: tuple[str, ...],
    said: str,
) -> None:
    result = evaluate(data, server, *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert asked(scripted) == 0


@pytest.mark.parametrize("name", ["nothing", "empty"])
def test_a_data_set_that_is_none_is_named(tmp_path: Path, server: str, name: str) -> None:
    (tmp_path / "empty").mkdir()
    result = run(tmp_path / name, "--server", server, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert name in result.stderr


def test_a_data_set_given_twice_is_refused(data: Path, server: str, scripted: ScriptedCore) -> None:
    result = run(data, data, "--server", server, "--out", data.parent / "out")
    assert result.exit_code == 2
    assert "twice" in result.stderr


def test_without_a_server_it_says_how_to_start_one(data: Path) -> None:
    result = run(data, "--server", "127.0.0.1:9", "--out", data.parent / "out")
    assert result.exit_code == 1
    assert "--checkpoint" in result.stderr
    assert "Traceback" not in result.stderr
    assert "is kept" not in result.stderr


def test_a_server_that_serves_no_head_of_ours_is_named_and_nothing_is_kept(
    data: Path, server: str, core: ScriptedCore
) -> None:
    result = evaluate(data, server, "--heads", "contrastive")
    assert result.exit_code == 1
    assert "serves none of contrastive" in result.stderr
    assert "is kept" not in result.stderr


def test_when_the_server_goes_away_what_was_answered_is_kept(
    data: Path, server: str, scripted: ScriptedCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = ServedModel.ask
    batches = iter([False, True])

    def gone(self: ServedModel, questions: Sequence[Question]) -> list:
        if next(batches):
            raise Unavailable("gone")
        return ask(self, questions)

    monkeypatch.setattr(ServedModel, "ask", gone)
    result = evaluate(data, server, "--batch", "10")
    assert result.exit_code == 1
    assert f"What was answered is kept in {data.parent / 'out'}" in result.stderr.replace("\n", "")


def test_a_fault_of_our_own_is_not_passed_off_as_the_users(
    data: Path, server: str, scripted: ScriptedCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: ServedModel, questions: Sequence[Question]) -> list:
        raise ValueError("a defect")

    monkeypatch.setattr(ServedModel, "ask", broken)
    assert isinstance(evaluate(data, server).exception, ValueError)


def test_ctrl_c_keeps_what_was_answered(
    data: Path,
    server: str,
    scripted: ScriptedCore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ask = ServedModel.ask
    batches = iter([False, False, True])

    def interrupted(self: ServedModel, questions: Sequence[Question]) -> list:
        if next(batches):
            raise KeyboardInterrupt
        return ask(self, questions)

    monkeypatch.setattr(ServedModel, "ask", interrupted)
    result = evaluate(data, server, "--batch", "10")
    assert result.exit_code == 130
    assert "the same command goes on" in result.stderr
    monkeypatch.undo()
    assert asked(scripted) == 20
    assert evaluate(data, server).exit_code == 0
    assert asked(scripted) == QUESTIONS


def test_servers_of_one_model_are_columns_of_their_own(
    data: Path,
    server: str,
    scripted: ScriptedCore,
) -> None:
    result = evaluate(data, server, "--server", server, "--heads", "completion")
    assert result.exit_code == 0, result.output
    assert "lrm-tiny (1)" in result.stdout
    assert "lrm-tiny (2)" in result.stdout
