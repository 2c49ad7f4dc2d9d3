"""Options that several commands have, and how a command ends."""

from __future__ import annotations

from typing import Annotated, Final

import typer
from rich.console import Console

WRONG_USAGE: Final = 2
INTERRUPTED: Final = 130

ServerOption = Annotated[
    str,
    typer.Option(
        envvar="LRM_SERVER",
        help="Address of a running server: grpc://HOST:PORT, or http://HOST:PORT.",
    ),
]
TokenOption = Annotated[
    str | None,
    typer.Option(envvar="LRM_TOKEN", show_envvar=True, help="Token that the server asks for."),
]


def wrong(*problems: str) -> typer.Exit:
    """Says what is wrong with the arguments; raise what it returns."""
    return failed(*problems, status=WRONG_USAGE)


def failed(*problems: str, status: int = 1) -> typer.Exit:
    """Says what went wrong, a line each; raise what it returns."""
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    for problem in problems:
        console.print(f"lrm: {problem}")
    return typer.Exit(status)
