"""What an audit asks: questions by key, of which the evidence is put together again."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from lrm_client import Readout
from lrm_server.audit.edits import standard_edits
from lrm_server.audit.sampling import Budget, Case, choose_pairs, choose_probes
from lrm_server.audit.wording import Tasks, Wording
from lrm_server.evaluation.asking import Edit, Question

Key = tuple[object, ...]

PATCH_PLACES: Final = 4
READOUT_PROBES: Final = 12
"""Frames and pairs that are asked with each readout; generating takes many times as long."""


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """What is asked again under a change.

    Attributes:
        case: place in the plan's cases.
        head: which head.
        current: the frame that is judged.
        previous: the frame to compare with, for contrastive.
        key: of the question as it is.
    """

    case: int
    head: str
    current: int
    previous: int | None
    key: Key


@dataclass(slots=True, eq=False)
class Plan:
    """Everything that is asked.

    Attributes:
        cases: the chosen episodes.
        heads: that are asked.
        pairs: (case, earlier place, later place) of contrastive.
        probes: questions that are asked again under changes.
        finished: (case, place) of last frames of successes, asked with wrong tasks.
        questions: key -> question; asked in this order.
        optional: keys of questions that a server may refuse: other readouts.
        roles: head -> the frames that it looks at; every one for a head that is not in it.
    """

    cases: list[Case]
    heads: tuple[str, ...]
    pairs: list[tuple[int, int, int]] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)
    finished: list[tuple[int, int]] = field(default_factory=list)
    questions: dict[Key, Question] = field(default_factory=dict)
    optional: set[Key] = field(default_factory=set)
    roles: Mapping[str, Collection[str]] = field(default_factory=dict)


def make_plan(
    cases: list[Case],
    heads: tuple[str, ...],
    budget: Budget,
    wording: Wording,
    *,
    least_pair: float,
    tasks: Tasks,
    roles: Mapping[str, Collection[str]],
) -> Plan:
    """The questions of an audit.

    Args:
        cases: the chosen episodes.
        heads: of contrastive, progress and completion, those that are asked.
        budget: how much is asked.
        wording: paraphrases and wrong tasks.
        least_pair: least difference in true progress of a pair.
        tasks: of the whole data set; each is a wrong task for those of other groups.
        roles: head -> the frames that it looks at; every one for a head that is not in it.
    """
    plan = Plan(cases, heads, roles=roles)
    _ask_traces(plan)
    if "contrastive" in heads:
        _ask_pairs(plan, budget, least_pair)
    _choose_probes(plan, budget)
    _ask_edits(plan, budget)
    _ask_paraphrases(plan, wording)
    _ask_wrong_tasks(plan, budget, wording, tasks)
    _ask_readouts(plan)
    return plan


def readouts_of(head: str) -> tuple[Readout, ...]:
    """The readouts that are compared; only contrastive was published to reason first."""
    both = (Readout.LIKELIHOOD, Readout.GENERATE)
    return (*both, Readout.REASON_THEN_READ) if head == "contrastive" else both


def _question(
    plan: Plan,
    case: int,
    head: str,
    current: int,
    previous: int | None = None,
    *,
    task: str | None = None,
    edit: Edit | None = None,
    readout: Readout | None = None,
) -> Question:
    episode = plan.cases[case].episode
    shown = head == "progress" and "initial" in plan.roles.get(head, ("initial",))
    initial = 0 if shown else None
    return Question(
        head, episode, current, previous, initial, task=task, edit=edit, readout=readout
    )


def _ask_traces(plan: Plan) -> None:
    for number, case in enumerate(plan.cases):
        for head in plan.heads:
            if head != "contrastive":
                for place in case.frames:
                    plan.questions["trace", number, head, place] = _question(
                        plan, number, head, place
                    )


def _ask_pairs(plan: Plan, budget: Budget, least: float) -> None:
    random = np.random.default_rng([budget.seed, 3])
    for number, case in enumerate(plan.cases):
        for earlier, later in choose_pairs(case, budget.pairs, least, random):
            plan.pairs.append((number, earlier, later))
            for first, second in ((earlier, later), (later, earlier)):
                plan.questions["pair", number, first, second] = _question(
                    plan, number, "contrastive", second, first
                )


def _choose_probes(plan: Plan, budget: Budget) -> None:
    chosen = choose_probes(plan.cases, budget)
    for number, place in chosen:
        for head in plan.heads:
            if head != "contrastive":
                key = ("trace", number, head, place)
                plan.probes.append(Probe(number, head, place, None, key))
    probed = {number for number, _ in chosen}
    first_pairs = {number: (a, b) for number, a, b in reversed(plan.pairs) if number in probed}
    for number, (earlier, later) in sorted(first_pairs.items()):
        pair: Key = ("pair", number, earlier, later)
        plan.probes.append(Probe(number, "contrastive", later, earlier, pair))


def _ask_edits(plan: Plan, budget: Budget) -> None:
    # By case, in an order of its own: whatever repeats in the probes, a head or an early frame,
    # meets every variant.
    cases = np.asarray(sorted({probe.case for probe in plan.probes}), np.int64)
    order = np.random.default_rng([budget.seed, 5]).permutation(cases)
    turns = {int(case): turn for turn, case in enumerate(order)}
    for variants in standard_edits(budget.seed, PATCH_PLACES):
        for at, probe in enumerate(plan.probes):
            edit = variants[turns[probe.case] % len(variants)]
            plan.questions["edit", edit.name, at] = _question(
                plan, probe.case, probe.head, probe.current, probe.previous, edit=edit
            )


def _ask_paraphrases(plan: Plan, wording: Wording) -> None:
    for at, probe in enumerate(plan.probes):
        for name, text in wording.variants(plan.cases[probe.case].episode.task).items():
            plan.questions["paraphrase", name, at] = _question(
                plan, probe.case, probe.head, probe.current, probe.previous, task=text
            )


def _ask_wrong_tasks(plan: Plan, budget: Budget, wording: Wording, tasks: Tasks) -> None:
    random = np.random.default_rng([budget.seed, 4])
    for number, case in enumerate(plan.cases):
        done = case.truth.done
        others = wording.others(case.episode.task, tasks)
        if not case.frames or done is None or not done[case.frames[-1]] or not others:
            continue
        plan.finished.append((number, case.frames[-1]))
        task = others[int(random.integers(len(others)))]
        for head in plan.heads:
            if head != "contrastive":
                plan.questions["wrong", number, head] = _question(
                    plan, number, head, case.frames[-1], task=task
                )


def _ask_readouts(plan: Plan) -> None:
    for head in plan.heads:
        of_head = [at for at, probe in enumerate(plan.probes) if probe.head == head]
        for at in of_head[:READOUT_PROBES]:
            probe = plan.probes[at]
            for readout in readouts_of(head):
                key = ("readout", readout.value, at)
                plan.optional.add(key)
                plan.questions[key] = _question(
                    plan, probe.case, head, probe.current, probe.previous, readout=readout
                )
