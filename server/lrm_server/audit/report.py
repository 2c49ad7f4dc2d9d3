"""An audit as JSON, in the layout of ``report.schema.json``."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any, Final

from lrm_client import __version__
from lrm_server.audit.audit import Audit
from lrm_server.audit.evidence import Trace
from lrm_server.audit.findings import Details, Finding, Measure
from lrm_server.audit.verdict import EXIT_STATUS

FORMAT: Final = 1
SCHEMA_FILE: Final = "report.schema.json"


def as_json(audit: Audit) -> dict[str, Any]:
    """The whole audit; numbers that are undefined are null, never NaN."""
    evidence = audit.evidence
    return {
        "format": FORMAT,
        "lrm": __version__,
        "model": audit.model,
        "data_set": audit.data_set,
        "heads": list(evidence.heads),
        "verdict": audit.decision.overall.value,
        "exit_status": EXIT_STATUS[audit.decision.overall],
        "reasons": list(audit.decision.reasons),
        "paragraph": audit.decision.paragraph,
        "checks": [_finding(finding) for finding in audit.findings],
        "asked": {
            **asdict(audit.budget),
            "available": audit.available,
            "audited": len(evidence.traces) + evidence.too_short,
            "too_short": evidence.too_short,
            "questions": evidence.failures.asked,
            "failed": evidence.failures.failed,
            "failures": [
                {"code": code, "count": count, "example": evidence.failures.examples.get(code, "")}
                for code, count in evidence.failures.reasons.items()
            ],
        },
        "assumed": dict(evidence.assumed),
        "unreadable": [{"episode": name, "cause": cause} for name, cause in audit.unreadable],
        "definitions": {
            name: each.model_dump() for name, each in audit.thresholds.definitions.items()
        },
        "episodes": [_trace(trace) for trace in evidence.traces],
    }


def write_json(audit: Audit, path: Path) -> None:
    """Writes the report.

    Raises:
        OSError: the file cannot be written.
    """
    text = json.dumps(as_json(audit), indent=1, ensure_ascii=False, allow_nan=False)
    path.write_text(f"{text}\n", "utf-8")


def schema() -> dict[str, Any]:
    """The JSON Schema of the report."""
    text = resources.files("lrm_server.audit").joinpath(SCHEMA_FILE).read_text("utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "check": finding.check,
        "question": finding.question,
        "verdict": finding.verdict.value,
        "sentence": finding.sentence,
        "advice": finding.advice,
        "measures": [_measure(measure) for measure in finding.measures],
        "details": [_details(details) for details in finding.details],
    }


def _measure(measure: Measure) -> dict[str, Any]:
    figure = measure.figure
    return {
        "name": measure.name,
        "meaning": measure.meaning,
        "unit": measure.unit,
        "value": figure.value,
        "low": figure.low,
        "high": figure.high,
        "count": figure.count,
        "over": figure.over,
        "verdict": measure.verdict.value,
        "threshold": measure.limit.model_dump(),
    }


def _details(details: Details) -> dict[str, Any]:
    rows = [[_number(cell) for cell in row] for row in details.rows]
    return {"title": details.title, "columns": list(details.columns), "rows": rows}


def _trace(trace: Trace) -> dict[str, Any]:
    def column(values: Iterable[float] | None) -> list[float | None] | None:
        return None if values is None else [_number(float(value)) for value in values]

    return {
        "episode": trace.episode,
        "task": trace.task,
        "length": trace.length,
        "success": trace.success,
        "done_step": trace.done_step,
        "steps": trace.steps.tolist(),
        "truth": column(trace.truth),
        "done": None if trace.done is None else trace.done.tolist(),
        "progress": column(trace.progress),
        "completion": column(trace.completion),
    }


def _number(cell: Any) -> Any:
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell
