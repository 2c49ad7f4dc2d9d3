"""What is asked, how much of it, and where the answers go."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from lrm_client import Readout
from lrm_server.audit.audit import plan_audit
from lrm_server.audit.constructed import ConstructedModel
from lrm_server.audit.plan import PATCH_PLACES
from lrm_server.audit.sampling import Budget
from lrm_server.audit.survey import BATCH, arrange, ask_all
from lrm_server.audit.wording import Wording
from lrm_server.evaluation.asking import Answer, Question
from tests.audit.builders import LINEAR, episode

EPISODES = [
    *(episode(f"good{n}", task=("lift", "push")[n % 2]) for n in range(6)),
    *(episode(f"bad{n}", [0.0, 0.3, 0.6, 0.2], success=False, task="lift") for n in range(4)),
]


class Counting(ConstructedModel):
    """Remembers the sizes of its batches."""

    def __init__(self) -> None:
        super().__init__("oracle")
        self.batches: list[int] = []

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        self.batches.append(len(questions))
        return super().ask(questions)


def test_everything_is_asked_in_batches_and_counted() -> None:
    model, plan = Counting(), plan_audit(EPISODES)
    seen: list[int] = []
    answers = ask_all(model, plan, seen.append)
    assert set(answers) == set(plan.questions)
    assert sum(seen) == len(plan.questions)
    assert set(model.batches[:-1]) == {BATCH}


def test_the_budget_bounds_what_is_asked() -> None:
    small = Budget(episodes=4, frames=3, pairs=1, probes=2)
    plan = plan_audit(EPISODES, budget=small)
    kinds = Counter((key[0], question.head) for key, question in plan.questions.items())
    # Three frames spread over each, and those around the success.
    assert kinds["trace", "progress"] <= 4 * (3 + 2)
    assert kinds["pair", "contrastive"] == 4 * 2
    assert kinds["edit", "progress"] == 8 * 2 * 2
    assert kinds["edit", "contrastive"] == 8 * 2
    assert len(plan_audit(EPISODES).questions) > 2 * len(plan.questions)


def test_equal_seeds_ask_equal_questions() -> None:
    def asked(seed: int) -> list[tuple[object, ...]]:
        plan = plan_audit(EPISODES, budget=Budget(episodes=6, seed=seed))
        return [
            (q.head, q.episode.id, q.current, q.previous, q.task, q.readout)
            for q in plan.questions.values()
        ]

    assert asked(5) == asked(5) != asked(6)


def test_what_each_head_is_shown() -> None:
    for question in plan_audit(EPISODES).questions.values():
        assert question.initial == (0 if question.head == "progress" else None)
        assert (question.previous is not None) == (question.head == "contrastive")


def test_edits_words_and_readouts_go_to_their_questions() -> None:
    wording = Wording(templates=("Robot, {task}",), wrong=("sweep",))
    plan = plan_audit(EPISODES, wording=wording)
    for key, question in plan.questions.items():
        own = question.episode.task
        expected = {"paraphrase": f"Robot, {own}"}.get(str(key[0]))
        if key[0] == "wrong":
            assert question.task in {"lift", "push", "sweep"} - {own}
        else:
            assert question.task == expected
        assert (question.edit is not None) == (key[0] == "edit")
        assert (question.readout is not None) == (key[0] == "readout")
        assert (key in plan.optional) == (key[0] == "readout")
    readouts = {(q.head, q.readout) for q in plan.questions.values() if q.readout is not None}
    reasoned = {head for head, readout in readouts if readout is Readout.REASON_THEN_READ}
    assert reasoned == {"contrastive"}
    assert len(readouts) == 7


def test_answers_come_back_to_their_frames() -> None:
    plan = plan_audit(EPISODES, ["progress"])
    evidence = arrange(plan, ask_all(ConstructedModel("oracle"), plan))
    for trace in evidence.traces:
        assert trace.truth is not None
        assert abs(trace.progress - trace.truth).max() < 0.1
        assert trace.done_step == (100 if trace.success else None)
        assert trace.steps[0] == 10
    whole = next(trace for trace in evidence.traces if trace.success)
    assert whole.truth is not None
    assert whole.truth.tolist() == list(LINEAR[1:])


def test_changed_answers_stand_beside_plain_ones() -> None:
    class Changing(ConstructedModel):
        def ask(self, questions: Sequence[Question]) -> list[Answer]:
            return [self._of(question) for question in questions]

        def _of(self, question: Question) -> Answer:
            said = 0.7 if question.edit else 0.4 if question.task else 0.2
            return Answer(value=said, label=str(said))

    plan = plan_audit(EPISODES)
    evidence = arrange(plan, ask_all(Changing("oracle"), plan))
    for changes, difference in ((evidence.edits, 0.5), (evidence.paraphrases, 0.2)):
        for comparisons in changes.values():
            assert {c.head for c in comparisons} == {"contrastive", "progress", "completion"}
            assert all(abs(c.change - difference) < 1e-9 and c.flipped for c in comparisons)
    assert all(abs(c.change - 0.2) < 1e-9 for c in evidence.wrong_tasks)


def test_refused_readouts_do_not_count_as_failed_questions() -> None:
    class Answering(ConstructedModel):
        def ask(self, questions: Sequence[Question]) -> list[Answer]:
            answers = super().ask(questions)
            return [
                Answer(error="invalid_argument: no such readout")
                if q.readout is Readout.GENERATE
                else a
                for q, a in zip(questions, answers, strict=True)
            ]

    plan = plan_audit(EPISODES)
    evidence = arrange(plan, ask_all(Answering("oracle"), plan))
    assert evidence.failures.failed == 0
    assert evidence.readout_errors["progress, generate"] == "invalid_argument: no such readout"
    assert list(evidence.readouts) == ["likelihood and reason_then_read"]


def test_a_head_is_shown_the_frames_that_it_looks_at() -> None:
    plan = plan_audit(EPISODES, ["progress"], roles={"progress": {"current"}})
    assert {question.initial for question in plan.questions.values()} == {None}


def test_each_head_and_kind_of_frame_meets_every_place_of_the_patch() -> None:
    many = [episode(f"{end}{n}", success=end) for end in (True, False) for n in range(10)]
    plan = plan_audit(many)
    seen: dict[tuple[str, bool], set[int]] = defaultdict(set)
    for key, question in plan.questions.items():
        if key[:2] == ("edit", "occlusion"):
            last = question.current == len(question.episode.frames) - 1
            seen[question.head, last].add(id(question.edit))
    for kind in (("progress", True), ("progress", False), ("completion", True)):
        assert len(seen[kind]) == PATCH_PLACES
