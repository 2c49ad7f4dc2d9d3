"""Rows on disk."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lrm_server.media.reading import MediaError
from lrm_server.media.results import ResultRow, row_writer

ROWS = [
    ResultRow(frame=0, seconds=0.0, head="progress", source="initial"),
    ResultRow(
        frame=1,
        seconds=0.1,
        head="progress",
        source="queried",
        value=0.5,
        label="0.5",
        expected=0.48,
        confidence=0.7,
        label_mass=0.99,
        probabilities={"0.5": 0.7, "0.4": 0.3},
    ),
    ResultRow(frame=2, seconds=0.2, head="progress", source="failed", error="unavailable: down"),
]


def write(out: Path | None) -> str:
    stdout = io.StringIO()
    with row_writer(out, stdout) as take:
        for row in ROWS:
            take(row)
    return stdout.getvalue()


def check(read: list[dict[str, object]]) -> None:
    assert [row["value"] for row in read] == [None, 0.5, None]
    assert [row["source"] for row in read] == ["initial", "queried", "failed"]
    assert [row["error"] for row in read] == ["", "", "unavailable: down"]
    assert dict(read[1]["probabilities"]) == {"0.5": 0.7, "0.4": 0.3}  # type: ignore[call-overload]


def test_json_lines(tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    assert write(out) == ""
    check([json.loads(line) for line in out.read_text().splitlines()])


def test_parquet(tmp_path: Path) -> None:
    out = tmp_path / "r.parquet"
    assert write(out) == ""
    check(pq.read_table(out).to_pylist())


def test_without_a_file_lines_go_to_standard_output() -> None:
    check([json.loads(line) for line in write(None).splitlines()])


def test_json_lines_are_on_disk_as_they_come(tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    with row_writer(out, io.StringIO()) as take:
        take(ROWS[0])
        assert len(out.read_text().splitlines()) == 1


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"\.jsonl or \.parquet"):
        write(tmp_path / "r.csv")
