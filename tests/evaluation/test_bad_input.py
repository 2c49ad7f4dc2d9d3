"""Data that lacks something: what cannot be computed says why, and the rest is reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from lrm_server.evaluation.asking import UNREADABLE, Answer, Question
from lrm_server.evaluation.figures import Bootstrap
from lrm_server.evaluation.judged import EpisodeSet
from lrm_server.evaluation.metrics.result import Metric
from lrm_server.evaluation.outcome import Evaluation, evaluate
from lrm_server.evaluation.references import judged_by
from lrm_server.evaluation.report.page import render_page
from lrm_server.recordings.episode import RecordedEpisode, RecordingError
from tests.evaluation.recorded import HEADS, IDENTITY, ScriptedModel, episode, failure, truthful

GOOD = [episode("a"), failure("b"), episode("c"), failure("d")]


def evaluated(
    episodes: Sequence[RecordedEpisode],
    model: ScriptedModel | None = None,
    heads: Sequence[str] = HEADS,
) -> Evaluation:
    data = [EpisodeSet("set", list(episodes))]
    judged = replace(judged_by(model or ScriptedModel(), data, heads), identity=IDENTITY)
    return evaluate(data, [judged], heads, Bootstrap(resamples=0))


def figures(evaluation: Evaluation) -> dict[str, Metric]:
    return {
        f"{table.section.key}.{row.key}": row.metrics[0]
        for table in evaluation.tables
        for row in table.rows
        if row.metrics
    }


def reasons(evaluation: Evaluation) -> dict[str, str]:
    return {key: metric.why for key, metric in figures(evaluation).items() if metric.why}


def knowing(question: Question) -> Answer:
    """Answers by the labels of GOOD, whatever labels the episode has lost."""
    truth = next(each for each in GOOD if each.id == question.episode.id)
    return truthful(replace(question, episode=truth))


def without(**labels: None) -> list[RecordedEpisode]:
    return [replace(each, **labels) for each in GOOD]


def test_with_all_labels_nearly_everything_can_be_computed() -> None:
    # The frames of these episodes stand too far apart for near pairs.
    found = evaluated(GOOD)
    assert set(reasons(found)) == {"direction.accuracy", "direction.recall", "card.direction"}


SUCCESS = {
    "open_loop.roc_auc:contrastive",
    "open_loop.roc_auc:progress",
    "open_loop.roc_auc:completion",
    "open_loop.pairwise:contrastive",
    "open_loop.pairwise:progress",
    "open_loop.pairwise:completion",
    "direction.monotonicity",
    "robometer.voc_pearson",
    "robometer.voc_spearman",
    "robometer.ranking",
    "robometer.auprc",
    "card.auc",
}


def test_without_success_labels_what_needs_them_says_so() -> None:
    found = reasons(evaluated(without(success=None, done=None)))
    missing = {key for key, why in found.items() if "a success label" in why}
    assert missing == SUCCESS
    assert "progress.mae" not in found


def test_what_the_last_frame_says_is_the_episodes_success() -> None:
    assert figures(evaluated(without(success=None))) == figures(evaluated(GOOD))


def test_without_progress_labels_what_needs_them_says_so() -> None:
    found = reasons(evaluated(without(progress=None), ScriptedModel(knowing)))
    missing = {key for key, why in found.items() if "progress labels" in why}
    assert {"contrastive.kendall_tau", "progress.mae", "roboreward.macro", "card.auc"} <= missing
    for key in ("completion.accuracy", "robometer.voc_spearman", "robometer.auprc"):
        assert key not in found


def test_the_environments_rewards_stand_in_for_progress_as_the_oracles() -> None:
    rewarded = [replace(e, rewards=e.progress, progress=None) for e in GOOD]

    found = figures(evaluated(rewarded, ScriptedModel(knowing)))
    assert found["open_loop.trajectory:progress"].value == pytest.approx(1)
    assert found["open_loop.global:progress"].value == pytest.approx(1)


def test_with_labels_at_some_episodes_alone_the_others_are_counted() -> None:
    mixed = [GOOD[0], replace(GOOD[2], progress=None), GOOD[1]]

    metric = figures(evaluated(mixed, ScriptedModel(knowing)))["progress.mae"]
    assert metric.count == 8
    assert "1 of 3 episodes lack the labels" in metric.note


@pytest.mark.parametrize(("episodes", "only"), [(GOOD[::2], "successes"), (GOOD[1::2], "failures")])
def test_of_one_class_there_is_no_ranking(episodes: list[RecordedEpisode], only: str) -> None:
    found = evaluated(episodes)
    why = reasons(found)
    assert only in why["open_loop.roc_auc:completion"]
    assert only in why["robometer.auprc"]
    assert "both classes" in why["open_loop.pairwise:progress"]
    assert figures(found)["progress.mae"].value is not None


def test_a_frame_that_is_missing_costs_its_own_questions() -> None:
    broken = [episode("a", missing=[2]), *GOOD[1:]]

    def readable(question: Question) -> Answer:
        try:
            for at in (question.current, question.previous, question.initial):
                assert at is None or question.episode.frames[at]
        except RecordingError as error:
            return Answer(error=f"{UNREADABLE}: {error}")
        return truthful(question)

    found = evaluated(broken, ScriptedModel(readable))
    # Progress and completion of frame 2, and its comparisons with frames 1 and 3.
    assert len(found.failures) == 4
    assert all(failure.unreadable for failure in found.failures)
    assert figures(found)["progress.mae"].count == 15
    assert "1 of 4 episodes lack answers, 1 in all" in figures(found)["progress.mae"].note
    # Its running sum is broken, so it has no order.
    assert figures(found)["contrastive.kendall_tau"].count == 3
    assert "cannot be read" in render_page(found, {})


def test_episodes_that_an_answer_is_missing_from_are_counted() -> None:
    episodes = [episode(name) for name in "abcdefghijkl"]

    def loses_the_last(question: Question) -> Answer:
        last = question.previous is not None and question.current == 4
        lost = last and question.episode.id != "a"
        return Answer(error="unavailable: gone") if lost else truthful(question)

    found = figures(evaluated(episodes, ScriptedModel(loses_the_last)))
    left_out = "11 of 12 episodes left out: an answer is missing"
    for key in ("contrastive.kendall_tau", "contrastive.spearman", "direction.monotonicity"):
        assert found[key].value == pytest.approx(1)
        assert left_out in found[key].note, key
    assert "11 of 12 episodes lack answers, 11 in all" in found["direction.consecutive"].note
    assert "11 of 12 episodes lack answers" in found["open_loop.trajectory:contrastive"].note


def test_episodes_that_are_not_meant_are_not_called_missing() -> None:
    found = figures(evaluated([*GOOD, episode("e", [1.0])]))
    for key in ("direction.monotonicity", "robometer.voc_pearson", "open_loop.roc_auc:progress"):
        assert "answer" not in found[key].note, key


def test_lost_answers_are_counted_in_the_group_that_they_are_of() -> None:
    pushing = [replace(each, group="pushing") for each in GOOD[2:]]

    def loses_one(question: Question) -> Answer:
        lost = question.head == "progress" and question.current == 2 and question.episode.id == "a"
        return Answer(error="unavailable: gone") if lost else truthful(question)

    found = figures(evaluated([*GOOD[:2], *pushing], ScriptedModel(loses_one)))
    assert "1 of 2 episodes lack answers, 1 in all" in found["card.mae:lifting"].note
    assert found["card.mae:pushing"].note == ""


def test_episodes_of_one_frame_have_completion_and_nothing_over_time() -> None:
    found = evaluated([episode("a", [1.0]), episode("b", [0.0])])
    why = reasons(found)
    assert "two frames" in why["contrastive.kendall_tau"]
    assert "answer" in why["progress.mae"]
    assert figures(found)["completion.accuracy"].value == 1
    assert figures(found)["roboreward.macro"].value == 0


def test_heads_that_were_not_asked_are_named() -> None:
    why = reasons(evaluated(GOOD, heads=["completion"]))
    assert why["progress.mae"] == "progress was not asked"
    assert why["contrastive.spearman"] == "contrastive was not asked"


def test_a_head_that_is_not_served_is_named() -> None:
    data = [EpisodeSet("set", GOOD)]
    bare = replace(IDENTITY, heads={"completion": IDENTITY.heads["completion"]})
    judged = replace(judged_by(ScriptedModel(), data, ["completion"]), identity=bare)
    found = evaluate(data, [judged], HEADS, Bootstrap(resamples=0))
    assert reasons(found)["progress.mae"] == "the model serves no progress head"


def test_where_every_question_failed_nothing_is_reported() -> None:
    found = evaluated(GOOD, ScriptedModel(lambda question: Answer(error="internal: down")))
    assert not found.reported
    assert set(reasons(found)) == set(figures(found))


@pytest.mark.parametrize(
    "episodes",
    [
        without(success=None, done=None),
        GOOD[:1],
        [episode("a", [1.0])],
        [replace(episode("a"), success=None, done=None, progress=None)],
    ],
)
def test_a_report_is_made_of_whatever_there_is(episodes: list[RecordedEpisode]) -> None:
    model = ScriptedModel(lambda question: Answer(0.5, 0.5, "x", {"x": 1.0}, 1.0))
    assert "</html>" in render_page(evaluated(episodes, model), {})
