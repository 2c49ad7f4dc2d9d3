"""Thresholds as data."""

from __future__ import annotations

from pathlib import Path

import pytest

from lrm_server.audit.findings import Verdict, measure, worst
from lrm_server.audit.thresholds import ThresholdsError, default_thresholds, read_thresholds
from lrm_server.evaluation.metrics.result import Metric


def overridden(tmp_path: Path, text: str):  # type: ignore[no-untyped-def]
    file = tmp_path / "limits.yaml"
    file.write_text(text)
    return read_thresholds(file)


def test_every_entry_gives_its_reason() -> None:
    shipped = default_thresholds()
    entries = [*shipped.definitions.values(), *shipped.measures.values()]
    assert all(len(entry.reason) > 20 for entry in entries)


def test_a_threshold_to_fail_lies_beyond_that_to_warn() -> None:
    for name, limit in default_thresholds().measures.items():
        if limit.fail is not None and limit.warn is not None:
            beyond = limit.fail > limit.warn if limit.worse == "above" else limit.fail < limit.warn
            assert beyond, name


def test_a_file_overrides_what_it_names(tmp_path: Path) -> None:
    found = overridden(
        tmp_path,
        "definitions: {near_goal: 0.7}\nmeasures: {timing.early: {fail: 0.9, warn: null}}",
    )
    assert found["near_goal"] == 0.7
    assert found.measures["timing.early"].fail == 0.9
    assert found.measures["timing.early"].warn is None
    assert found.measures["timing.early"].reason == (
        default_thresholds().measures["timing.early"].reason
    )
    assert found.measures["timing.lag"] == default_thresholds().measures["timing.lag"]
    assert default_thresholds()["near_goal"] == 0.8


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("measures: {timing.eary: {fail: 0.9}}", "timing.eary is unknown"),
        ("limits: {}", "limits is not a part"),
        ("measures: {timing.early: {fail: high}}", "measures.timing.early.fail"),
        ("measures: {timing.early: {fial: 0.3}}", "measures.timing.early.fial"),
        ("measures: {timing.early: 0.3}", "must be a mapping"),
        ("[1, 2]", "must be a mapping"),
        ("{", "cannot be read as YAML"),
    ],
)
def test_a_file_that_cannot_be_used_says_where(tmp_path: Path, text: str, cause: str) -> None:
    with pytest.raises(ThresholdsError, match=cause):
        overridden(tmp_path, text)


def judged(
    name: str, number: float, low: float | None = None, high: float = 1.0, count: int = 40
) -> Verdict:
    figure = Metric(name, number, low, None if low is None else high, count=count)
    return measure(default_thresholds(), name, "", figure).verdict


def test_figures_are_held_to_their_side() -> None:
    assert judged("timing.early", 0.10) is Verdict.PASS
    assert judged("timing.early", 0.11) is Verdict.WARN
    assert judged("timing.early", 0.26) is Verdict.FAIL
    assert judged("plateau.saturation", 0.9) is Verdict.PASS
    assert judged("plateau.saturation", 0.7) is Verdict.WARN
    assert judged("plateau.saturation", 0.5) is Verdict.FAIL
    assert judged("timing.lag", 0.9) is Verdict.WARN


def test_intervals_are_judged_by_their_end() -> None:
    assert judged("direction.accuracy", 0.8, low=0.71) is Verdict.PASS
    assert judged("direction.accuracy", 0.8, low=0.69) is Verdict.WARN
    assert judged("direction.accuracy", 0.6, low=0.5) is Verdict.FAIL


def test_a_good_figure_with_a_bad_interval_is_too_little_evidence() -> None:
    assert judged("direction.accuracy", 0.9, low=0.4) is Verdict.NOT_COMPUTABLE


def test_few_episodes_decide_where_the_interval_stays_on_one_side_of_the_limit() -> None:
    def verdict(number: float, low: float, high: float, count: int) -> Verdict:
        return judged("false_positives.all", number, low, high, count)

    # None and one of three, all of five, none of twelve: Wilson's intervals.
    assert verdict(0.0, 0.0, 0.56, 3) is Verdict.NOT_COMPUTABLE
    assert verdict(1 / 3, 0.06, 0.79, 3) is Verdict.NOT_COMPUTABLE
    assert verdict(1.0, 0.57, 1.0, 5) is Verdict.FAIL
    assert verdict(0.0, 0.0, 0.24, 12) is Verdict.PASS
    # Many decide by the figure, and pass with a warning at best.
    assert verdict(0.28, 0.16, 0.44, 40) is Verdict.FAIL
    assert verdict(0.10, 0.04, 0.26, 40) is Verdict.WARN


def test_it_is_said_how_many_episodes_it_takes() -> None:
    figure = Metric("x", 0.0, 0.0, 0.32, count=8)
    found = measure(default_thresholds(), "false_positives.all", "", figure)
    assert found.why == (
        "0.00 may be 0.00 to 0.32 over 8 episodes, and the limit is 0.25: "
        "too few to tell, it takes about 14"
    )


def test_the_worst_verdict() -> None:
    assert worst([Verdict.PASS, Verdict.WARN]) is Verdict.WARN
    assert worst([Verdict.FAIL, Verdict.NOT_COMPUTABLE, Verdict.WARN]) is Verdict.FAIL
