"""Columns: what the metric functions take, one entry an episode, and how they are checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lrm_server.evaluation.metrics.result import Drawn

Floats = NDArray[np.float64]

Column = Sequence[ArrayLike] | NDArray[Any]
"""One entry an episode: an array over its frames or pairs (lengths may differ), or one number."""


@dataclass(frozen=True, slots=True, eq=False)
class Pooled:
    """The entries of several columns in one row, still known by episode.

    Attributes:
        columns: float64 (n,) each.
        starts: int (E + 1,); episode e has entries ``starts[e]:starts[e + 1]``.
    """

    columns: tuple[Floats, ...]
    starts: Drawn

    def of(self, drawn: Drawn) -> tuple[Floats, ...]:
        """The columns over drawn episodes, with repetition."""
        spans = [slice(self.starts[e], self.starts[e + 1]) for e in drawn]
        return tuple(np.concatenate([column[span] for span in spans]) for column in self.columns)


def checked(**columns: Column) -> list[list[Floats]]:
    """Columns as float64 arrays, one list a column, aligned by episode.

    Args:
        columns: by the names that errors are to use.

    Raises:
        ValueError: columns of different lengths, an entry with other than one axis, or a number
            that is not finite; names the column and the episode.
    """
    found = {name: _entries(name, column) for name, column in columns.items()}
    (first, reference), *others = found.items()
    for name, entries in others:
        if len(entries) != len(reference):
            raise ValueError(
                f"{first} has {len(reference)} episodes and {name} {len(entries)}: "
                "give one entry an episode in both"
            )
        for episode, (entry, other) in enumerate(zip(entries, reference, strict=True)):
            if entry.shape != other.shape:
                raise ValueError(
                    f"episode {episode} has {len(other)} entries in {first} and {len(entry)} "
                    f"in {name}: leave failed queries out of both"
                )
    return list(found.values())


def _entries(name: str, column: Column) -> list[Floats]:
    entries = [np.atleast_1d(np.asarray(entry, dtype=np.float64)) for entry in column]
    for episode, entry in enumerate(entries):
        if entry.ndim != 1:
            raise ValueError(f"{name} of episode {episode} has shape {entry.shape}: give one axis")
        if not np.all(np.isfinite(entry)):
            raise ValueError(
                f"{name} of episode {episode} holds a number that is not finite: leave failed "
                "queries out, they have no value"
            )
    return entries


def pooled(entries: Sequence[Sequence[Floats]]) -> Pooled:
    """Checked columns, end to end; without episodes the columns are empty."""
    lengths = [len(entry) for entry in entries[0]]
    return Pooled(
        tuple(np.concatenate([np.empty(0), *column]) for column in entries),
        np.concatenate([[0], np.cumsum(lengths, dtype=np.intp)]).astype(np.intp),
    )


def flags(name: str, entries: Sequence[Floats]) -> list[NDArray[np.bool_]]:
    """Entries of 0 and 1 as booleans.

    Raises:
        ValueError: another number.
    """
    for episode, entry in enumerate(entries):
        if not np.all((entry == 0) | (entry == 1)):
            raise ValueError(f"{name} of episode {episode} must be true or false, 0 or 1")
    return [entry == 1 for entry in entries]


def scalars(name: str, column: Column) -> Floats:
    """A column of one number an episode, float64 (E,).

    Raises:
        ValueError: an episode with more than one entry, or a number that is not finite.
    """
    entries = _entries(name, column)
    for episode, entry in enumerate(entries):
        if len(entry) != 1:
            raise ValueError(f"{name} of episode {episode} has {len(entry)} entries: give one")
    return np.concatenate([np.empty(0), *entries])
