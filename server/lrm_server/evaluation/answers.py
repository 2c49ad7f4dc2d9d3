"""Answers on disk as Parquet, written in parts, so that a run that was ended goes on."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from lrm_server.evaluation.asking import Answer, Question
from lrm_server.evaluation.identity import ModelIdentity, NotJudgeableError

SCHEMA: Final = pa.schema(
    {
        "key": pa.string(),
        "model": pa.string(),
        "fingerprint": pa.string(),
        "server": pa.string(),
        "profile": pa.string(),
        "head": pa.string(),
        "readout": pa.string(),
        "data_set": pa.string(),
        "episode": pa.string(),
        "episode_digest": pa.string(),
        "task": pa.string(),
        "initial": pa.int32(),
        "previous": pa.int32(),
        "current": pa.int32(),
        "goal": pa.int32(),
        "step": pa.int64(),
        "value": pa.float64(),
        "expected": pa.float64(),
        "label": pa.string(),
        "probabilities": pa.map_(pa.string(), pa.float64()),
        "label_mass": pa.float64(),
        "error": pa.string(),
    }
)
"""One row a question: what was asked of whom, by ``key``, and the fields of ``Answer``."""

ANSWERS: Final = "answers"
"""Folder of the answers within a run's output folder."""

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")
_ANSWER_FIELDS: Final = [field.name for field in fields(Answer)]


class StoreError(Exception):
    """The output folder cannot be used; says what to change."""


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """A row: an answer, and all that decided on it.

    Attributes:
        question: what was asked; its edit must be None.
        identity: who was asked.
        readout: how the answer was read, the default resolved; empty for composite heads.
        data_set: name of the data set.
        digest: of the episode's frames and steps.
        answer: what came back.
    """

    question: Question
    identity: ModelIdentity
    readout: str
    data_set: str
    digest: str
    answer: Answer

    def as_row(self) -> dict[str, Any]:
        """The columns of ``SCHEMA``."""
        question, head = self.question, self.identity.heads.get(self.question.head)
        return {
            "key": question_key(question, self.identity, self.readout, self.digest),
            "model": self.identity.id,
            "fingerprint": self.identity.fingerprint,
            "server": self.identity.version,
            "profile": head.digest if head else "",
            "head": question.head,
            "readout": self.readout,
            "data_set": self.data_set,
            "episode": question.episode.id,
            "episode_digest": self.digest,
            "task": _task(question),
            "initial": question.initial,
            "previous": question.previous,
            "current": question.current,
            "goal": question.goal,
            "step": int(question.episode.steps[question.current]),
            **asdict(self.answer),
            "probabilities": list(self.answer.probabilities.items()),
        }


