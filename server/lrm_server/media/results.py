"""Results of scored frames: one row a frame and head, as JSON lines or as Parquet."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from lrm_server.media.reading import MediaError


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """One head at one frame.

    Attributes:
        frame: index of the frame in the source.
        seconds: its time in a video.
        name: its file in a folder.
        head: which head.
        source: queried, held, neutral or failed; ``initial`` for the frame that the
            episode begins with, which is compared with and has no value of its own.
        value: the head's value; None when it failed, and for the initial frame.
        label: the most probable label, where the head was asked.
        expected: the probability-weighted value, where the head was asked.
        confidence: probability of ``label``.
        label_mass: share of the model's probability that fell on the labels.
        probabilities: label -> probability.
        error: why there is no value; empty when nothing failed.
    """

    frame: int
    seconds: float | None = None
    name: str = ""
    head: str
    source: str
    value: float | None = None
    label: str = ""
    expected: float | None = None
    confidence: float | None = None
    label_mass: float | None = None
    probabilities: dict[str, float] = field(default_factory=dict)
    error: str = ""


SCHEMA: Final = pa.schema(
    {
        "frame": pa.int64(),
        "seconds": pa.float64(),
        "name": pa.string(),
        "head": pa.string(),
        "source": pa.string(),
        "value": pa.float64(),
        "label": pa.string(),
        "expected": pa.float64(),
        "confidence": pa.float64(),
        "label_mass": pa.float64(),
        "probabilities": pa.map_(pa.string(), pa.float64()),
        "error": pa.string(),
    }
)

_ROWS_AT_ONCE: Final = 1024


@contextmanager
def row_writer(out: Path | None, stdout: TextIO) -> Iterator[Callable[[ResultRow], None]]:
    """What takes rows and writes them: to a .jsonl or .parquet file, or as lines to ``stdout``.

    JSON lines are on disk as they come; Parquet is whole when the context ends.

    Raises:
        MediaError: a file of another kind.
        OSError: the file cannot be written.
    """
    if out is None:
        yield lambda row: _write_line(row, stdout)
    elif out.suffix == ".jsonl":
        with out.open("w", encoding="utf-8") as file:
            yield lambda row: _write_line(row, file)
    elif out.suffix == ".parquet":
        with pq.ParquetWriter(out, SCHEMA) as writer:
            waiting: list[dict[str, object]] = []

            def flush() -> None:
                writer.write_table(pa.Table.from_pylist(waiting, SCHEMA))
                waiting.clear()

            def take(row: ResultRow) -> None:
                waiting.append({**asdict(row), "probabilities": list(row.probabilities.items())})
                if len(waiting) == _ROWS_AT_ONCE:
                    flush()

            yield take
            flush()
    else:
        raise MediaError(f"--out {out} must end with .jsonl or .parquet")


def _write_line(row: ResultRow, file: TextIO) -> None:
    file.write(json.dumps(asdict(row), ensure_ascii=False, allow_nan=False) + "\n")
    file.flush()
