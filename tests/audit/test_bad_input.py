"""Data sets that lack something: what cannot be computed says why, and nobody is acquitted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from lrm_client import DeadlineExceeded, Unavailable
from lrm_server.audit.audit import Audit, plan_audit, run_audit
from lrm_server.audit.constructed import ConstructedModel
from lrm_server.audit.findings import Verdict
from lrm_server.audit.verdict import Overall
from lrm_server.evaluation.asking import UNREADABLE, Answer, Question
from lrm_server.recordings.episode import RecordedEpisode, RecordingError
from tests.audit.builders import episode

FAILURE = [0.0, 0.2, 0.4, 0.6, 0.5, 0.3, 0.1]
NEAR = [0.0, 0.2, 0.5, 0.8, 0.9, 0.9, 0.85]


def audit(
    episodes: Sequence[RecordedEpisode], heads: Sequence[str] = ("progress", "completion")
) -> Audit:
    return run_audit(
        ConstructedModel("oracle"), plan_audit(episodes, heads), data_set="some", available=1
    )


def verdict(found: Audit, check: str) -> Verdict:
    return next(each.verdict for each in found.findings if each.check == check)


def sentence(found: Audit, check: str) -> str:
    return next(each.sentence for each in found.findings if each.check == check)


def good(count: int = 16) -> list[RecordedEpisode]:
    return [episode(f"good{n}", task=f"task {n % 2}") for n in range(count)]


def bad(count: int = 16) -> list[RecordedEpisode]:
    """Every other one lost what it had, the others end near the goal."""
    return [
        episode(f"bad{n}", (FAILURE, NEAR)[n // 2 % 2], success=False, task=f"task {n % 2}")
        for n in range(count)
    ]


def test_successes_and_failures_are_enough() -> None:
    assert audit([*good(), *bad()]).decision.overall is Overall.TRAIN


def test_few_episodes_neither_acquit_nor_convict_and_it_is_said_how_many_it_takes() -> None:
    few = audit([*good(8), *bad(8)])
    assert few.decision.overall is Overall.NOT_DECIDED
    assert few.decision.reasons == ("timing", "false positives")
    assert "over 8 episodes, and the limit is 0.25: too few to tell" in few.decision.paragraph
    assert "it takes about 14" in few.decision.paragraph
    assert audit([*good(14), *bad(14)]).decision.overall is Overall.TRAIN


def test_without_progress_labels_a_clock_is_not_acquitted() -> None:
    bare = [replace(each, progress=None) for each in (*good(), *bad())]
    clock = ConstructedModel("by_time")
    for heads, check in ((["progress"], "correlation"), (["contrastive"], "direction")):
        found = run_audit(clock, plan_audit(bare, heads), data_set="some", available=1)
        assert found.decision.overall in (Overall.NOT_DECIDED, Overall.DO_NOT_TRAIN)
        assert verdict(found, check) is Verdict.NOT_COMPUTABLE
        assert "a clock follows too" in sentence(found, check)


def test_without_success_labels() -> None:
    unlabelled = [replace(each, success=None) for each in (*good(), *bad())]
    found = audit(unlabelled)
    assert found.decision.overall is Overall.NOT_DECIDED
    assert found.decision.reasons == ("timing", "false positives")
    assert "no episode says whether it succeeded" in sentence(found, "timing")
    assert "label them with success" in found.decision.paragraph
    # What needs no success is still reported; failures are not known to be any.
    assert verdict(found, "plateaus") is Verdict.PASS


@pytest.mark.parametrize(
    ("episodes", "missing", "cause"),
    [
        (good(), "false positives", "0 labelled failures with answers, and it takes 5"),
        (bad(), "timing", "0 labelled successes with answers, and it takes 5"),
        ([*good(), *bad(2)], "false positives", "2 labelled failures"),
    ],
    ids=["successes only", "failures only", "too few failures"],
)
def test_one_class_only(episodes: list[RecordedEpisode], missing: str, cause: str) -> None:
    found = audit(episodes)
    assert found.decision.overall is Overall.NOT_DECIDED
    assert found.decision.reasons == (missing,)
    assert cause in found.decision.paragraph
    assert verdict(found, "plateaus") is Verdict.PASS


def test_a_bad_model_is_convicted_on_one_class_too() -> None:
    found = run_audit(ConstructedModel("all_yes"), plan_audit(good()), data_set="some", available=1)
    assert found.decision.overall is Overall.DO_NOT_TRAIN


def test_episodes_of_one_frame_are_counted_and_left_out() -> None:
    single = [episode(f"single{n}", [1.0]) for n in range(4)]
    found = audit([*good(), *bad(), *single])
    assert found.evidence.too_short == 4
    assert found.decision.overall is Overall.TRAIN
    alone = audit(single)
    assert alone.decision.overall is Overall.NOT_DECIDED
    assert "no episode has two frames" in alone.decision.paragraph


def test_a_single_task_has_no_wrong_one() -> None:
    one = [replace(each, task="lift the cube") for each in (*good(), *bad())]
    found = audit(one)
    assert verdict(found, "wrong task") is Verdict.NOT_COMPUTABLE
    assert "--wrong-task" in sentence(found, "wrong task")
    assert found.decision.overall is Overall.TRAIN


def test_bare_successes_and_failures_are_audited_with_what_was_assumed() -> None:
    bare = [replace(each, progress=None) for each in (*good(), *bad())]
    found = audit(bare, ["completion"])
    assert "successes are taken to be done at their last frame only" in found.evidence.assumed
    assert verdict(found, "false positives") is Verdict.NOT_COMPUTABLE
    # The constructed model knows nothing of failures without labels: those questions failed.
    assert found.decision.overall is Overall.NOT_DECIDED


class Shuttered(Sequence[object]):
    """Frames of which some cannot be read."""

    def __init__(self, frames: Sequence[object], broken: Callable[[int], bool]) -> None:
        self._frames, self._broken = frames, broken

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> object:  # type: ignore[override]
        if self._broken(index):
            raise RecordingError(f"frame {index} is missing")
        return self._frames[index]


class Looking(ConstructedModel):
    """A constructed model that opens the frames as a served one does."""

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        return [self._look(question) for question in questions]

    def _look(self, question: Question) -> Answer:
        try:
            question.episode.frames[question.current]
        except RecordingError as error:
            return Answer(error=f"{UNREADABLE}: {error}")
        return super().ask([question])[0]


def shuttered(each: RecordedEpisode, broken: Callable[[int], bool]) -> RecordedEpisode:
    return replace(each, frames=Shuttered(each.frames, broken))  # type: ignore[arg-type]


def look(episodes: Sequence[RecordedEpisode]) -> Audit:
    return run_audit(Looking("oracle"), plan_audit(episodes), data_set="some", available=1)


def test_a_corrupt_frame_is_left_out_and_reported() -> None:
    first, *others = good(12)
    found = look([shuttered(first, lambda index: index == 2), *others, *bad(12)])
    assert found.decision.overall is Overall.TRAIN
    assert found.evidence.failures.failed > 0
    assert set(found.evidence.failures.reasons) == {UNREADABLE}
    assert found.evidence.failures.examples[UNREADABLE] == "frame 2 is missing"


def test_many_corrupt_frames_decide_nothing() -> None:
    found = look([shuttered(each, lambda index: index % 3 == 0) for each in (*good(), *bad())])
    assert found.decision.overall is Overall.NOT_DECIDED
    assert found.decision.reasons == ("failed questions",)
    assert "is missing" in found.decision.paragraph


class Broken(ConstructedModel):
    """A server that fails whole batches."""

    def __init__(self, error: Exception) -> None:
        super().__init__("oracle")
        self._error = error

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        raise self._error


class Silent(ConstructedModel):
    """A model that says something else, as an untrained one does."""

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        return [Answer(error="label_mass_low: 0.002 of it on the labels") for _ in questions]


def test_a_model_that_does_not_answer_is_convicted() -> None:
    plan = plan_audit([*good(), *bad()])
    found = run_audit(Silent("oracle"), plan, data_set="some", available=1)
    assert found.decision.overall is Overall.DO_NOT_TRAIN
    assert found.decision.reasons == ("label mass",)
    assert "0.002 of it on the labels" in found.decision.paragraph
    answered = f"{found.evidence.failures.asked} of {found.evidence.failures.asked} questions"
    assert f"{answered} have no answer" in sentence(found, "correlation")


def test_batches_that_come_too_late_are_failed_questions() -> None:
    plan = plan_audit([*good(), *bad()])
    late = Broken(DeadlineExceeded("too slow"))
    found = run_audit(late, plan, data_set="some", available=1)
    assert found.decision.overall is Overall.NOT_DECIDED
    assert found.evidence.failures.lost_share == 1
    assert "too slow" in found.decision.paragraph


def test_a_server_that_goes_away_ends_the_audit() -> None:
    plan = plan_audit(good())
    with pytest.raises(Unavailable):
        run_audit(Broken(Unavailable("gone")), plan, data_set="some", available=1)


def test_heads_that_cannot_be_audited() -> None:
    with pytest.raises(ValueError, match="tri cannot be audited"):
        plan_audit(good(), ["tri"])
    with pytest.raises(ValueError, match="no head"):
        plan_audit(good(), [])


@pytest.mark.parametrize("head", ["contrastive", "progress", "completion"])
def test_a_head_alone_is_audited_by_what_concerns_it(head: str) -> None:
    found = audit([*good(), *bad()], [head])
    assert found.decision.overall is Overall.TRAIN
    assert {question.head for question in plan_audit(good(), [head]).questions.values()} == {head}
    computed = {each.check for each in found.findings if each.verdict is Verdict.PASS}
    assert ("direction" in computed) == (head == "contrastive")
    assert ("correlation" in computed) == (head == "progress")
    assert ("calibration" in computed) == (head == "completion")
