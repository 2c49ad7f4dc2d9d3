"""Readouts beside each other: constructed answers with known figures."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lrm_client import HeadInfo, Readout, Reply, Use
from lrm_client.types import Tokens, WindowInfo
from lrm_server.evaluation.agreement import Comparison, HeadAgreement, agreement
from lrm_server.evaluation.asking import Answer, Question
from lrm_server.evaluation.figures import Bootstrap
from lrm_server.evaluation.readouts import (
    Asked,
    TokenMeter,
    ask_in_every_way,
    sample_questions,
    warm_up,
    why_not_asked,
)
from lrm_server.recordings.episode import RecordedEpisode
from tests.evaluation.recorded import ScriptedModel, episode

READ, REASONED, WRITTEN = Readout.LIKELIHOOD, Readout.REASON_THEN_READ, Readout.GENERATE
PLAIN = Bootstrap(0)


def head(name: str = "progress", **changes: object) -> HeadInfo:
    info = HeadInfo(
        name=name,
        profile=name,
        profile_digest="d",
        default_readout=READ,
        labels={"0.0": 0.0, "1.0": 1.0},
        required_frames=("current",),
        optional_frames=("initial",),
        neutral=0.0,
        adapter="",
    )
    return replace(info, **changes)


COMPARING = head("contrastive", required_frames=("previous", "current"), optional_frames=())


def read(label: str, value: float, expected: float) -> Answer:
    return Answer(value, expected, label, {label: 1.0}, 1.0)


def written(label: str, value: float) -> Answer:
    return Answer(value, label=label)


FAILED = Answer(error="answer_not_reached: the model did not come to its answer")


def asked(*rows: tuple[RecordedEpisode, Answer, Answer], name: str = "progress") -> Asked:
    return Asked(
        name,
        tuple(Question(name, of, at) for at, (of, _, _) in enumerate(rows)),
        {READ: tuple(one for _, one, _ in rows), WRITTEN: tuple(other for *_, other in rows)},
        {},
    )


def comparison(found: HeadAgreement, use: Use) -> Comparison:
    (one,) = [each for each in found.comparisons if each.use is use]
    return one


A, B = episode("a"), episode("b")
KNOWN = asked(
    (A, read("0.2", 0.2, 0.25), written("0.2", 0.2)),
    (A, read("0.4", 0.4, 0.45), written("0.5", 0.5)),
    (B, read("0.6", 0.6, 0.55), written("0.6", 0.6)),
    (B, read("0.8", 0.8, 0.75), FAILED),
    (B, read("0.9", 0.9, 0.85), written("0.4", 0.4)),
)


def test_labels_values_and_ranks_are_compared_where_both_answered() -> None:
    by_label = comparison(agreement(KNOWN, PLAIN), Use.LABEL)
    assert (by_label.first, by_label.second, by_label.both) == (READ, WRITTEN, 4)
    assert by_label.equal.value == pytest.approx(2 / 4)
    assert by_label.mean_difference.value == pytest.approx((0.0 + 0.1 + 0.0 + 0.5) / 4)
    assert by_label.largest_difference == pytest.approx(0.5)
    assert by_label.largest_at == "b 4"
    # Ranks 1 2 3 4 beside 1 3 4 2.
    assert by_label.rank_correlation.value == pytest.approx(1 - 6 * (0 + 1 + 1 + 4) / (4 * 15))


def test_a_readout_without_probabilities_is_compared_by_its_value_with_expectations() -> None:
    by_expectation = comparison(agreement(KNOWN, PLAIN), Use.EXPECTED)
    differences = [0.05, 0.05, 0.05, 0.45]
    assert by_expectation.mean_difference.value == pytest.approx(sum(differences) / 4)
    assert by_expectation.largest_difference == pytest.approx(0.45)


def test_failures_are_counted_by_their_reason_and_one_is_told() -> None:
    by_readout = {each.readout: each for each in agreement(KNOWN, PLAIN).readings}
    assert (by_readout[READ].asked, by_readout[READ].answered) == (5, 5)
    assert by_readout[READ].failures == {}
    assert (by_readout[WRITTEN].asked, by_readout[WRITTEN].answered) == (5, 4)
    assert by_readout[WRITTEN].failures == {"answer_not_reached": 1}
    assert "did not come to its answer" in by_readout[WRITTEN].said


def test_readouts_that_never_both_answered_have_no_figures_and_say_why() -> None:
    found = agreement(asked((A, read("0.2", 0.2, 0.2), FAILED)), PLAIN)
    for each in found.comparisons:
        assert each.both == 0
        assert each.largest_difference is None
        for metric in (each.equal, each.mean_difference, each.rank_correlation):
            assert metric.value is None
            assert metric.why


def test_a_composite_head_has_values_to_compare_and_no_labels() -> None:
    found = agreement(asked((A, Answer(0.5, 0.4), Answer(0.25)), name="tri"), PLAIN)
    by_label = comparison(found, Use.LABEL)
    assert (by_label.equal.value, by_label.equal.why) == (None, "the head has no labels")
    assert by_label.mean_difference.value == pytest.approx(0.25)


def test_intervals_are_drawn_over_episodes() -> None:
    # Within an episode all agree or none does: frames add nothing to what is known.
    rows = [
        (each, read("0.2", 0.2, 0.2), written("0.2" if at % 2 else "0.4", 0.2 + 0.2 * (at % 2)))
        for at, each in enumerate([episode(f"e{n}") for n in range(12)])
        for _ in range(50)
    ]
    equal = comparison(agreement(asked(*rows), Bootstrap(200)), Use.LABEL).equal
    assert equal.value == pytest.approx(0.5)
    assert equal.low is not None
    assert equal.high is not None
    # Twelve coins, not six hundred: 1.96 x sqrt(0.25 / 600) would be 0.04.
    assert equal.high - equal.low > 0.3


def test_equal_seeds_draw_equal_questions_and_others_do_not() -> None:
    episodes = [episode("a", [at / 40 for at in range(41)])]

    def drawn(seed: int, name: str = "progress") -> list[int]:
        return [each.current for each in sample_questions(head(name), episodes, 8, seed)]

    assert drawn(1) == drawn(1)
    assert len(set(drawn(1))) == 8
    assert drawn(1) != drawn(2)
    assert drawn(1) != drawn(1, "completion")


def test_a_head_gets_the_initial_frame_if_it_looks_at_it() -> None:
    assert {each.initial for each in sample_questions(head(), [A, B], 3, 0)} == {0}
    blind = head(optional_frames=())
    assert {each.initial for each in sample_questions(blind, [A, B], 3, 0)} == {None}


def test_pairs_are_asked_in_both_orders() -> None:
    drawn = sample_questions(COMPARING, [A, B], 3, 0)
    pairs = {(each.episode.id, each.previous, each.current) for each in drawn}
    assert len(pairs) == len(drawn) == 2 * 2 * 3
    assert pairs == {(name, current, previous) for name, previous, current in pairs}
    assert all(each.previous != each.current for each in drawn)


def test_a_composite_head_that_compares_sees_time_go_forward() -> None:
    tri = head("tri", required_frames=("previous", "current"), labels={})
    drawn = sample_questions(tri, [A], 4, 0)
    assert len(drawn) == 4
    assert all(each.previous < each.current for each in drawn if each.previous is not None)


def test_short_episodes_give_what_they_have() -> None:
    single = episode("single", (0.5,))
    assert len(sample_questions(head(), [single], 8, 0)) == 1
    assert sample_questions(COMPARING, [single], 8, 0) == []


def test_heads_of_windows_and_of_goals_are_not_asked() -> None:
    assert why_not_asked(head()) == ""
    assert why_not_asked(COMPARING) == ""
    assert "window" in why_not_asked(head(window=WindowInfo("video", 2, 16, 1)))
    assert "goal" in why_not_asked(head(required_frames=("goal", "current")))


def about(question: Question) -> tuple[str, str, int | None, int, int | None]:
    shown = question.previous, question.current, question.initial
    return (question.head, question.episode.id, *shown)


def test_every_readout_is_asked_every_question_and_each_is_first_in_turn() -> None:
    questions = sample_questions(COMPARING, [A, B], 4, 0)
    model = ScriptedModel()
    done: list[int] = []
    found = ask_in_every_way(
        model, questions, [READ, REASONED, WRITTEN], batch=4, meter=TokenMeter(),
        advanced=done.append,
    )  # fmt: skip
    assert list(found.answers) == [READ, REASONED, WRITTEN]
    for readout in found.answers:
        mine = [each for each in model.asked if each.readout is readout]
        assert [about(each) for each in mine] == [about(each) for each in questions]
    batches = [batch[0].readout for batch in model.batches]
    assert batches[::3] == [READ, REASONED, WRITTEN, READ]
    assert sum(done) == 3 * len(questions)
    assert [found.costs[each].questions for each in found.costs] == [8, 4, 4]


def test_there_are_batches_enough_for_each_readout_to_be_first() -> None:
    questions = sample_questions(head(), [A], 3, 0)
    found = ask_in_every_way(
        ScriptedModel(), questions, [READ, REASONED, WRITTEN], batch=100, meter=TokenMeter()
    )
    assert {each.questions for each in found.costs.values()} == {1}
    assert len(found.costs) == 3


def test_costs_are_of_the_batches_that_were_asked_first() -> None:
    meter = TokenMeter()

    def answer(question: Question) -> Answer:
        seen = question.current in known
        known.add(question.current)
        wrote = 0 if question.readout is READ else 40
        meter(Reply("progress", 0.5, tokens=Tokens(100, 90 if seen else 20, wrote)))
        return read("0.5", 0.5, 0.5)

    known: set[int] = set()
    questions = sample_questions(head(), [A], 4, 0)
    model = ScriptedModel(answer)
    found = ask_in_every_way(model, questions, [READ, WRITTEN], batch=2, meter=meter)
    for readout, wrote in ((READ, 0), (WRITTEN, 40)):
        cost = found.costs[readout]
        assert (cost.prompt, cost.computed, cost.written) == (100, 80, wrote)
        assert cost.seconds > 0


def test_a_warm_up_shows_the_initial_frames_in_every_way() -> None:
    model = ScriptedModel()
    warm_up(model, sample_questions(COMPARING, [A, B], 3, 0), [READ, WRITTEN], batch=3)
    assert [len(batch) for batch in model.batches] == [3, 1]
    shown = {(q.episode.id, q.previous, q.current, q.readout) for q in model.asked}
    assert shown == {(name, 0, 0, how) for name in "ab" for how in (READ, WRITTEN)}


def test_tokens_that_nobody_counts_are_no_numbers() -> None:
    questions = sample_questions(head(), [A], 2, 0)
    found = ask_in_every_way(ScriptedModel(), questions, [READ], batch=9, meter=TokenMeter())
    cost = found.costs[READ]
    assert (cost.prompt, cost.computed, cost.written) == (None, None, None)
