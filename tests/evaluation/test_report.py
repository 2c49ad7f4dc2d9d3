"""The page: complete, self-contained, and safe with words from outside."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console

from lrm_client import Readout
from lrm_server.evaluation.asking import Answer
from lrm_server.evaluation.figures import Bootstrap
from lrm_server.evaluation.judged import EpisodeSet
from lrm_server.evaluation.outcome import Evaluation, evaluate
from lrm_server.evaluation.published import published_figures
from lrm_server.evaluation.references import judged_by
from lrm_server.evaluation.report.page import render_page
from lrm_server.evaluation.report.plots import confusion
from lrm_server.evaluation.sections import sections
from lrm_server.evaluation.tables import as_data, print_tables
from tests.evaluation.recorded import HEADS, IDENTITY, ScriptedModel, episode, failure, truthful

EVIL = "<script>alert('x')</script> & $\\frac{1}{2}$ <img src=http://evil.example/x>"
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """Checks that tags close in order, and collects what matters."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        self._attributes(attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._attributes(attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def _attributes(self, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.links += [given[name] or "" for name in ("href", "src", "xlink:href") if name in given]
        if given.get("id"):
            self.ids.append(given["id"] or "")


def evaluation(
    *episodes, names: tuple[str, ...] = ("first", "second"), answer=truthful, **identity
) -> Evaluation:
    data = [EpisodeSet("held <out>", list(episodes) or [episode("a"), failure("b"), episode("c")])]
    known = replace(IDENTITY, **identity)
    readouts = (None, Readout.GENERATE)
    models = [
        replace(
            judged_by(ScriptedModel(answer), data, HEADS),
            identity=known,
            name=name,
            readout=readout,
        )
        for name, readout in zip(names, readouts, strict=False)
    ]
    return evaluate(data, models, HEADS, Bootstrap(resamples=100))


@pytest.fixture(scope="module")
def evil() -> tuple[str, Page]:
    made = episode("a", task=EVIL, kind=EVIL, group=EVIL)
    found = evaluation(made, failure("b", group="g"), names=(EVIL, "second"), description=EVIL)
    text = render_page(found, {"note": EVIL})
    return text, Page(text)


def test_nothing_outside_is_named(evil: tuple[str, Page]) -> None:
    _, page = evil
    assert {
        link for link in page.links if not link.startswith(("#", "data:image/jpeg;base64,"))
    } == set()
    assert not {"script", "link", "iframe", "object", "embed"} & set(page.tags)
    plain = render_page(evaluation(), {})
    assert "://" not in plain
    assert "@import" not in plain
    assert re.findall(r"url\((?!#)", plain) == []


def test_words_from_outside_are_text(evil: tuple[str, Page]) -> None:
    text, page = evil
    assert "<script" not in text
    assert "<img src=http" not in text
    # The task of a trace, the names of the model and of the data set.
    assert EVIL in page.words
    assert any(EVIL in words for words in page.words if "default" in words or "likelihood" in words)
    assert any("held <out>" in words for words in page.words)


def test_every_reference_within_the_page_has_its_target(evil: tuple[str, Page]) -> None:
    text, page = evil
    assert len(page.ids) == len(set(page.ids)), "plots share names"
    wanted = {link[1:] for link in page.links if link.startswith("#")}
    wanted |= set(re.findall(r"url\(#([^)]+)\)", text))
    assert wanted <= set(page.ids)


def test_the_page_has_every_part() -> None:
    text = render_page(evaluation(), {"frames": "all of them"})
    words = " ".join(Page(text).words)
    for section in sections([]):
        assert section.title in words
    for part in (
        "Cumulative accuracy",
        "Confusion of progress",
        "Calibration of completion",
        "Label mass",
        "best: progress MAE",
        "worst: progress MAE",
        "fingerprint",
        "all of them",
        "100 resamples of episodes",
        "scikit-learn",
        "every question was answered",
        published_figures().notice,
    ):
        assert part in words, part
    assert text.count("<svg") == 4 + 3
    assert text.count("data:image/jpeg") == 3 * 5


def test_plots_are_in_the_pages_colour_of_text() -> None:
    text = render_page(evaluation(), {})
    assert "currentColor" in text
    assert "#010203" not in text
    assert "prefers-color-scheme: dark" in text


