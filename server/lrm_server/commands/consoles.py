"""Where tables are printed."""

from __future__ import annotations

from typing import Final

from rich.console import Console

PIPED_WIDTH: Final = 130
"""Columns where the output is no terminal, so that tables are not folded to 80."""


def table_console() -> Console:
    """Standard output, wide enough for a table."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, PIPED_WIDTH)
    return console