def question_key(question: Question, identity: ModelIdentity, readout: str, digest: str) -> str:
    """What is the same exactly when the same model is asked the same thing: a hexadecimal digest.

    Args:
        question: its edit must be None, for an edit has no digest.
        identity: who is asked.
        readout: how the answer is read.
        digest: of the episode's frames.
    """
    if question.edit is not None:
        raise ValueError("a question with an edit is not stored")
    head = identity.heads.get(question.head)
    parts = [
        identity.fingerprint,
        identity.version,
        head.digest if head else "",
        question.head,
        readout,
        question.swap,
        question.episode.id,
        digest,
        question.initial,
        question.previous,
        question.current,
        question.goal,
        _task(question),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class AnswerStore:
    """The answers of one model: a folder of parts for each head and readout.

    A part is written beside its place and then moved there, so it is whole or absent. Use it as a
    context: whatever ends the block, what was added is on disk after it.

    Args:
        root: the output folder of a run.
        identity: whose answers these are.
        rows: a part is written when so many answers wait,
        seconds: or when so long has passed since the last one.

    Raises:
        NotJudgeableError: the model has no fingerprint, by which its answers are known again.
    """

    def __init__(
        self, root: Path, identity: ModelIdentity, *, rows: int = 2048, seconds: float = 10.0
    ) -> None:
        if not identity.fingerprint:
            raise NotJudgeableError(
                f"the server gives no fingerprint of {identity.id}: without one the answers of two "
                "models cannot be told apart; serve it with a version that does"
            )
        self._root = root / ANSWERS / _safe(identity.fingerprint)
        self._waiting: dict[Path, list[dict[str, Any]]] = defaultdict(list)
        self._rows = rows
        self._seconds = seconds
        self._flushed = time.monotonic()

    def load(self) -> dict[str, Answer]:
        """Answers by key, without the failures, which are asked again.

        Raises:
            StoreError: a part cannot be read.
        """
        known: dict[str, Answer] = {}
        for shelf in sorted(self._root.glob("*/")):
            for leftover in shelf.glob("*.partial"):
                leftover.unlink()
            for row in _compacted(shelf):
                if not row["error"]:
                    known[row["key"]] = _answer(row)
        return known

    def add(self, stored: StoredAnswer) -> None:
        """Takes an answer; it is on disk within seconds, or when the context ends."""
        shelf = self._root / f"{_safe(stored.question.head)}-{_safe(stored.readout or 'default')}"
        self._waiting[shelf].append(stored.as_row())
        waiting = sum(len(each) for each in self._waiting.values())
        if waiting >= self._rows or time.monotonic() - self._flushed > self._seconds:
            self.flush()

    def flush(self) -> None:
        """Writes what waits, a part for each head and readout."""
        for shelf, rows in self._waiting.items():
            if rows:
                shelf.mkdir(parents=True, exist_ok=True)
                _write_part(shelf, rows)
                rows.clear()
        self._flushed = time.monotonic()

    def __enter__(self) -> AnswerStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.flush()


def has_answers(root: Path) -> bool:
    """Whether an output folder holds answers, of this run or an earlier one."""
    return any((root / ANSWERS).glob("*/*/part-*.parquet"))


@contextmanager
def only_writer(root: Path) -> Iterator[None]:
    """Keeps a second run out of an output folder, which is made where it is missing.

    Raises:
        StoreError: the folder cannot be made, or another run writes there.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = (root / ".lock").open("w")
    except OSError as error:
        raise StoreError(f"cannot write to {root}: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(
                f"another run writes to {root}: wait, or name another --out"
            ) from error
        yield


def read_answers(path: Path) -> list[dict[str, Any]]:
    """Rows of one part, in order.

    Raises:
        StoreError: it cannot be read, or holds other columns.
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise StoreError(
            f"{path} cannot be read ({error}): delete it, and its answers are asked again"
        ) from error
    if not table.schema.equals(SCHEMA):
        raise StoreError(f"{path} has other columns than this version writes: delete it")
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def _compacted(shelf: Path) -> list[dict[str, Any]]:
    """The rows of a shelf, later ones in the place of earlier ones; they are one part then."""
    parts = _parts(shelf)
    rows = {row["key"]: row for part in parts for row in read_answers(part)}
    if len(parts) > 1:
        _write_part(shelf, list(rows.values()))
        for part in parts:
            part.unlink()
    return list(rows.values())


def _parts(shelf: Path) -> list[Path]:
    return sorted(shelf.glob("part-*.parquet"))


def _write_part(shelf: Path, rows: list[dict[str, Any]]) -> None:
    last = max((int(part.stem.removeprefix("part-")) for part in _parts(shelf)), default=0)
    part = shelf / f"part-{last + 1:06d}.parquet"
    partial = part.with_suffix(".partial")
    with partial.open("wb") as file:
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(part)


def _answer(row: dict[str, Any]) -> Answer:
    values = {name: row[name] for name in _ANSWER_FIELDS}
    return Answer(**{**values, "probabilities": dict(row["probabilities"])})


def _task(question: Question) -> str:
    return question.episode.task if question.task is None else question.task


def _safe(name: str) -> str:
    return _UNSAFE.sub("_", name) or "_"
