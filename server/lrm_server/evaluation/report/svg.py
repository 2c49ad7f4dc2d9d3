"""Plots as SVG for a page: no outside reference, and in the page's own colour of text."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.figure import Figure

INK: Final = "#010203"
"""Stands for the page's colour of text, which is dark or light as the reader has it."""
COLOURS: Final = ("#3b82d6", "#e07b1a", "#1fa37a", "#b565c9", "#c9514a", "#8a8f98")
"""For one model after the other; readable on white and on black."""

_STYLE: Final = {
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "figure.facecolor": "none",
    "font.size": 9,
    "grid.alpha": 0.15,
    "grid.color": INK,
    "legend.frameon": False,
    "savefig.transparent": True,
    "svg.fonttype": "none",
    "text.color": INK,
    # Names of models are not formulas.
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
}
_METADATA: Final = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
_GROUP_IDS: Final = re.compile(r'<g id="[^"]*"')
"""Nothing points to them, and all plots have the same ones."""
_NAMESPACES: Final = re.compile(r'\sxmlns(:\w+)?="[^"]*"')


@contextmanager
def plotting() -> Iterator[None]:
    """The style of all plots; figures are made and drawn inside."""
    with mpl.rc_context(_STYLE):  # type: ignore[arg-type]
        yield


def as_svg(figure: Figure, says: str) -> Markup:
    """A figure as an ``svg`` element.

    Args:
        figure: made within ``plotting``.
        says: what it shows, for those who cannot see it; also what its inner names are made of,
            so that two plots of a page must differ in it.
    """
    text = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": says}):
        figure.savefig(text, format="svg", bbox_inches="tight", metadata={"Date": None})
    drawing = text.getvalue()
    drawing = _METADATA.sub("", drawing[drawing.index("<svg") :])
    drawing = _NAMESPACES.sub("", drawing).replace("xlink:href", "href")
    drawing = _GROUP_IDS.sub("<g", drawing).replace(INK, "currentColor")
    label = f'<svg role="img" aria-label="{escape(says)}"'
    return Markup(drawing.replace("<svg", label, 1))  # noqa: S704
