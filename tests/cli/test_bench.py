"""``lrm bench agreement`` against a scripted server and through the real one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from lrm_client import Readout
from lrm_client.wire import reward_pb2 as pb
from lrm_server.cli import app
from lrm_server.commands import bench_agreement
from lrm_server.demo.rollouts import bundled_rollouts
from lrm_server.recordings.folders import write_folders
from tests.client.scripted import ScriptedCore, problem
from tests.conftest import LiveServer
from tests.evaluation.recorded import episode


def run(*arguments: object) -> Result:
    given = [str(argument) for argument in arguments]
    return CliRunner().invoke(app, ["bench", "agreement", "--resamples", "0", *given])


def queries(core: ScriptedCore) -> list[pb.Query]:
    return [q for name, request in core.requests if name == "Score" for q in request.queries]


def test_the_demos_rollouts_are_asked_in_every_way_when_no_data_is_named(
    server: str, core: ScriptedCore
) -> None:
    done = run("--server", server, "--frames", 2, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    (progress,) = found["heads"]
    assert progress["episodes"] == len(bundled_rollouts())
    assert progress["questions"] == 2 * len(bundled_rollouts())
    # Each in three ways, and before them the initial frame of each episode.
    assert len(queries(core)) == 3 * (progress["questions"] + progress["episodes"])
    assert {q.task for q in queries(core)} == {rollout.task for rollout in bundled_rollouts()}
    assert [each["readout"] for each in progress["readings"]] == list(Readout)
    assert [model["fingerprint"] for model in found["models"]] == ["f1"]
    assert found["sample"] == {"frames_per_episode": 2, "seed": 0}
    # All readouts of the scripted server say the same.
    assert {each["equal"]["value"] for each in progress["comparisons"]} == {1.0}


def test_tables_name_heads_readouts_and_what_was_left_out(
    server: str, core: ScriptedCore, tmp_path: Path
) -> None:
    whole = core._ListModels

    def models(request: pb.ListModelsRequest) -> pb.ListModelsResponse:
        response = whole(request)
        seen = response.models[0].heads.add(name="roboreward", required_frames=["window"])
        seen.window.media, seen.window.max_frames = "video", 16
        return response

    core._ListModels = models  # type: ignore[method-assign]
    write_folders([episode("a"), episode("b")], tmp_path / "set")
    out = tmp_path / "found.json"
    arguments = ["--server", server, "--readouts", "likelihood,generate", "--out", out]
    done = run(tmp_path / "set", *arguments)
    assert done.exit_code == 0, done.output
    assert "likelihood, generate" in done.stdout
    assert "left out: roboreward, it looks at a window" in done.stdout
    assert json.loads(out.read_text("utf-8"))["data_sets"] == ["set"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--readouts", "likelihood"], "one alone"),
        (["--readouts", "likelihood,guess"], "guess"),
        (["--heads", "pride"], "pride is not served"),
        (["no/such/folder"], "no/such/folder"),
    ],
)
def test_arguments_that_cannot_be_meant_are_told(
    server: str, arguments: list[str], told: str
) -> None:
    done = run("--server", server, *arguments)
    assert done.exit_code == 2
    assert told in done.output


def test_a_server_that_is_named_and_does_not_answer_is_an_error() -> None:
    done = run("--server", "grpc://127.0.0.1:1")
    assert done.exit_code == 1
    assert "no server answers" in done.output


def test_a_server_is_started_where_none_is_named_and_none_answers(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = bench_agreement.connect
    local = []

    def redirected(choice: bench_agreement.ServerChoice) -> Any:
        if choice.local:
            local.append(choice)
            return connect(bench_agreement.ServerChoice(server))
        return connect(bench_agreement.ServerChoice("grpc://127.0.0.1:1"))

    monkeypatch.setattr(bench_agreement, "connect", redirected)
    done = run("--frames", 1)
    assert done.exit_code == 0, done.output
    assert local
    assert "starting one" in done.output


def test_nothing_answered_is_exit_status_one(server: str, core: ScriptedCore) -> None:
    core.answer = lambda asked: problem("answer_unparsable")
    done = run("--server", server, "--frames", 1)
    assert done.exit_code == 1
    assert f"answer_unparsable {len(bundled_rollouts())}" in " ".join(done.stdout.split())


def test_the_embedded_checkpoints_readouts_agree_on_the_demos_rollouts(
    live_server: LiveServer,
) -> None:
    done = run("--server", f"grpc://{live_server.grpc}", "--frames", 2, "--json")
    assert done.exit_code == 0, done.output
    heads: dict[str, Any] = {head["head"]: head for head in json.loads(done.stdout)["heads"]}
    assert set(heads) == {"contrastive", "progress", "completion", "tri"}
    for name, head in heads.items():
        costs = {each["readout"]: each["cost"] for each in head["readings"]}
        assert costs["likelihood"]["written"] == 0
        assert costs["generate"]["written"] > 0
        for cost in costs.values():
            assert 0 < cost["computed"] <= cost["prompt"]
        for each in head["comparisons"]:
            assert each["both"] > 0.8 * head["questions"], (name, each)
            # Of the span of the head's values.
            assert each["mean_difference"]["value"] < (0.6 if name == "contrastive" else 0.3)
    # It writes a comparison's reasons, and for the others a few words of JSON.
    wrote = {
        name: next(r["cost"]["written"] for r in head["readings"] if r["readout"] == "generate")
        for name, head in heads.items()
    }
    assert wrote["contrastive"] > 2 * wrote["progress"]
