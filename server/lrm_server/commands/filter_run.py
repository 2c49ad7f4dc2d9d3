"""``lrm filter``: asks about the ends of episodes, writes those that are kept, says how it went."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from lrm_server.commands.connection import ServerChoice, connect
from lrm_server.commands.consoles import progress_bar, table_console
from lrm_server.evaluation.asking import ServedModel
from lrm_server.evaluation.filtering import (
    Agreement,
    Criterion,
    Decision,
    agreement,
    judge_ends,
)
from lrm_server.evaluation.identity import ModelIdentity, identify
from lrm_server.recordings.copying import copy_episodes
from lrm_server.recordings.data_set import DataSet, open_data_set
from lrm_server.recordings.episode import RecordedEpisode, RecordingError
from lrm_server.recordings.folders import LAYOUT
from lrm_server.recordings.targets import check_folder_names, new_folder

DECISIONS_FILE: Final = "decisions.parquet"
SUMMARY_FILE: Final = "filter.json"
SCHEMA: Final = pa.schema(
    {
        "episode": pa.string(),
        "group": pa.string(),
        "kind": pa.string(),
        "seed": pa.int64(),
        "task": pa.string(),
        "success": pa.bool_(),
        "kept": pa.bool_(),
        "error": pa.string(),
        "heads": pa.list_(
            pa.struct(
                {
                    "head": pa.string(),
                    "score": pa.float64(),
                    "complete": pa.bool_(),
                    "steps": pa.list_(pa.int64()),
                    "scores": pa.list_(pa.float64()),
                }
            )
        ),
    }
)
"""One row an episode; what is unknown or failed is null."""


@dataclass(frozen=True, slots=True)
class FilterOptions:
    """The arguments of ``lrm filter``; see its help."""

    data: Path
    out: Path
    criterion: Criterion
    camera: str | None = None
    batch: int = 128


def run_filter(choice: ServerChoice, options: FilterOptions) -> int:
    """Filters a data set and returns the exit status.

    Raises:
        RecordingError: the data set cannot be opened, two of its episodes would lie in one folder,
            the target holds something, or the kept episodes cannot be copied; what was decided is
            written all the same.
        NoServerError: nobody answers at the address.
        LocalServerError: a local server does not start, or does not stop as it should.
        LrmError: the server cannot be asked.
        OSError: the target cannot be written.
        ValueError: an address that is none, or a head that is not served.
    """
    data_set = open_data_set(options.data, camera=options.camera)
    if data_set.layout == LAYOUT:
        check_folder_names(episode.id for episode in data_set)
    views = _views(data_set)
    new_folder(options.out)
    with connect(choice) as client, progress_bar(Console(stderr=True)) as progress:
        identity = identify(client)
        bar = progress.add_task("judging", total=len(data_set))
        decisions = judge_ends(
            ServedModel(client, identity.id),
            identity.heads,
            data_set,
            options.criterion,
            batch=min(options.batch, identity.max_batch or options.batch),
            advanced=lambda: progress.advance(bar),
        )
    decisions = _readable(views, decisions)
    kept = [decision for decision in decisions if decision.kept]
    counts = agreement(decisions)
    # First: nothing that goes wrong with the copy loses what was asked.
    pq.write_table(
        pa.Table.from_pylist([_row(one) for one in decisions], SCHEMA),
        options.out / DECISIONS_FILE,
    )
    summary = _summary(data_set, decisions, options.criterion, identity, counts)
    (options.out / SUMMARY_FILE).write_text(json.dumps(summary, indent=1) + "\n", "utf-8")
    _print(data_set, decisions, counts, table_console())
    _write_kept(data_set, kept, options.out)
    return int(not kept or bool(counts.unjudged) or bool(data_set.problems))


def _views(data_set: DataSet) -> list[DataSet]:
    """The data set as each of its cameras shows it."""
    others = [camera for camera in data_set.cameras if camera != data_set.camera]
    return [data_set, *(open_data_set(data_set.root, camera=camera) for camera in others)]


def _readable(views: Sequence[DataSet], decisions: Sequence[Decision]) -> list[Decision]:
    """A kept episode is copied whole: one with a frame that cannot be read is not kept."""
    for view in views:
        damaged = {problem.id: problem.cause for problem in view.problems}
        episodes = {episode.id: episode for episode in view}
        decisions = [
            _seen(decision, episodes.get(decision.episode.id), damaged) for decision in decisions
        ]
    return list(decisions)


def _seen(
    decision: Decision, episode: RecordedEpisode | None, damaged: Mapping[str, str]
) -> Decision:
    """The decision, its episode being kept only where a camera has all its frames."""
    if not decision.kept:
        return decision
    if episode is None:
        return replace(decision, kept=False, error=damaged.get(decision.episode.id, "it is gone"))
    try:
        for _ in episode.frames:
            pass
    except RecordingError as error:
        return replace(decision, kept=False, error=str(error))
    return decision


def _write_kept(data_set: DataSet, kept: Sequence[Decision], out: Path) -> None:
    """Copies the kept episodes beside ``out`` and moves them in once they are whole."""
    if not kept:
        return
    scores = {decision.episode.id: decision.scores() for decision in kept}
    try:
        with TemporaryDirectory(dir=out.absolute().parent, prefix=f".{out.name}-") as beside:
            copy = Path(beside)
            copy_episodes(data_set, list(scores), copy, scores)
            for path in copy.iterdir():
                path.rename(out / path.name)
    except RecordingError as error:
        raise RecordingError(f"{_not_copied(out)}: {error}") from error
    except OSError as error:
        raise OSError(f"{_not_copied(out)}: {error}") from error


def _not_copied(out: Path) -> str:
    return f"the kept episodes were not copied, but {out / DECISIONS_FILE} says which they are"


def _row(decision: Decision) -> dict[str, Any]:
    episode = decision.episode
    return {
        "episode": episode.id,
        "group": episode.group,
        "kind": episode.kind,
        "seed": episode.seed,
        "task": episode.task,
        "success": episode.success,
        "kept": decision.kept,
        "error": decision.error,
        "heads": [
            {
                "head": verdict.head,
                "score": verdict.score,
                "complete": verdict.complete,
                "steps": [int(episode.steps[frame]) for frame in verdict.frames],
                "scores": verdict.scores,
            }
            for verdict in decision.verdicts
        ],
    }


def _summary(
    data_set: DataSet,
    decisions: Sequence[Decision],
    criterion: Criterion,
    identity: ModelIdentity,
    counts: Agreement,
) -> dict[str, Any]:
    return {
        "data_set": data_set.name,
        "layout": data_set.layout,
        "model": {"id": identity.id, "fingerprint": identity.fingerprint},
        "criterion": {
            "thresholds": dict(criterion.thresholds),
            "last": criterion.last,
            "agree": criterion.agree.value,
            "readout": criterion.readout.value if criterion.readout else None,
        },
        "episodes": len(decisions),
        "kept": [decision.episode.id for decision in decisions if decision.kept],
        **asdict(counts),
        "precision": counts.precision,
        "recall": counts.recall,
        "f1": counts.f1,
        "not_judged": {one.episode.id: one.error for one in decisions if one.error},
        "not_readable": {problem.id: problem.cause for problem in data_set.problems},
    }


def _print(
    data_set: DataSet, decisions: Sequence[Decision], counts: Agreement, console: Console
) -> None:
    def say(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    for problem in data_set.problems:
        say(f"not readable: {problem.id}: {problem.cause}")
    for decision in decisions:
        if decision.error:
            say(f"not judged: {decision.episode.id}: {decision.error}")
    kept = sum(decision.kept for decision in decisions)
    say(f"{kept} of {len(decisions)} episodes are kept; {counts.unjudged} could not be judged")
    labelled = [one for one in decisions if not one.error and one.episode.success is not None]
    if not labelled:
        say("precision and recall: no episode that was judged says whether it succeeded")
        return
    table = Table("judged", "successful", "failed")
    table.add_row("kept", str(counts.true_kept), str(counts.false_kept))
    table.add_row("dropped", str(counts.false_dropped), str(counts.true_dropped))
    console.print(table)
    say(
        f"precision {_figure(counts.precision, 'nothing was kept')}, "
        f"recall {_figure(counts.recall, 'no episode is successful')}, "
        f"F1 {_figure(counts.f1, 'nothing was kept, and no episode is successful')}"
        + (f"; {counts.unlabelled} without a label" if counts.unlabelled else "")
    )


def _figure(value: float | None, why: str) -> str:
    return f"none ({why})" if value is None else f"{value:.3f}"