def test_failures_are_listed_with_their_causes() -> None:
    data = [EpisodeSet("set", [episode("a"), failure("b")])]

    def says(question) -> Answer:
        lost = question.head == "completion" and question.current == 3
        return Answer(error="label_mass_low: <0.01>") if lost else truthful(question)

    judged = replace(judged_by(ScriptedModel(says), data, HEADS), identity=IDENTITY)
    found = evaluate(data, [judged], HEADS, Bootstrap(resamples=0))
    words = Page(render_page(found, {})).words
    assert "label_mass_low: 2" in words
    assert words.count("label_mass_low: <0.01>") == 2
    assert any("2 of 28 questions have no answer" in " ".join(w.split()) for w in words)


def test_tables_have_models_then_references_then_published_figures() -> None:
    tables = {table.section.key: table for table in evaluation().tables}
    progress = tables["progress"]
    assert progress.models == (
        "first, likelihood",
        "second, generate",
        "time alone",
        "at random",
        "oracle",
    )
    assert [column.title for column in progress.published] == ["LRM after RL, 8B"]
    rows = {row.key: row for row in progress.rows}
    assert rows["mae"].published == ("0.302",)
    assert rows["within"].published == ("0.506",)
    assert rows["exact"].published == ("",)
    headings = [row for row in tables["open_loop"].rows if not row.metrics]
    assert [row.label for row in headings] == [
        "ROC-AUC",
        "pairwise accuracy",
        "global Pearson",
        "per-trajectory Pearson",
    ]
    assert headings[0].published == ("0.795 / 0.950",)
    (macro, *_) = tables["roboreward"].rows
    assert macro.published == ("0.665", "0.845", "0.691", "0.906")
    (accuracy, *_) = tables["direction"].rows
    assert accuracy.published == ("0.855",)


def test_printed_differences_stand_beneath_the_figures() -> None:
    console = Console(width=130, record=True, file=io.StringIO())
    print_tables(evaluation().tables, console)
    (progress,) = [
        part for part in console.export_text().split("LRM: ") if part.startswith("progress")
    ]
    assert re.search(r"MAE ↓ +│ +0\.\d{3}.*│ +0\.302 │", progress)
    beneath = progress.split("less first")[1]
    assert re.search(r"MAE ↓ +│ +0\.000", beneath)


def test_the_page_has_the_differences() -> None:
    words = " ".join(Page(render_page(evaluation(), {})).words)
    assert "second, generate, less first, likelihood" in words
    assert "Differences from first, likelihood" in words
    alone = " ".join(Page(render_page(evaluation(names=("first",)), {})).words)
    assert "less first" not in alone
    assert "Differences" not in alone


def test_only_models_that_look_have_intervals() -> None:
    progress = next(t for t in evaluation().tables if t.section.key == "progress")
    model, _, by_time, *_ = next(row.metrics for row in progress.rows if row.key == "mae")
    assert model.low is not None
    assert by_time.value is not None
    assert by_time.low is None


def test_printed_tables_have_dashes_reasons_and_the_names_as_they_are() -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    found = evaluation(episode("a"), names=("[red]model",), answer=lambda _: Answer(error="down"))
    print_tables(found.tables, console)
    text = console.export_text()
    assert "[red]model" in text
    assert re.search(r"MAE ↓ +│ +– 1\)", text)  # noqa: RUF001
    assert "1) no episode has an answer that this needs" in text
    assert "0.302" in text


def test_figures_as_data_have_every_metric_and_reason() -> None:
    (table,) = [t for t in evaluation(failure("b")).tables if t.section.key == "robometer"]
    rows = {row["key"]: row for row in as_data(table)["rows"]}
    metric = rows["voc_pearson"]["models"]["first, likelihood"]
    assert metric["value"] is None
    assert metric["why"]


def test_the_confusion_counts_stages() -> None:
    counts = confusion(np.array([0.0, 0.3, 1.0]), np.array([0.04, 0.25, 0.96]))
    assert counts.sum() == 3
    assert counts[0, 0] == counts[3, 3] == counts[10, 10] == 1
