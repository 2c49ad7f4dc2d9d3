"""Asks a plan's questions in batches, and arranges the answers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Final

import numpy as np

from lrm_client import Readout
from lrm_server.audit.evidence import Comparison, Evidence, Failures, Floats, Pair, Trace
from lrm_server.audit.plan import Key, Plan, readouts_of
from lrm_server.evaluation.asking import MODEL_CODES, Answer, RewardModel
from lrm_server.evaluation.scoring import ask_bounded

BATCH: Final = 64

NO_ANSWER: Final = Answer(error="not asked")

Answers = Mapping[Key, Answer]


def ask_all(
    model: RewardModel, plan: Plan, advanced: Callable[[int], None] = lambda _: None
) -> dict[Key, Answer]:
    """Answers by key; what came too late or found the server full, even alone, is a failure.

    Args:
        model: who is asked.
        plan: what is asked.
        advanced: called with how many more questions are done with.

    Raises:
        LrmError: nothing can be asked at all.
    """
    answers: dict[Key, Answer] = {}
    items = iter(plan.questions.items())
    while batch := list(islice(items, BATCH)):
        replies = ask_bounded(model, [question for _, question in batch])
        answers.update(zip((key for key, _ in batch), replies, strict=True))
        advanced(len(batch))
    return answers


def arrange(plan: Plan, answers: Answers) -> Evidence:
    """The evidence that the answers give."""
    needed = [answer for key, answer in answers.items() if key not in plan.optional]
    readouts, readout_errors = _readouts(plan, answers)
    return Evidence(
        heads=plan.heads,
        traces=tuple(_trace(plan, n, answers) for n, c in enumerate(plan.cases) if c.frames),
        pairs=tuple(_pair(plan, pair, answers) for pair in plan.pairs),
        edits=_again(plan, "edit", answers),
        paraphrases=_again(plan, "paraphrase", answers),
        wrong_tasks=_wrong_tasks(plan, answers),
        readouts=readouts,
        label_masses=tuple(a.label_mass for a in needed if a.label_mass is not None),
        failures=_failures(needed),
        too_short=sum(not case.frames for case in plan.cases),
        assumed=Counter(note for case in plan.cases for note in case.truth.assumed),
        readout_errors=readout_errors,
    )


def _failures(needed: Sequence[Answer]) -> Failures:
    counted: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for answer in needed:
        if answer.value is None:
            code, _, message = answer.error.partition(": ")
            counted[code] += 1
            examples.setdefault(code, message)
    return Failures(len(needed), dict(counted.most_common()), examples)


def _trace(plan: Plan, number: int, answers: Answers) -> Trace:
    case = plan.cases[number]
    episode, truth, places = case.episode, case.truth, list(case.frames)
    done_step = None if truth.done_at is None else int(episode.steps[truth.done_at])

    def replies(head: str) -> list[Answer]:
        return [answers.get(("trace", number, head, place), NO_ANSWER) for place in places]

    def column(head: str, read: Callable[[Answer], float | None]) -> Floats:
        return np.asarray([read(reply) for reply in replies(head)], np.float64)

    return Trace(
        episode=episode.id,
        task=episode.task,
        length=episode.length,
        success=truth.success,
        done_step=done_step,
        steps=episode.steps[places],
        truth=None if truth.progress is None else truth.progress[places],
        done=None if truth.done is None else truth.done[places],
        progress=column("progress", lambda answer: answer.score),
        stage=column("progress", lambda answer: answer.value),
        completion=column("completion", lambda answer: answer.score),
        assumed=truth.progress_assumed,
        graded=all(reply.error or reply.probabilities for reply in replies("completion")),
    )


def _pair(plan: Plan, pair: tuple[int, int, int], answers: Answers) -> Pair:
    number, earlier, later = pair
    case = plan.cases[number]
    progress = case.truth.progress
    return Pair(
        episode=case.episode.id,
        rise=None if progress is None else float(progress[later] - progress[earlier]),
        forward=answers["pair", number, earlier, later],
        backward=answers["pair", number, later, earlier],
        assumed=case.truth.progress_assumed,
    )


def _again(plan: Plan, kind: str, answers: Answers) -> dict[str, tuple[Comparison, ...]]:
    found: dict[str, list[Comparison]] = defaultdict(list)
    for key, answer in answers.items():
        if key[0] == kind:
            _, name, at = key
            assert isinstance(at, int)  # noqa: S101
            probe = plan.probes[at]
            episode = plan.cases[probe.case].episode.id
            found[str(name)].append(Comparison(episode, probe.head, answers[probe.key], answer))
    return {name: tuple(comparisons) for name, comparisons in found.items()}


def _wrong_tasks(plan: Plan, answers: Answers) -> tuple[Comparison, ...]:
    return tuple(
        Comparison(
            plan.cases[number].episode.id,
            head,
            answers["trace", number, head, place],
            answers["wrong", number, head],
            plan.questions["wrong", number, head].task or "",
        )
        for number, place in plan.finished
        for head in plan.heads
        if head != "contrastive"
    )


def _readouts(
    plan: Plan, answers: Answers
) -> tuple[dict[str, tuple[Comparison, ...]], dict[str, str]]:
    found: dict[str, list[Comparison]] = defaultdict(list)
    errors: dict[str, str] = {}
    for at, probe in enumerate(plan.probes):
        first, *others = readouts_of(probe.head)
        plain = _readout_answer(answers, first, at)
        for readout in others:
            answer = _readout_answer(answers, readout, at)
            if plain is None or answer is None:
                continue
            refused = [one for one in (plain, answer) if one.error and not _unanswered(one)]
            if not refused:
                comparison = Comparison(
                    plan.cases[probe.case].episode.id, probe.head, plain, answer
                )
                found[f"{first.value} and {readout.value}"].append(comparison)
            for name, one in ((first, plain), (readout, answer)):
                if one in refused:
                    errors.setdefault(f"{probe.head}, {name.value}", one.error)
    return {name: tuple(comparisons) for name, comparisons in found.items()}, errors


def _unanswered(answer: Answer) -> bool:
    """Whether the model was asked and did not answer: its failure, and no refusal."""
    return answer.error.partition(":")[0] in MODEL_CODES


def _readout_answer(answers: Answers, readout: Readout, at: int) -> Answer | None:
    return answers.get(("readout", readout.value, at))
