"""``lrm score``: the frames of a file as a trajectory."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from lrm_client import FrameLike, LrmError, Readout, Reply, RewardClient, Use
from lrm_client.trajectories import TrajectoryPoint, Windows
from lrm_server.commands.consoles import progress_bar
from lrm_server.media.reading import Media, MediaError, MediaFrame, Sampling
from lrm_server.media.results import ResultRow, row_writer

PATIENCE_SECONDS: Final = 24 * 3600.0
"""A person watches, and a server has its own limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """What is asked of the frames.

    Attributes:
        task: in words.
        heads: which are asked, in the order of the rows.
        interval: every so many frames are asked about; their values are held in between.
        swap: contrastive: ask both orders.
        use: which number becomes the value.
        readout: how answers are read.
    """

    task: str
    heads: tuple[str, ...]
    interval: int = 1
    swap: bool = False
    use: Use | None = None
    readout: Readout | None = None


def score_media(
    client: RewardClient,
    source: Path,
    sampling: Sampling,
    scoring: Scoring,
    out: Path | None,
    plot: Path | None,
) -> int:
    """Scores a source, writes its rows and a summary; returns how many rows failed.

    The frames are decoded here and only those that are asked about travel: a folder is no
    video, a long or a large video would be over the server's limits as a file, and taking so
    many frames a second needs their times. Frames of a video travel as they were decoded, or
    as JPEG when they are large.

    Raises:
        MediaError: the source or a target cannot be used.
        LrmError: the server refuses the trajectory as a whole.
    """
    if plot is not None and plot.suffix != ".png":
        raise MediaError(f"--plot {plot} must end with .png")
    media = Media(source, sampling)
    console = Console(stderr=True)
    rows: list[ResultRow] = []
    try:
        with row_writer(out, sys.stdout) as write, progress_bar(console) as progress:
            bar = progress.add_task("scoring", total=media.expected_frames)

            def take(frame_rows: list[ResultRow]) -> None:
                rows.extend(frame_rows)
                for row in frame_rows:
                    write(row)
                progress.advance(bar)

            score_frames(client, media.frames(), scoring, take)
            progress.update(bar, total=progress.tasks[0].completed)
        if plot is not None and rows:
            # Imported here: matplotlib takes a second to load.
            from lrm_server.media.plots import plot_rows

            plot_rows(rows, f"{source.name}: {scoring.task}", plot)
    except OSError as error:
        raise MediaError(f"cannot write {error.filename}: {error.strerror}") from error
    console.print(_summary(rows))
    return sum(bool(row.error) for row in rows)


def score_frames(
    client: RewardClient,
    frames: Iterable[MediaFrame],
    scoring: Scoring,
    take: Callable[[list[ResultRow]], None],
) -> None:
    """Gives the rows of each frame to ``take``, in order, as soon as they are known.

    Raises:
        MediaError: the frames cannot be taken as asked.
        LrmError: the server refuses the trajectory as a whole.
    """
    neutral: Mapping[str, float] = {}
    if scoring.interval > 1:
        served = client.models().models
        neutral = {name: head.neutral for model in served for name, head in model.heads.items()}
    table = _Rows(scoring.heads, neutral, take)
    readable = table.readable(frames)
    first = next(readable, None)
    if first is not None:
        client.score_trajectory(
            chain([first], readable),
            scoring.task,
            scoring.heads,
            every=scoring.interval,
            windows=Windows.PREFIXES,
            swap=scoring.swap,
            use=scoring.use,
            readout=scoring.readout,
            failure="mask",
            on_point=table.point,
            timeout=PATIENCE_SECONDS,
        )
    table.end()


class _Rows:
    """The rows of all frames: asked ones from their points, others from what is held."""

    def __init__(
        self,
        heads: tuple[str, ...],
        neutral: Mapping[str, float],
        take: Callable[[list[ResultRow]], None],
    ) -> None:
        self._heads = heads
        self._take = take
        self._held: dict[str, float] = dict(neutral)
        self._answered: set[str] = set()
        # Filled by the thread that sends, emptied by the one that receives.
        self._coming: deque[MediaFrame] = deque()
        self._passed = 0

    def readable(self, frames: Iterable[MediaFrame]) -> Iterator[FrameLike]:
        """The frames that can be sent, of which the others are kept to be told of as well."""
        for frame in frames:
            self._coming.append(replace(frame, image=None))
            if frame.image is not None:
                yield frame.image

    def point(self, point: TrajectoryPoint) -> None:
        """Takes the rows up to a frame that was asked about; its index counts readable ones."""
        while True:
            frame = self._coming.popleft()
            if frame.error:
                self._take(self._failed(frame))
                continue
            asked = self._passed == point.index
            self._passed += 1
            if not asked:
                self._take(self._unasked(frame))
            else:
                self._take([self._answered_row(frame, head, point) for head in self._heads])
                return

    def end(self) -> None:
        """Takes the rows of frames after the last that could be read."""
        while self._coming:
            self._take(self._failed(self._coming.popleft()))

    def _failed(self, frame: MediaFrame) -> list[ResultRow]:
        return [_row(frame, head, "failed", error=frame.error) for head in self._heads]

    def _unasked(self, frame: MediaFrame) -> list[ResultRow]:
        return [self._held_row(frame, head) for head in self._heads]

    def _held_row(self, frame: MediaFrame, head: str) -> ResultRow:
        source = "held" if head in self._answered else "neutral"
        return _row(frame, head, source, value=self._held.get(head))

    def _answered_row(self, frame: MediaFrame, head: str, point: TrajectoryPoint) -> ResultRow:
        outcome = point.outcomes.get(head)
        if isinstance(outcome, LrmError):
            return _row(frame, head, "failed", error=f"{outcome.code}: {outcome.message}")
        if outcome is None:
            return _row(frame, head, "initial")
        self._answered.add(head)
        self._held[head] = outcome.value
        return _answered(frame, head, outcome)


def _answered(frame: MediaFrame, head: str, reply: Reply) -> ResultRow:
    return _row(
        frame,
        head,
        "queried",
        value=reply.value,
        label=reply.label,
        expected=reply.expected,
        confidence=reply.confidence,
        label_mass=reply.label_mass,
        probabilities=dict(reply.probabilities),
    )


def _row(frame: MediaFrame, head: str, source: str, **fields: object) -> ResultRow:
    return ResultRow(
        frame=frame.index,
        seconds=frame.seconds,
        name=frame.name,
        head=head,
        source=source,
        **fields,  # type: ignore[arg-type]
    )


def _summary(rows: list[ResultRow]) -> Table:
    table = Table("head", "frames", "queried", "failed", "first value", "last value", "mean value")
    for head in dict.fromkeys(row.head for row in rows):
        mine = [row for row in rows if row.head == head]
        values = [row.value for row in mine if row.value is not None]
        figures = (values[0], values[-1], sum(values) / len(values)) if values else ()
        table.add_row(
            head,
            str(len(mine)),
            str(sum(row.source == "queried" for row in mine)),
            str(sum(bool(row.error) for row in mine)),
            *(f"{figure:.3f}" for figure in figures),
        )
    return table
