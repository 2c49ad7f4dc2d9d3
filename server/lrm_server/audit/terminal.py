"""An audit on the terminal."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lrm_server.audit.audit import Audit
from lrm_server.audit.findings import Verdict
from lrm_server.audit.texts import figure_text, notes, scope_text, threshold_text
from lrm_server.audit.verdict import Overall

STYLE: Final = {
    Verdict.PASS: "green",
    Verdict.WARN: "yellow",
    Verdict.FAIL: "bold red",
    Verdict.NOT_COMPUTABLE: "magenta",
}
OVERALL_STYLE: Final = {
    Overall.TRAIN: "bold green",
    Overall.WITH_CARE: "bold yellow",
    Overall.DO_NOT_TRAIN: "bold red",
    Overall.NOT_DECIDED: "bold magenta",
}


def show_audit(audit: Audit, console: Console) -> None:
    """Prints a row for each measure, what each check says in words, and the verdict."""
    console.print(f"{escape(audit.model)} on {escape(audit.data_set)}: {scope_text(audit)}\n")
    console.print(_table(audit))
    for finding in audit.findings:
        # The verdict's paragraph says the rest.
        said = finding.sentence in audit.decision.paragraph
        if finding.verdict is not Verdict.PASS and not said:
            title = f"[{STYLE[finding.verdict]}]{finding.check}[/]"
            console.print(f"{title}: {escape(f'{finding.sentence} {finding.advice}'.strip())}")
    for note in notes(audit):
        console.print(escape(note))
    style = OVERALL_STYLE[audit.decision.overall]
    console.print(f"\n[{style}]{audit.decision.overall.value.upper()}[/]")
    console.print(escape(audit.decision.paragraph))


def _table(audit: Audit) -> Table:
    table = Table("check", "measure", "figure [95 %]", "held to", "verdict")
    for finding in audit.findings:
        style = STYLE[finding.verdict]
        if not finding.measures:
            table.add_row(finding.check, "", "-", "", f"[{style}]{finding.verdict.value}[/]")
        for place, measure in enumerate(finding.measures):
            unit = f" {measure.unit}" if measure.unit else ""
            table.add_row(
                finding.check if place == 0 else "",
                escape(measure.meaning),
                escape(figure_text(measure) + unit),
                threshold_text(measure),
                f"[{STYLE[measure.verdict]}]{measure.verdict.value}[/]",
            )
        table.add_section()
    return table
