"""``lrm eval`` on recorded episodes through the real server."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from lrm_server.cli import app
from tests.conftest import LiveServer
from tests.project.layers import ROOT

HELD_OUT = ROOT / "training" / "heldout"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A success and a failure of each of three tasks."""
    root = tmp_path_factory.mktemp("data") / "few"
    root.mkdir()
    wanted = {(env, success) for env in ("PickCube", "PushCube", "StackCube") for success in (0, 1)}
    for folder in sorted(HELD_OUT.iterdir()):
        label = json.loads((folder / "episode.json").read_text())
        kind = (label["env_id"].partition("-")[0], int(label["success"]))
        if kind in wanted:
            wanted.remove(kind)
            shutil.copytree(folder, root / folder.name)
    assert not wanted
    return root


def test_the_embedded_checkpoint_is_judged_and_a_second_run_asks_nothing(
    live_server: LiveServer, data: Path
) -> None:
    out = data.parent / "out"
    arguments = ["eval", str(data), "--server", f"grpc://{live_server.grpc}", "--out", str(out)]
    arguments += ["--readouts", "likelihood,generate", "--resamples", "100"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    found = json.loads((out / "figures.json").read_text())
    tables = {table["section"]: table for table in found["tables"]}
    columns = [model["name"] for model in found["models"]]
    assert [name.rpartition(", ")[2] for name in columns] == ["likelihood", "generate"]
    for section, key, better in (
        ("progress", "mae", lambda value: value < 0.2),
        ("direction", "accuracy", lambda value: value > 0.7),
        ("card", "auc", lambda value: value > 0.7),
        ("robometer", "voc_spearman", lambda value: value > 0.8),
    ):
        models = next(r for r in tables[section]["rows"] if r["key"] == key)["models"]
        for name in columns:
            assert better(models[name]["value"]), (section, key, name)
    rows = read_rows(out)
    row = next(row for row in rows if (row["head"], row["readout"]) == ("progress", "likelihood"))
    assert sum(dict(row["probabilities"]).values()) == pytest.approx(1, abs=1e-3)
    assert row["profile"]
    assert len({row["fingerprint"] for row in rows}) == 1
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 0
    # A question that was asked again would be a second row.
    assert sorted(row["key"] for row in read_rows(out)) == sorted(row["key"] for row in rows)


def read_rows(out: Path) -> list[dict[str, Any]]:
    return [row for part in out.rglob("part-*.parquet") for row in pq.read_table(part).to_pylist()]
