"""Where tables and progress are printed."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

PIPED_WIDTH: Final = 130
"""Columns where the output is no terminal, so that tables are not folded to 80."""


def table_console() -> Console:
    """Standard output, wide enough for a table."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, PIPED_WIDTH)
    return console


def progress_bar(console: Console) -> Progress:
    """A bar with counts and the time left; nothing where the console is no terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
