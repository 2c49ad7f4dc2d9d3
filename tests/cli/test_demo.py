"""The demo on a scripted server: what it asks, prints and draws."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from lrm_client import RewardClient
from lrm_client.wire import reward_pb2 as pb
from lrm_server.cli import app
from lrm_server.commands.process import LocalServerError
from lrm_server.demo import run
from lrm_server.demo.report import kendall_tau, ordered_pairs
from lrm_server.demo.rollouts import Rollout, bundled_rollouts
from lrm_server.demo.scoring import HEADS, score_rollouts
from tests.client.scripted import Asked, ScriptedCore, problem

INTERVAL = 10


@pytest.fixture(scope="module")
def rollouts() -> list[Rollout]:
    return bundled_rollouts()


@pytest.fixture
def truthful(core: ScriptedCore, rollouts: list[Rollout]) -> ScriptedCore:
    """A server that answers with the true progress of the frame that it is asked about."""
    truth = {
        frame: progress
        for rollout in rollouts
        for frame, progress in zip(rollout.frames, rollout.progress, strict=True)
    }

    def answer(asked: Asked) -> float:
        return float(truth[asked.frame])

    core.answer = answer
    return core


class FakeServer:
    """What ``local_server`` gives, without a process."""

    def __init__(self, grpc: str, problem: str = "") -> None:
        self.grpc = grpc.removeprefix("grpc://")
        self.http = "http://127.0.0.1:1"
        self.stopped = False
        self._problem = problem

    def wait_until_ready(self) -> None:
        if self._problem:
            raise LocalServerError(self._problem)

    def stop(self) -> None:
        self.stopped = True


@pytest.fixture
def demo_server(server: str, monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    fake = FakeServer(server)
    monkeypatch.setenv("LRM_MODEL", "another")

    @contextmanager
    def started(arguments: Sequence[str], environment: Mapping[str, str]) -> Iterator[FakeServer]:
        assert arguments == ["--model=embedded", "--enforce-eager"]
        assert "LRM_MODEL" not in environment
        yield fake

    monkeypatch.setattr(run, "local_server", started)
    return fake


def test_the_bundled_rollouts_are_rendered_successes_and_failures(
    rollouts: list[Rollout],
) -> None:
    assert {rollout.success for rollout in rollouts} == {True, False}
    assert [r.success for r in rollouts] == sorted((r.success for r in rollouts), reverse=True)
    for rollout in rollouts:
        assert rollout.steps[0] == 0
        assert rollout.steps[-1] == rollout.length
        assert (rollout.progress[-1] == 1.0) == rollout.success
        assert len(rollout.frames) == len(rollout.steps) == len(rollout.progress)
        assert all(frame.startswith(b"\xff\xd8") for frame in rollout.frames)


def test_a_step_shows_the_latest_key_frame(rollouts: list[Rollout]) -> None:
    rollout = rollouts[0]
    assert rollout.frame_at(0) == rollout.frames[0]
    assert rollout.frame_at(int(rollout.steps[1])) == rollout.frames[1]
    assert rollout.frame_at(int(rollout.steps[2]) - 1) == rollout.frames[1]
    assert rollout.frame_at(rollout.length) == rollout.frames[-1]


def test_rollouts_are_asked_every_interval_and_at_their_ends(
    rollouts: list[Rollout], truthful: ScriptedCore, server: str
) -> None:
    with RewardClient(server) as client:
        scored = score_rollouts(client, rollouts, INTERVAL)
    assert scored.failures == ()
    for trace in scored.traces:
        length = trace.rollout.length
        due = sorted({*range(INTERVAL, length + 1, INTERVAL), length})
        for head in HEADS:
            assert (np.flatnonzero(trace.heads[head].queried) + 1).tolist() == due
            assert len(trace.heads[head].values) == length
    expected = sum(len(trace.heads[HEADS[0]].queried.nonzero()[0]) for trace in scored.traces)
    assert scored.queries == expected * len(HEADS) == len(truthful.asked)


def test_values_are_held_between_queries(
    rollouts: list[Rollout], truthful: ScriptedCore, server: str
) -> None:
    with RewardClient(server) as client:
        scored = score_rollouts(client, rollouts, INTERVAL)
    progress = scored.traces[0].heads["progress"]
    at_ten = scored.traces[0].rollout.progress[2]
    assert progress.values[: INTERVAL - 1] == pytest.approx(0.0)
    assert progress.values[INTERVAL - 1 : 2 * INTERVAL - 1] == pytest.approx(at_ten)


def test_a_failure_is_named_and_is_no_value(
    rollouts: list[Rollout], truthful: ScriptedCore, server: str
) -> None:
    right = truthful.answer

    def answer(asked: Asked) -> float | pb.Problem:
        wrong = asked.head == "completion" and asked.step == INTERVAL
        return problem("unavailable", "gone") if wrong else right(asked)

    truthful.answer = answer
    with RewardClient(server) as client:
        scored = score_rollouts(client, rollouts, INTERVAL)
    assert {(step, head) for _, step, head, _ in scored.failures} == {(INTERVAL, "completion")}
    completion = scored.traces[0].heads["completion"]
    assert np.isnan(completion.values[INTERVAL - 1])
    assert not np.isnan(completion.values[INTERVAL])


def test_the_demo_prints_a_table_and_writes_a_plot(
    truthful: ScriptedCore, demo_server: FakeServer, rollouts: list[Rollout], tmp_path: Path
) -> None:
    out = tmp_path / "demo.png"
    result = CliRunner().invoke(app, ["demo", "--out", str(out)])
    assert result.exit_code == 0, result.stderr
    text = " ".join(result.stdout.replace("│", " ").split())
    for rollout in rollouts:
        assert rollout.task.split()[0] in text
    pairs = ordered_pairs(_traces(demo_server, rollouts))
    assert f"higher in {pairs[0]} of {pairs[1]} pairs" in text
    assert "Progress rises on successes" in text
    assert "start of the server" in text
    assert demo_server.stopped
    assert Image.open(out).size[0] > 1000
    assert truthful.episodes == {}


def _traces(server: FakeServer, rollouts: list[Rollout]) -> list:  # type: ignore[type-arg]
    with RewardClient(server.grpc) as client:
        return list(score_rollouts(client, rollouts, INTERVAL).traces)


def test_rewards_that_tell_nothing_end_with_status_1(
    core: ScriptedCore, demo_server: FakeServer, tmp_path: Path
) -> None:
    core.answer = lambda asked: 0.5
    result = CliRunner().invoke(app, ["demo", "--out", str(tmp_path / "demo.png")])
    assert result.exit_code == 1
    assert "Progress does not rise on successes" in " ".join(result.stdout.split())


def test_a_failed_reward_ends_the_demo_with_its_cause(
    core: ScriptedCore, demo_server: FakeServer, tmp_path: Path
) -> None:
    core.answer = lambda asked: problem("label_mass_low", "not answering")
    result = CliRunner().invoke(app, ["demo", "--out", str(tmp_path / "demo.png")])
    assert result.exit_code == 1
    assert "label_mass_low: not answering" in result.stderr
    assert demo_server.stopped


def test_a_server_that_does_not_start_ends_the_demo(
    demo_server: FakeServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(demo_server, "_problem", "the server stopped. Its log: boom")
    result = CliRunner().invoke(app, ["demo", "--out", str(tmp_path / "demo.png")])
    assert result.exit_code == 1
    assert "boom" in result.stderr


@pytest.mark.parametrize("out", ["demo.pdf", "no/such/folder/demo.png"])
def test_a_plot_that_cannot_be_written_is_said(
    truthful: ScriptedCore, demo_server: FakeServer, tmp_path: Path, out: str
) -> None:
    result = CliRunner().invoke(app, ["demo", "--out", str(tmp_path / out)])
    assert result.exit_code == 1
    assert out.rpartition("/")[2] in result.stderr


@pytest.mark.parametrize(
    ("first", "second", "tau"),
    [
        ([1, 2, 3], [1, 2, 3], 1.0),
        ([1, 2, 3], [3, 2, 1], -1.0),
        ([1, 2, 3, 4], [1, 1, 2, 2], 4 / np.sqrt(6 * 4)),
    ],
)
def test_kendalls_tau(first: list[float], second: list[float], tau: float) -> None:
    assert kendall_tau(first, second) == pytest.approx(tau)


def test_kendalls_tau_of_a_constant_is_nothing() -> None:
    assert np.isnan(kendall_tau([1, 1, 1], [1, 2, 3]))
