"""``lrm score``: the frames of a file as the steps of one episode."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lrm_client import (
    Episode,
    HeadStep,
    InvalidRequest,
    Readout,
    RewardClient,
    Unauthenticated,
    UnknownHead,
    Use,
)
from lrm_server.commands.consoles import progress_bar
from lrm_server.media.reading import Media, MediaError, MediaFrame, Sampling
from lrm_server.media.results import ResultRow, row_writer


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """What is asked of every frame; see ``lrm_client.EpisodeSpec``."""

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

    Raises:
        MediaError: the source or a target cannot be used.
        LrmError: the server refuses the episode as a whole.
    """
    if plot is not None and plot.suffix != ".png":
        raise MediaError(f"--plot {plot} must end with .png")
    media = Media(source, sampling)
    console = Console(stderr=True)
    rows: list[ResultRow] = []
    try:
        with row_writer(out, sys.stdout) as write, progress_bar(console) as progress:
            bar = progress.add_task("scoring", total=media.expected_frames)
            for row in score_frames(client, media.frames(), scoring, lambda: progress.advance(bar)):
                rows.append(row)
                write(row)
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
    advanced: Callable[[], None] = lambda: None,
) -> Iterator[ResultRow]:
    """Rows of each frame, in order; a frame that cannot be read is no step of the episode.

    Args:
        client: of the server that is asked.
        frames: in the order of time.
        scoring: what is asked.
        advanced: called when a frame is done with.

    Raises:
        LrmError: the episode cannot be opened.
    """
    begun = False
    with client.episode(
        scoring.task,
        scoring.heads,
        failure="mask",
        interval=scoring.interval,
        swap=scoring.swap,
        use=scoring.use,
        readout=scoring.readout,
    ) as episode:
        for frame, last in _with_last(frames):
            if frame.image is None:
                yield from (_failed(frame, head, frame.error) for head in scoring.heads)
            elif begun:
                yield from _step(episode, frame, last)
            else:
                begun, rows = _begin(episode, frame, scoring.heads)
                yield from rows
            advanced()


def _begin(
    episode: Episode, frame: MediaFrame, heads: tuple[str, ...]
) -> tuple[bool, list[ResultRow]]:
    """Begins with a frame; with the next one when it is the frame that is refused."""
    assert frame.image is not None  # noqa: S101
    try:
        episode.reset(frame.image)
    except InvalidRequest as error:
        if "frame" not in error.field:
            raise
        return False, [_failed(frame, head, error.message) for head in heads]
    return True, [_row(frame, head, "initial") for head in heads]


def _step(episode: Episode, frame: MediaFrame, last: bool) -> Iterator[ResultRow]:
    step = episode.step(frame.image, truncated=last)
    for head, answer in step.heads.items():
        if isinstance(answer.error, Unauthenticated | UnknownHead):
            raise answer.error
        yield _answered(frame, head, answer)


def _answered(frame: MediaFrame, head: str, answer: HeadStep) -> ResultRow:
    if answer.error is not None or answer.value is None:
        cause = f"{answer.error.code}: {answer.error.message}" if answer.error else "no value"
        return _failed(frame, head, cause)
    if answer.reply is None:
        return _row(frame, head, answer.source.value, value=answer.value)
    reply = answer.reply
    return _row(
        frame,
        head,
        answer.source.value,
        value=answer.value,
        label=reply.label,
        expected=reply.expected,
        confidence=reply.confidence,
        label_mass=reply.label_mass,
        probabilities=dict(reply.probabilities),
    )


def _with_last(frames: Iterable[MediaFrame]) -> Iterator[tuple[MediaFrame, bool]]:
    """Each frame, and whether it is the last: that one is asked whatever the interval."""
    held: MediaFrame | None = None
    for frame in frames:
        if held is not None:
            yield held, False
        held = frame
    if held is not None:
        yield held, True


def _failed(frame: MediaFrame, head: str, error: str) -> ResultRow:
    return _row(frame, head, "failed", error=error)


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
