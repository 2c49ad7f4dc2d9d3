"""``lrm filter`` with the embedded checkpoint: rollouts of unseen seeds, sorted by their ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import lrm_server.demo
from lrm_server.cli import app
from lrm_server.recordings.data_set import open_data_set
from tests.conftest import LiveServer

ROLLOUTS = Path(lrm_server.demo.__file__).parent / "rollouts"


@pytest.mark.parametrize("wire", ["grpc", "http"])
def test_the_embedded_checkpoint_sorts_successes_from_failures(
    live_server: LiveServer, tmp_path: Path, wire: str
) -> None:
    address = live_server.http if wire == "http" else f"grpc://{live_server.grpc}"
    out = tmp_path / "kept"
    result = CliRunner().invoke(
        app,
        ["filter", str(ROLLOUTS), str(out), "--server", address, "--heads", "completion,progress"],
    )
    assert result.exit_code == 0, result.output
    summary = json.loads((out / "filter.json").read_text())
    assert summary["episodes"] == len(open_data_set(ROLLOUTS))
    assert summary["unjudged"] == 0
    # Two heads that agree: hardly a failure is kept, and most successes are.
    assert summary["precision"] >= 0.8
    assert summary["recall"] >= 0.6
    for kept in open_data_set(out):
        for head in ("completion", "progress"):
            scores = kept.columns[f"score.{head}"]
            assert ((scores[-3:] >= 0) & (scores[-3:] <= 1)).all()
