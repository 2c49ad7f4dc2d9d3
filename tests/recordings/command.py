"""``lrm record`` as it is called."""

from __future__ import annotations

from click.testing import Result
from typer.testing import CliRunner

from lrm_server.cli import app

POLICIES = "tests.recordings.corridor"
TASK = ("--task", "Walk to the end.")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["record", *map(str, arguments)])
