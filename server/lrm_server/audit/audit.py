"""An audit from start to end: choose, ask, check, decide."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from lrm_server.audit.checks import run_checks
from lrm_server.audit.evidence import Evidence
from lrm_server.audit.findings import Finding
from lrm_server.audit.plan import Plan, make_plan
from lrm_server.audit.sampling import Budget, choose_cases
from lrm_server.audit.survey import arrange, ask_all
from lrm_server.audit.thresholds import Thresholds, default_thresholds
from lrm_server.audit.verdict import Decision, decide
from lrm_server.audit.wording import Wording
from lrm_server.evaluation.asking import RewardModel
from lrm_server.recordings.episode import RecordedEpisode

HEADS = ("contrastive", "progress", "completion")


@dataclass(frozen=True, slots=True, eq=False)
class Audit:
    """What an audit found.

    Attributes:
        model: its name.
        data_set: its name.
        decision: the answer.
        findings: one a check, in the order of the report.
        evidence: what they rest on.
        thresholds: what they were held to.
        budget: how much was asked.
        available: episodes in the data set.
        unreadable: episodes that could not be read at all -> why.
    """

    model: str
    data_set: str
    decision: Decision
    findings: tuple[Finding, ...]
    evidence: Evidence
    thresholds: Thresholds
    budget: Budget
    available: int
    unreadable: tuple[tuple[str, str], ...] = ()


def plan_audit(
    episodes: Sequence[RecordedEpisode],
    heads: Sequence[str] = HEADS,
    budget: Budget | None = None,
    wording: Wording | None = None,
    thresholds: Thresholds | None = None,
    roles: Mapping[str, Collection[str]] | None = None,
) -> Plan:
    """What will be asked; equal arguments give equal questions.

    Args:
        episodes: labelled; successes, failures and a weak policy's attempts.
        heads: of ``HEADS``, those that one would train on.
        budget: how much is asked; the defaults of ``Budget`` when None.
        wording: paraphrases and wrong tasks; templates when None.
        thresholds: for the definitions that choose frames; the shipped ones when None.
        roles: head -> the frames that it looks at, as the server says; every one when None.

    Raises:
        ValueError: a head that is not audited, or none.
    """
    if not heads or (strange := sorted(set(heads) - set(HEADS))):
        named = ", ".join(strange) if heads else "no head"
        raise ValueError(f"{named} cannot be audited; {', '.join(HEADS)} can")
    budget = budget or Budget()
    groups: dict[str, set[str]] = defaultdict(set)
    for episode in episodes:
        groups[episode.task].add(episode.group)
    return make_plan(
        choose_cases(episodes, budget),
        tuple(head for head in HEADS if head in heads),
        budget,
        wording or Wording(),
        least_pair=(thresholds or default_thresholds())["least_pair"],
        tasks=groups,
        roles=roles or {},
    )


def run_audit(
    model: RewardModel,
    plan: Plan,
    *,
    data_set: str,
    available: int,
    budget: Budget | None = None,
    thresholds: Thresholds | None = None,
    unreadable: Sequence[tuple[str, str]] = (),
    advanced: Callable[[int], None] = lambda _: None,
) -> Audit:
    """Asks a plan's questions and decides.

    Args:
        model: who is judged.
        plan: what is asked.
        data_set: its name.
        available: how many episodes it has.
        budget: the plan's.
        thresholds: what figures are held to; the shipped ones when None.
        unreadable: episodes that are not in it, and why.
        advanced: called with how many more questions are done with.

    Raises:
        LrmError: nothing can be asked at all.
    """
    held_to = thresholds or default_thresholds()
    evidence = arrange(plan, ask_all(model, plan, advanced))
    findings = tuple(run_checks(evidence, held_to))
    return Audit(
        model.name,
        data_set,
        decide(findings, evidence, held_to),
        findings,
        evidence,
        held_to,
        budget or Budget(),
        available,
        tuple(unreadable),
    )
