"""Everything that an evaluation found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lrm_client import __version__
from lrm_server.evaluation.figures import Bootstrap
from lrm_server.evaluation.judged import EpisodeSet, Failure, JudgedModel
from lrm_server.evaluation.references import AtRandom, ByTime, Oracle, judged_by
from lrm_server.evaluation.sections import FilledTable, fill, sections
from lrm_server.evaluation.tables import as_data
from lrm_server.recordings.episode import RecordedEpisode


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Models, what they were asked about, and their figures.

    Attributes:
        data_sets: what was asked about.
        models: who was asked, a column each.
        references: models that look at no frame, further columns.
        tables: in order.
        bootstrap: how the intervals were drawn.
    """

    data_sets: tuple[EpisodeSet, ...]
    models: tuple[JudgedModel, ...]
    references: tuple[JudgedModel, ...]
    tables: tuple[FilledTable, ...]
    bootstrap: Bootstrap

    @property
    def failures(self) -> list[Failure]:
        """The questions without an answer, of all models."""
        return [failure for model in self.models for failure in model.failures()]

    @property
    def asked(self) -> int:
        """How many questions there were, to all models."""
        return sum(model.count() for model in self.models)

    @property
    def reported(self) -> bool:
        """Whether any figure of a model that was asked could be computed."""
        return any(
            metric.value is not None
            for table in self.tables
            for row in table.rows
            for metric in row.metrics[: len(self.models)]
        )

    def as_json(self, options: Mapping[str, object]) -> str:
        """All figures, what they are of, and with which options they can be had again.

        Args:
            options: of the run, by name, as JSON can hold them.
        """
        content: dict[str, Any] = {
            "lrm": __version__,
            "options": dict(options),
            "intervals": {"method": "percentile bootstrap over episodes", **asdict(self.bootstrap)},
            "data_sets": [
                {
                    "name": each.name,
                    "episodes": len(each.episodes),
                    "digest": self.digest_of(each),
                    "problems": dict(each.problems),
                }
                for each in self.data_sets
            ],
            "models": [
                {
                    "name": model.title,
                    "id": model.identity.id,
                    "fingerprint": model.identity.fingerprint,
                    "server": model.identity.version,
                    "description": model.identity.description,
                    "profiles": {name: head.digest for name, head in model.identity.heads.items()},
                    "readouts": model.readouts(),
                    "questions": model.count(),
                    "failures": len(model.failures()),
                }
                for model in self.models
                if model.identity is not None
            ],
            "references": [model.title for model in self.references],
            "tables": [as_data(table) for table in self.tables],
        }
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def digest_of(self, data_set: EpisodeSet) -> str:
        """Hexadecimal digest of a data set's episodes, their frames and their order."""
        total = hashlib.sha256()
        for judged in self.models[0].episodes:
            if judged.data_set == data_set.name:
                total.update(f"{judged.episode.id}\n{judged.digest}\n".encode())
        return total.hexdigest()


def evaluate(
    data_sets: Sequence[EpisodeSet],
    models: Sequence[JudgedModel],
    heads: Sequence[str],
    bootstrap: Bootstrap,
    measured: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Computes all tables.

    Args:
        data_sets: what was asked about, with at least one episode.
        models: at least one.
        heads: that were asked.
        bootstrap: how intervals are drawn.
        measured: called when a row is done; ``rows_of`` says how many there are.
    """
    episodes = list(_episodes(data_sets))
    references = tuple(
        judged_by(model, data_sets, heads) for model in (ByTime(episodes), AtRandom(), Oracle())
    )
    tables = tuple(
        fill(section, [*models, *references], bootstrap, measured)
        for section in sections(groups_of(data_sets))
    )
    return Evaluation(tuple(data_sets), tuple(models), references, tables, bootstrap)


def groups_of(data_sets: Sequence[EpisodeSet]) -> list[str]:
    """The subsets that the episodes belong to, in the order of their names."""
    return sorted({episode.group for episode in _episodes(data_sets) if episode.group})


def rows_of(data_sets: Sequence[EpisodeSet]) -> int:
    """How many rows the tables have."""
    return sum(len(section.figures) for section in sections(groups_of(data_sets)))


def _episodes(data_sets: Sequence[EpisodeSet]) -> Iterator[RecordedEpisode]:
    return (episode for data_set in data_sets for episode in data_set.episodes)
