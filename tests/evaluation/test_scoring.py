"""Asking in batches, and going on where a run was ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from lrm_client import DeadlineExceeded, InvalidRequest, Overloaded, Readout, Unavailable
from lrm_server.evaluation.answers import SCHEMA, AnswerStore, StoreError, only_writer
from lrm_server.evaluation.asking import Answer, Question
from lrm_server.evaluation.identity import ModelIdentity, NotJudgeableError
from lrm_server.evaluation.judged import EpisodeSet, JudgedModel
from lrm_server.evaluation.scoring import Asking, Scoring, ask_bounded
from tests.evaluation.recorded import HEADS, IDENTITY, ScriptedModel, episode, failure, truthful
from tests.project.layers import ROOT

EPISODES = [episode("a"), failure("b"), episode("c")]
# Five frames each: five of progress, five of completion, four comparisons.
QUESTIONS = 3 * 14


def run(
    model: ScriptedModel,
    out: Path,
    *,
    episodes: Sequence = EPISODES,
    identity: ModelIdentity = IDENTITY,
    asking: Asking | None = None,
) -> list[JudgedModel]:
    store = AnswerStore(out, identity, rows=8)
    asking = asking or Asking(HEADS, batch=6)
    return Scoring(model, identity, store, asking).run([EpisodeSet("set", list(episodes))])


def rows(out: Path) -> list[dict]:
    return [row for part in sorted(out.rglob("part-*")) for row in pq.read_table(part).to_pylist()]


def test_every_question_is_asked_once_in_bounded_batches(tmp_path: Path) -> None:
    model = ScriptedModel()
    (judged,) = run(model, tmp_path)
    assert len(model.asked) == judged.count() == QUESTIONS
    assert max(len(batch) for batch in model.batches) == 6
    assert judged.failures() == []
    assert [answer.value for answer in judged.episodes[0].progress.values()] == [
        0,
        0.3,
        0.5,
        0.8,
        1,
    ]
    assert judged.episodes[1].contrastive[2, 3].value == -1


def test_a_server_that_takes_less_in_a_batch_gets_less(tmp_path: Path) -> None:
    model = ScriptedModel()
    run(model, tmp_path, identity=replace(IDENTITY, max_batch=4))
    assert max(len(batch) for batch in model.batches) == 4


def test_a_second_run_asks_nothing_and_has_the_same_answers(tmp_path: Path) -> None:
    (first,) = run(ScriptedModel(), tmp_path)
    again = ScriptedModel()
    (second,) = run(again, tmp_path)
    assert again.asked == []
    for one, other in zip(first.episodes, second.episodes, strict=True):
        assert list(one.answers()) == list(other.answers())


@pytest.mark.parametrize("error", [KeyboardInterrupt, Unavailable("gone"), RuntimeError])
def test_what_was_answered_before_a_run_ended_is_not_asked_again(
    tmp_path: Path, error: BaseException
) -> None:
    def die(batch: Sequence[Question]) -> None:
        if len(model.asked) >= 18:
            raise error

    model = ScriptedModel(before=die)
    with pytest.raises(error if isinstance(error, type) else type(error)):
        run(model, tmp_path)
    assert len(model.asked) == 18
    rest = ScriptedModel()
    (judged,) = run(rest, tmp_path)
    assert len(rest.asked) == QUESTIONS - 18
    assert judged.count() == QUESTIONS
    assert judged.failures() == []


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.evaluation.recorded import ScriptedModel
from tests.evaluation.test_scoring import run

def die(batch):
    if len(model.asked) >= 18:
        os.kill(os.getpid(), signal.SIGKILL)

model = ScriptedModel(before=die)
run(model, Path(sys.argv[1]))
"""


