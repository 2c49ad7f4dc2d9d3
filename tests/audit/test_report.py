"""The report as JSON and as a page."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import pytest

from lrm_server.audit.audit import Audit, plan_audit, run_audit
from lrm_server.audit.constructed import ConstructedModel
from lrm_server.audit.page import render_page
from lrm_server.audit.report import as_json, schema, write_json
from tests.audit.builders import episode

NASTY = '<script>alert("x")</script> & co'


def made(name: str = "all_yes", task: str = "lift the cube", model: str = "") -> Audit:
    episodes = [
        *(episode(f"good{n}", task=task) for n in range(4)),
        *(episode(f"bad{n}", [0.0, 0.3, 0.6, 0.9], success=False, task=task) for n in range(4)),
    ]
    audit = run_audit(
        ConstructedModel(name),
        plan_audit(episodes),
        data_set="some",
        available=8,
        unreadable=[("torn", "its file ends too soon")],
    )
    return replace(audit, model=model) if model else audit


@pytest.fixture(scope="module")
def audit() -> Audit:
    return made()


def test_the_report_keeps_to_its_schema(audit: Audit, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    write_json(audit, file)
    report = json.loads(file.read_text())
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(report, schema(), jsonschema.Draft202012Validator)
    assert report["verdict"] == "do not train"
    assert report["exit_status"] == 3
    assert [check["check"] for check in report["checks"]] == [f.check for f in audit.findings]
    assert report["unreadable"] == [{"episode": "torn", "cause": "its file ends too soon"}]


def test_every_check_is_reported_in_order(audit: Audit) -> None:
    assert [finding.check for finding in audit.findings] == [
        "timing",
        "false positives",
        "plateaus",
        "correlation",
        "direction",
        "calibration",
        "swap",
        "sensitivity",
        "paraphrases",
        "wrong task",
        "label mass",
        "readouts",
    ]


def test_the_schema_refuses_what_is_no_report(audit: Audit) -> None:
    report = as_json(audit)
    report["checks"][0]["verdict"] = "maybe"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(report, schema(), jsonschema.Draft202012Validator)


def test_a_report_of_next_to_nothing_keeps_to_the_schema() -> None:
    plan = plan_audit([episode(progress=[1.0])])
    nothing = run_audit(ConstructedModel("oracle"), plan, data_set="some", available=1)
    report = json.loads(json.dumps(as_json(nothing), allow_nan=False))
    jsonschema.validate(report, schema(), jsonschema.Draft202012Validator)
    assert report["exit_status"] == 4
    assert {check["verdict"] for check in report["checks"]} == {"not computable"}


def test_every_measure_comes_with_its_threshold_and_reason(audit: Audit) -> None:
    measures = [measure for check in as_json(audit)["checks"] for measure in check["measures"]]
    assert len(measures) > 12
    for measure in measures:
        assert measure["threshold"]["reason"]
        assert measure["meaning"]
        assert measure["value"] is not None


class Addresses(HTMLParser):
    """What a page would load, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.found += [text or "" for name, text in attrs if name in ("src", "href", "srcset")]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parsed(page: str) -> Addresses:
    parser = Addresses()
    parser.feed(page)
    return parser


def test_the_page_needs_nothing_beside_itself(audit: Audit) -> None:
    page = render_page(audit)
    found = parsed(page)
    assert len(found.found) == 3
    assert all(address.startswith("data:image/png;base64,") for address in found.found)
    assert {"script", "link", "iframe"}.isdisjoint(found.tags)
    assert "url(" not in page
    assert "@import" not in page


def test_the_page_says_what_the_audit_found(audit: Audit) -> None:
    text = " ".join(parsed(render_page(audit)).text)
    assert audit.decision.paragraph in text
    for finding in audit.findings:
        assert finding.sentence in text
        assert finding.question in text
    assert "Episode torn cannot be read: its file ends too soon" in text


def test_what_comes_from_outside_is_escaped() -> None:
    page = render_page(made(task=NASTY, model=NASTY))
    assert "<script" not in page
    assert NASTY in " ".join(parsed(page).text)


def test_a_page_of_next_to_nothing() -> None:
    plan = plan_audit([episode(progress=[1.0])])
    nothing = run_audit(ConstructedModel("oracle"), plan, data_set="some", available=1)
    found = parsed(render_page(nothing))
    assert found.found == []
    assert "not decided" in " ".join(found.text)
