"""Which answers and which truth a figure is of, on cases worked by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from lrm_server.evaluation.asking import Answer, Question
from lrm_server.evaluation.figures import Bootstrap
from lrm_server.evaluation.judged import EpisodeSet, JudgedModel
from lrm_server.evaluation.references import AtRandom, ByTime, Oracle, judged_by
from lrm_server.evaluation.report.page import render_page
from lrm_server.evaluation.sections import fill, sections
from lrm_server.evaluation.tables import as_data
from tests.evaluation.recorded import HEADS, IDENTITY, ScriptedModel, episode, failure, truthful
from tests.evaluation.test_bad_input import evaluated, figures

TENTHS = np.linspace(0, 1, 11).round(1)


ATTEMPTS = [episode("a", TENTHS), failure("b"), episode("c", TENTHS)]
# The failure's progress is 0, 0.2, 0.4, 0.2, 0.1 and its running sum 0, 1, 2, 1, 0. Of ten pairs
# eight agree, the first and last frames are tied by the sum alone, the second and fourth by both:
# tau_b = 8 / sqrt(8 * 9). Ranks 1.5, 3.5, 5, 3.5, 1.5 on 1, 3.5, 5, 3.5, 2: 9 / sqrt(9 * 9.5).
CEILING = {
    "contrastive.kendall_tau": (1 + 8 / math.sqrt(72) + 1) / 3,
    "contrastive.spearman": (1 + 9 / math.sqrt(85.5) + 1) / 3,
}


def test_a_truthful_model_is_perfect() -> None:
    found = figures(evaluated(ATTEMPTS))
    for key in ("progress.mae", "progress.rmse", "completion.ece", "roboreward.macro"):
        assert found[key].value == pytest.approx(0), key
    for key, most in CEILING.items():
        assert found[key].value == pytest.approx(most), key
    for key in (
        "progress.exact",
        "completion.accuracy",
        "open_loop.roc_auc:completion",
        "open_loop.pairwise:progress",
        "direction.accuracy",
        "direction.monotonicity",
        "robometer.voc_spearman",
        "robometer.auprc",
        "card.auc",
    ):
        assert found[key].value == pytest.approx(1), key


def test_models_side_by_side_have_their_difference_where_both_answered() -> None:
    names = "abcdefgh"
    data = [EpisodeSet("set", [episode(name, TENTHS) for name in names])]

    def off_by(shift: dict[str, float], lost: str = "") -> JudgedModel:
        def says(question: Question) -> Answer:
            if question.episode.id == lost:
                return Answer(error="unavailable: gone")
            truth = question.episode.progress
            assert truth is not None
            return Answer(float(truth[question.current]) + shift[question.episode.id])

        judged = judged_by(ScriptedModel(says), data, ("progress",))
        return replace(judged, identity=IDENTITY, name=lost or "whole")

    hard = {name: at / 8 for at, name in enumerate(names)}
    whole = off_by(hard)
    worse = off_by(
        {name: shift + 0.1 + at / 100 for at, (name, shift) in enumerate(hard.items())}, "h"
    )
    (section,) = [each for each in sections([]) if each.key == "progress"]
    filled = fill(section, [whole, worse, judged_by(AtRandom(), data, HEADS)], Bootstrap(100))
    assert filled.compared == ("h, likelihood, less whole, likelihood",)
    (mae,) = [row for row in filled.rows if row.key == "mae"]
    # Without the last, whose error is known of one alone: the mean of 0.10 to 0.16.
    (metric,) = mae.differences
    assert metric.value == pytest.approx(0.13)
    # What is hard for both cancels: the errors themselves lie 0.75 apart.
    assert metric.low is not None
    assert metric.high is not None
    assert 0.1 < metric.low < 0.13 < metric.high < 0.16
    data_row = next(row for row in as_data(filled)["rows"] if row["key"] == "mae")
    assert data_row["differences"][filled.compared[0]]["value"] == metric.value


def test_a_constant_is_nowhere_better_than_the_oracle() -> None:
    found = evaluated(ATTEMPTS, ScriptedModel(lambda question: Answer(0.5)))
    at = found.tables[0].models.index("oracle")
    for table in found.tables:
        for row in table.rows:
            if not row.metrics:
                continue
            said, most = row.metrics[0].value, row.metrics[at].value
            key = f"{table.section.key}.{row.key}"
            assert most is not None, key
            if key in CEILING:
                assert most == pytest.approx(CEILING[key])
            if said is not None:
                assert said <= most if row.better == "higher" else said >= most, key


def test_the_oracle_says_nothing_without_labels() -> None:
    bare = replace(failure("b"), success=None, done=None, progress=None)
    judged = judged_by(Oracle(), [EpisodeSet("set", [bare])], HEADS)
    assert judged.count() == len(judged.failures()) == 14


def test_what_is_undecided_has_no_direction_however_it_leans() -> None:
    def leans(question: Question) -> Answer:
        if question.previous is None:
            return truthful(question)
        return Answer(0.0, 0.3 * (truthful(question).value or 0.0))

    found = figures(evaluated([episode("a", TENTHS)], ScriptedModel(leans)))
    for key in ("accuracy", "recall", "consecutive"):
        assert found[f"direction.{key}"].value == 0, key


def test_without_probabilities_there_is_no_calibration() -> None:
    def generated(question: Question) -> Answer:
        return Answer(truthful(question).value)

    found = evaluated(ATTEMPTS, ScriptedModel(generated))
    metric = figures(found)["completion.ece"]
    assert (metric.value, metric.why) == (None, "the answers have no probabilities")
    assert figures(found)["completion.accuracy"].value == 1
    assert "the answers have no probabilities" in render_page(found, {})


def test_progress_is_judged_after_the_first_frame_by_its_label() -> None:
    def says(question: Question) -> Answer:
        if question.head == "progress":
            return Answer((1.0, 0.2, 0.5, 0.5, 1.0)[question.current], 0.5, "", {"x": 1.0})
        return truthful(question)

    found = figures(evaluated([episode("a", (0, 0.25, 0.5, 0.75, 1))], ScriptedModel(says)))
    assert found["progress.mae"].value == pytest.approx((0.05 + 0 + 0.25 + 0) / 4)
    assert found["progress.within"].value == pytest.approx(3 / 4)
    assert found["progress.mae_expected"].value == pytest.approx((0.25 + 0 + 0.25 + 0.5) / 4)


def test_direction_is_over_both_orders_of_near_pairs_and_ties_are_wrong() -> None:
    def later(question: Question) -> Answer:
        if question.previous is None:
            return truthful(question)
        return Answer(1.0 if question.current > question.previous else 0.0)

    found = figures(evaluated([episode("a", TENTHS)], ScriptedModel(later)))
    assert found["direction.accuracy"].value == 0.5
    assert found["direction.accuracy"].count == 20
    assert found["direction.consecutive"].value == 1
    assert found["direction.recall"].value == 1


def test_hard_frames_are_those_that_a_detector_of_nearness_gets_wrong() -> None:
    def nearness(question: Question) -> Answer:
        truth = question.episode.progress
        assert truth is not None
        return Answer(float(truth[question.current] >= 0.85))

    near = episode("a", (0, 0.3, 0.9, 0.95, 1.0))
    far = failure("b")
    metric = figures(evaluated([near, far], ScriptedModel(nearness)))["card.auc"]
    # Done: 1 (said 1). Not done: 0.9 and 0.95 (said 1: ties), the failure's end (said 0).
    assert metric.value == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert metric.count == 4


def test_an_episodes_reward_does_not_grow_with_its_length() -> None:
    half = Answer(0.5, 0.5, "", {"x": 1.0})
    model = ScriptedModel(lambda question: half)
    long_failure = episode("b", np.linspace(0, 0.9, 30), kind="slow")
    found = figures(evaluated([episode("a"), long_failure], model))
    assert found["open_loop.roc_auc:progress"].value == 0.5


def test_policies_are_ranked_by_outcome() -> None:
    partly = episode("p", (0.0, 0.3, 0.6, 0.6, 0.6))
    hardly = episode("h", (0.0, 0.1, 0.1, 0.1, 0.1))
    ends = {"a": 0.5, "p": 0.9, "h": 0.1}

    def says(question: Question) -> Answer:
        return Answer(ends[question.episode.id])

    found = figures(evaluated([episode("a"), partly, hardly], ScriptedModel(says)))
    # Of three pairs, success against partly is the wrong way round.
    assert found["robometer.ranking"].value == pytest.approx(1 / 3)


def test_an_unusable_answer_counts_four_and_a_lost_one_nothing() -> None:
    def says(question: Question) -> Answer:
        if question.head == "progress" and question.current == 4:
            errors = {"a": "answer_unparsable: prose", "c": "unavailable: gone"}
            if question.episode.id in errors:
                return Answer(error=errors[question.episode.id])
        return truthful(question)

    episodes = [episode("a"), failure("b"), episode("c")]
    metric = figures(evaluated(episodes, ScriptedModel(says)))["roboreward.macro"]
    assert metric.value == pytest.approx((4 + 0) / 2)
    assert metric.count == 2


def test_voc_runs_to_the_first_success() -> None:
    # Progress is flat after success, which is right and not a lack of order.
    waits = episode("a", (0.0, 0.5, 1.0, 1.0, 1.0, 1.0))
    assert figures(evaluated([waits]))["robometer.voc_spearman"].value == pytest.approx(1)


def test_groups_are_shown_by_themselves_where_there_are_several() -> None:
    other = replace(failure("b"), group="pushing")
    found = figures(evaluated([episode("a"), other]))
    assert found["card.mae:pushing"].count == 4
    assert found["roboreward.subset:lifting"].count == 1
    assert "card.mae:lifting" not in figures(evaluated([episode("a")]))


def test_time_alone_knows_how_long_the_task_takes() -> None:
    # Success at step 40: a failure's step 20 is half way, whatever it shows.
    episodes = [episode("a"), failure("b")]
    judged = judged_by(ByTime(episodes), [EpisodeSet("set", episodes)], HEADS)
    assert [a.value for a in judged.episodes[1].progress.values()] == [0, 0.2, 0.5, 0.8, 1]
    assert judged.episodes[1].contrastive[2, 3].value == 1
    assert [a.value for a in judged.episodes[1].completion.values()] == [0, 0, 0, 0, 1]


def test_time_alone_judges_where_nothing_succeeds() -> None:
    episodes = [failure("b"), replace(failure("d"), success=None, done=None)]
    judged = judged_by(ByTime(episodes), [EpisodeSet("set", episodes)], HEADS)
    assert judged.episodes[1].progress[4].value == 1


def test_answers_at_random_are_the_same_each_time() -> None:
    data = [EpisodeSet("set", [episode("a", TENTHS)])]
    one, other = (judged_by(AtRandom(), data, HEADS) for _ in range(2))
    assert list(one.episodes[0].answers()) == list(other.episodes[0].answers())
    assert len({a.value for a in one.episodes[0].progress.values()}) > 2