def test_a_run_that_is_killed_leaves_whole_files_and_goes_on(tmp_path: Path) -> None:
    path = os.pathsep.join([str(ROOT), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], env={"PYTHONPATH": path}, check=False
    )
    assert done.returncode == -signal.SIGKILL
    kept = len(rows(tmp_path))
    # Parts of at least 8 rows: what came after the last one is lost.
    assert 8 <= kept <= 18
    rest = ScriptedModel()
    run(rest, tmp_path)
    assert len(rest.asked) == QUESTIONS - kept


def test_a_part_that_was_being_written_is_cleared_away(tmp_path: Path) -> None:
    run(ScriptedModel(), tmp_path)
    (shelf,) = tmp_path.glob("answers/*/progress-likelihood")
    leftover = shelf / "part-000009.partial"
    leftover.write_bytes(b"half a")
    run(ScriptedModel(), tmp_path)
    assert not leftover.exists()


def test_failures_are_rows_without_a_value_and_are_asked_again(tmp_path: Path) -> None:
    def fail_b(question: Question) -> Answer:
        failing = question.head == "progress" and question.episode.id == "b"
        return Answer(error="label_mass_low: no answer") if failing else truthful(question)

    (judged,) = run(ScriptedModel(fail_b), tmp_path)
    assert len(judged.failures()) == 5
    assert {(f.episode, f.head, f.error) for f in judged.failures()} == {
        ("b", "progress", "label_mass_low: no answer")
    }
    failed = [row for row in rows(tmp_path) if row["error"]]
    assert [row["value"] for row in failed] == [None] * 5
    better = ScriptedModel()
    (judged,) = run(better, tmp_path)
    assert {(q.episode.id, q.head) for q in better.asked} == {("b", "progress")}
    assert judged.failures() == []
    run(ScriptedModel(), tmp_path)
    assert [row for row in rows(tmp_path) if row["error"]] == []


def test_rows_say_what_was_asked_of_whom(tmp_path: Path) -> None:
    run(ScriptedModel(), tmp_path)
    parts = sorted(tmp_path.rglob("part-*.parquet"))
    assert all(pq.read_schema(part).equals(SCHEMA) for part in parts)
    assert {part.parent.name for part in parts} == {f"{head}-likelihood" for head in HEADS}
    found = rows(tmp_path)
    assert len(found) == len({row["key"] for row in found}) == QUESTIONS
    row = next(
        r for r in found if r["head"] == "contrastive" and r["episode"] == "b" and r["current"] == 3
    )
    assert row["fingerprint"] == "f1"
    assert row["server"] == "0.1.0"
    assert row["profile"] == "d-contrastive"
    assert row["readout"] == "likelihood"
    assert row["data_set"] == "set"
    assert row["task"] == "lift the cube"
    assert (row["previous"], row["initial"], row["step"]) == (2, None, 30)
    assert dict(row["probabilities"]) == {"previous": 1.0, "current": 0.0}


@pytest.mark.parametrize(
    "change",
    ["weights", "server", "profile", "frames", "task", "readout"],
)
def test_another_model_frame_task_or_readout_is_asked_anew(tmp_path: Path, change: str) -> None:
    run(ScriptedModel(), tmp_path, episodes=[episode()])
    model, made, identity, asking = ScriptedModel(), episode(), IDENTITY, Asking(HEADS)
    if change == "weights":
        identity = replace(identity, fingerprint="f2")
    elif change == "server":
        identity = replace(identity, version="0.2.0")
    elif change == "profile":
        heads = {h: replace(head, digest="new") for h, head in identity.heads.items()}
        identity = replace(identity, heads=heads)
    elif change == "frames":
        made = replace(made, frames=episode("z").frames)
    elif change == "task":
        made = replace(made, task="push the cube")
    else:
        asking = Asking(HEADS, (Readout.GENERATE,))
    run(model, tmp_path, episodes=[made], identity=identity, asking=asking)
    assert len(model.asked) == 14


def test_a_default_readout_and_its_name_are_one_question(tmp_path: Path) -> None:
    model = ScriptedModel()
    columns = run(model, tmp_path, asking=Asking(HEADS, (None, Readout.LIKELIHOOD)))
    assert len(model.asked) == QUESTIONS
    assert [column.count() for column in columns] == [QUESTIONS, QUESTIONS]


def test_answers_of_a_model_without_a_fingerprint_are_not_kept(tmp_path: Path) -> None:
    with pytest.raises(NotJudgeableError, match="no fingerprint of tiny"):
        AnswerStore(tmp_path, replace(IDENTITY, fingerprint=""))


class Counted(Sequence):
    """Frames of which it is known how many are in memory."""

    def __init__(self, count: int) -> None:
        self.count, self.reads, self.most = count, 0, 0
        self.alive: weakref.WeakSet[_Pixels] = weakref.WeakSet()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < self.count:
            raise IndexError(index)
        frame = np.full((8, 8, 3), index, np.uint8).view(_Pixels)
        self.alive.add(frame)
        self.reads, self.most = self.reads + 1, max(self.most, len(self.alive))
        return frame


class _Pixels(np.ndarray):
    __hash__ = object.__hash__


class Reading(ScriptedModel):
    """Reads the frames of a batch, each once, as a client does."""

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        wanted = {
            (id(q.episode), at): q.episode
            for q in questions
            for at in (q.previous, q.current, q.initial)
            if at is not None
        }
        shown = [made.frames[at] for (_, at), made in wanted.items()]
        assert shown
        return super().ask(questions)


def test_only_the_frames_of_a_batch_are_in_memory(tmp_path: Path) -> None:
    count = 60
    made = episode("a", np.linspace(0, 1, count).tolist())
    frames = Counted(count)
    asking = Asking(HEADS, batch=12)
    model = Reading()
    run(model, tmp_path, episodes=[replace(made, frames=frames)], asking=asking)
    # A question shows two frames at most.
    assert frames.most <= 2 * asking.batch
    # Once for the digest, and little more than once to be asked.
    assert frames.reads < 4 * count
    frames.most = 0
    run(model, tmp_path, episodes=[replace(made, frames=frames)], asking=asking)
    assert frames.most == 1


def test_a_head_that_is_not_served_is_left_out(tmp_path: Path) -> None:
    identity = replace(IDENTITY, heads={"progress": IDENTITY.heads["progress"]})
    (judged,) = run(ScriptedModel(), tmp_path, identity=identity)
    assert judged.count() == 15


def test_a_part_that_is_broken_is_named(tmp_path: Path) -> None:
    run(ScriptedModel(), tmp_path)
    part = sorted(tmp_path.rglob("part-*.parquet"))[0]
    part.write_bytes(b"no parquet")
    with pytest.raises(StoreError, match=f"{part}.*delete it"):
        run(ScriptedModel(), tmp_path)


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    with (
        only_writer(tmp_path),
        pytest.raises(StoreError, match="another run"),
        only_writer(tmp_path),
    ):
        pass
    with only_writer(tmp_path):
        pass


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequest("message too large"),
        DeadlineExceeded("too slow"),
        Overloaded("later", retry_after_seconds=0.001),
    ],
)
def test_a_batch_that_is_too_much_is_asked_in_halves(error: Exception) -> None:
    def at_most_two(batch: Sequence[Question]) -> None:
        if len(batch) > 2:
            raise error

    model = ScriptedModel(before=at_most_two)
    questions = [Question("progress", EPISODES[0], at, initial=0) for at in range(5)]
    assert [a.value for a in ask_bounded(model, questions)] == [0, 0.3, 0.5, 0.8, 1]


def test_a_question_that_no_request_can_hold_fails_alone() -> None:
    def never_the_third(batch: Sequence[Question]) -> None:
        if any(question.current == 3 for question in batch):
            raise InvalidRequest("too large", code="image_too_large")

    questions = [Question("progress", EPISODES[0], at, initial=0) for at in range(5)]
    answers = ask_bounded(ScriptedModel(before=never_the_third), questions)
    assert [a.error for a in answers] == ["", "", "", "image_too_large: too large", ""]
