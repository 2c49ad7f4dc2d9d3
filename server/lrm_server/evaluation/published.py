"""The papers' own figures, which stand beside ours in the tables."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources

import yaml
from pydantic import BaseModel, ConfigDict


class PublishedColumn(BaseModel):
    """What one paper prints about one model.

    Attributes:
        title: the model.
        source: the paper.
        setting: on what, and how.
        sections: the tables that it stands in.
        figures: ``section.row`` to the figures printed, mostly one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    source: str
    setting: str
    sections: tuple[str, ...]
    figures: Mapping[str, tuple[float, ...]]

    def cell(self, section: str, row: str) -> str:
        """As printed; empty where the paper prints no such figure."""
        return " / ".join(f"{figure:.3f}" for figure in self.figures.get(f"{section}.{row}", ()))


class Published(BaseModel):
    """All of them, and what a reader must know before comparing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    notice: str
    columns: tuple[PublishedColumn, ...]

    def of(self, section: str) -> tuple[PublishedColumn, ...]:
        """The columns that stand in a table."""
        return tuple(column for column in self.columns if section in column.sections)


@cache
def published_figures() -> Published:
    """Reads ``published.yaml``."""
    text = resources.files("lrm_server.evaluation").joinpath("published.yaml").read_text("utf-8")
    return Published.model_validate(yaml.safe_load(text))
