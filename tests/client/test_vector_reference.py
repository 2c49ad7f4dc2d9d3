"""The vector's arrays against the clock's reference model, whatever fails."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrm_client import Hold, Phase, VectorEpisodes
from lrm_client.doubts import MAX_DOUBTS
from lrm_client.wire import reward_pb2 as pb
from tests.client.direct import DirectClient
from tests.client.scripted import NEUTRAL, Asked, ScriptedCore, ScriptedError, problem
from tests.clock.reference_model import ReferenceEpisode

HEADS = ("tri", "progress")
DOWN = ScriptedError(None, problem("unavailable"))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Event:
    final: tuple[bool, ...]
    force: tuple[bool, ...]
    failing: tuple[frozenset[str], ...]
    call: str


def flags(count: int) -> st.SearchStrategy[tuple[bool, ...]]:
    return st.tuples(*[st.sampled_from([False] * 7 + [True])] * count)


@st.composite
def runs(draw: st.DrawFn) -> tuple[int, dict, list[Event]]:
    count = draw(st.integers(1, 3))
    options = {
        "interval": draw(st.integers(1, 4)),
        "scale": draw(st.sampled_from([1.0, 2.0, -0.5])),
        "hold": draw(st.sampled_from(Hold)),
        "phase": draw(st.sampled_from(Phase)),
        "failure": draw(st.sampled_from(["hold", "mask"])),
    }
    nothing = frozenset[str]()
    failing = st.sampled_from([nothing, nothing, nothing, frozenset({"tri"}), frozenset(HEADS)])
    calls = st.sampled_from(["answered"] * 6 + ["request lost", "reply lost", "episodes lost"])
    event = st.builds(
        Event,
        final=flags(count),
        force=flags(count),
        failing=st.tuples(*[failing] * count),
        call=calls,
    )
    return count, options, draw(st.lists(event, max_size=20))


def value_of(asked: Asked) -> float:
    return ((asked.step * 7 + asked.frame[0] * 3 + len(asked.head)) % 11) / 10


@settings(max_examples=150, deadline=None)
@given(runs())
def test_the_arrays_follow_the_reference_model_through_every_failure(
    case: tuple[int, dict, list[Event]],
) -> None:
    count, options, events = case
    core = ScriptedCore()
    failing: list[frozenset[str]] = [frozenset()] * count

    def answer(asked: Asked) -> float | pb.Problem:
        if asked.head in failing[asked.frame[0]]:
            return problem("label_mass_low")
        return value_of(asked)

    def lose_reply() -> None:
        raise DOWN

    core.answer = answer
    episodes = VectorEpisodes(DirectClient(core), count, "a task", HEADS, **options)
    frames = np.stack([np.full((2, 2, 3), at, np.uint8) for at in range(count)])
    neutral = {head: NEUTRAL[head] for head in HEADS}

    def begin(offset: int) -> ReferenceEpisode:
        reference = ReferenceEpisode(
            options["interval"],
            options["scale"],
            options["hold"].value,
            options["phase"].value,
            offset,
            neutral,
        )
        reference.take(0, {}, False)
        return reference

    episodes.reset(frames)
    references = [begin(0) for _ in range(count)]
    # What the client must do beyond the clock: a step after a call whose fate is unknown
    # is forced, and so is the step at which a lost episode is opened again.
    doubtful, lost = [False] * count, [False] * count
    # The steps that it asks for again, and what the server took without its knowledge.
    doubts: list[list[int]] = [[] for _ in range(count)]
    unheard: list[dict[int, dict[str, float | None]]] = [{} for _ in range(count)]
    # Whether the server's clock must be the client's: no doubt was forgotten, none reopened.
    equal = [True] * count
    last_good: dict[tuple[int, str], float] = {}
    for taken, event in enumerate(events, start=1):
        failing[:] = event.failing
        if event.call == "episodes lost":
            core.lose_episodes()
            lost, equal = [True] * count, [False] * count
            unheard = [{} for _ in range(count)]
        broken = event.call in ("request lost", "reply lost")
        due = []
        for at, reference in enumerate(references):
            step = reference.history[-1].step + 1
            heads = reference.due(step, event.final[at], event.force[at] or doubtful[at])
            due.append(list(HEADS) if heads and lost[at] and not broken else heads)
        if any(due) and broken:
            core.fail_next("StepEpisodes", DOWN if event.call == "request lost" else lose_reply)
        assert episodes.wants(event.final, force=event.force).tolist() == [bool(d) for d in due]
        rewards = episodes.step(frames, final=event.final, force=event.force)
        for at, reference in enumerate(references):
            step = reference.history[-1].step + 1
            outcomes: dict[str, float | None] = {}
            for head in due[at]:
                asked = Asked("", step, head, bytes([at]))
                outcomes[head] = None if head in event.failing[at] else value_of(asked)
            if due[at] and broken:
                if event.call == "reply lost" and not lost[at]:
                    unheard[at][step] = outcomes
                equal[at] = equal[at] and len(doubts[at]) < MAX_DOUBTS
                doubts[at] = [*doubts[at][: MAX_DOUBTS - 1], step]
                outcomes = dict.fromkeys(due[at])
            if due[at] and not broken:
                for past in reference.history:
                    if past.step in doubts[at]:
                        past.outcomes = unheard[at].get(past.step, past.outcomes)
                doubts[at], unheard[at] = [], {}
            if due[at]:
                doubtful[at] = broken
                lost[at] = lost[at] and broken
            for head, paid, value, source, age in reference.take(step, outcomes, event.final[at]):
                arrays = rewards.heads[head]
                assert (arrays.source[at], arrays.valid[at]) == (source, source != "failed")
                assert arrays.age[at] == (-1 if age is None else age)
                if paid is not None:
                    last_good[at, head] = paid
                elif options["failure"] == "mask":
                    paid = math.nan
                else:
                    paid = last_good.get((at, head), before_the_first_query(reference, head))
                assert arrays.rewards[at] == pytest.approx(paid, nan_ok=True, abs=1e-6)
                held = math.nan if value is None else value
                assert arrays.values[at] == pytest.approx(held, nan_ok=True, abs=1e-6)
            if due[at] and not broken and equal[at] and not event.final[at]:
                for head in core.episodes[episodes.episode_ids[at]].clock.heads:
                    age = -1 if head.queried_at is None else step - head.queried_at
                    assert rewards.heads[head.name].age[at] == age
            if event.final[at]:
                references[at] = begin(taken % options["interval"])
                doubtful[at] = lost[at] = False
                doubts[at], unheard[at], equal[at] = [], {}, True
                last_good = {key: paid for key, paid in last_good.items() if key[0] != at}
        if any(event.final):
            episodes.reset(frames, event.final)


def before_the_first_query(reference: ReferenceEpisode, head: str) -> float:
    """What the mode pays from the neutral value."""
    if reference.hold in ("zero", "difference"):
        return 0.0
    shares = reference.interval if reference.hold == "spread" else 1
    return reference.scale * reference.neutral[head] / shares
