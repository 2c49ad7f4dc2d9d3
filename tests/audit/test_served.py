"""The embedded checkpoint, audited through a real server."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import jsonschema
from typer.testing import CliRunner

from lrm_server.audit.report import schema
from lrm_server.audit.verdict import EXIT_STATUS, Overall
from lrm_server.cli import app
from tests.conftest import LiveServer

DEMO = Path(str(resources.files("lrm_server.demo"))) / "rollouts"


def test_the_embedded_checkpoint_is_audited_end_to_end(
    live_server: LiveServer, tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    budget = ("--episodes", "20", "--frames", "6", "--pairs", "2", "--probes", "3")
    result = CliRunner().invoke(
        app,
        ["audit", str(DEMO), "--server", live_server.grpc, *budget, "--json", str(report)],
    )
    # So few episodes acquit nobody for certain; none of the checks may convict.
    assert result.exit_code in (0, EXIT_STATUS[Overall.NOT_DECIDED]), result.output
    content = json.loads(report.read_text())
    jsonschema.validate(content, schema())
    assert content["model"].startswith("lrm-embedded")
    assert content["asked"]["failed"] == 0
    by_name = {check["check"]: check for check in content["checks"]}
    assert {check["verdict"] for check in by_name.values()} <= {"pass", "warn", "not computable"}
    edits = {row[0]: row[1] for row in by_name["sensitivity"]["details"][0]["rows"]}
    assert len(edits) == 8
    assert all(change > 0 for change in edits.values())
    readouts = [row[0] for row in by_name["readouts"]["details"][0]["rows"]]
    assert "contrastive: likelihood and reason_then_read" in readouts
