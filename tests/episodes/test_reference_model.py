"""The service against the model that recomputes everything from the whole history."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrm_client.clock import ClockConfig, Hold, Phase
from lrm_server.episodes.types import EpisodeStep, StepAnswer
from lrm_server.errors import DomainError
from lrm_server.heads.profile import Role
from lrm_server.heads.query import Query
from tests.clock.reference_model import ReferenceEpisode
from tests.episodes.support import Bench, Shown, failing, frame, shown

HEADS = [("contrastive",), ("progress", "contrastive"), ("completion", "contrastive", "progress")]
REFUSALS = {
    "episode_ended": "episode_ended",
    "step_behind": "step_behind",
    "reset_missing": "frame_required",
}


@dataclass(frozen=True)
class Event:
    """A step that someone sends: ``ahead`` of the last one that was taken, or behind it."""

    episode: int
    ahead: int
    final: bool
    force: bool
    with_frame: bool
    variant: int
    answers: tuple[float | None, float | None, float | None]


@dataclass
class Expected:
    """An episode as the model has it, and what every step was sent with."""

    model: ReferenceEpisode
    heads: tuple[str, ...]
    sent: dict[int, tuple[EpisodeStep, bool]] = field(default_factory=dict)
    """By step that was taken: as it was sent, and whether its frame was looked at."""
    answers: dict[int, StepAnswer] = field(default_factory=dict)

    @property
    def last(self) -> int:
        return max([-1, *self.sent])

    def repeats(self, step: EpisodeStep) -> bool:
        if step.step not in self.sent:
            return False
        known, looked = self.sent[step.step]
        if (known.final, known.force) != (step.final, step.force):
            return False
        return not looked or (step.frame is not None and known.frame.digest == step.frame.digest)


def _mostly(usual: object, *rare: object) -> st.SearchStrategy:
    return st.sampled_from([usual] * 8 + list(rare))


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[tuple[ClockConfig, tuple[str, ...]]], list[list[Event]]]:
    episodes = draw(
        st.lists(
            st.tuples(
                st.builds(
                    ClockConfig,
                    interval=st.integers(1, 5),
                    scale=st.sampled_from([1.0, 2.0, -0.5]),
                    hold=st.sampled_from(Hold),
                    phase=st.sampled_from(Phase),
                    offset=st.integers(0, 9),
                ),
                st.sampled_from(HEADS),
            ),
            min_size=1,
            max_size=3,
        )
    )
    value = st.one_of(st.floats(-1.0, 1.0), st.floats(-1.0, 1.0), st.none())
    event = st.builds(
        Event,
        episode=st.integers(0, len(episodes) - 1),
        ahead=_mostly(1, 0, 0, -1, 2, 3, 7),
        final=_mostly(False, True),
        force=_mostly(False, True),
        with_frame=_mostly(True, False),
        variant=_mostly(0, 1),
        answers=st.tuples(value, value, value),
    )
    batches = st.lists(st.lists(event, min_size=1, max_size=6), max_size=15)
    return episodes, draw(batches)


@settings(max_examples=150, deadline=None)
@given(cases())
def test_interleaved_batches_follow_the_reference_model(
    case: tuple[list[tuple[ClockConfig, tuple[str, ...]]], list[list[Event]]],
) -> None:
    asyncio.run(_follow(*case))


async def _follow(
    episodes: list[tuple[ClockConfig, tuple[str, ...]]], batches: list[list[Event]]
) -> None:
    bench = Bench()
    script: dict[tuple[Shown, str], float | None] = {}

    def answer(query: Query) -> float | DomainError:
        value = script[shown(query, Role.CURRENT), query.head]
        return failing() if value is None else value

    async def let_others_run(query: Query) -> None:
        await asyncio.sleep(0)

    bench.scorer.answers, bench.scorer.pause = answer, let_others_run
    expected = []
    for number, (config, heads) in enumerate(episodes):
        opened = await bench.open(*heads, episode=str(number), clock=config)
        model = ReferenceEpisode(
            config.interval,
            config.scale,
            config.hold.value,
            config.phase.value,
            config.offset,
            dict(opened.neutral),
        )
        expected.append(Expected(model, heads))
        assert opened.next_query_step == model.next_query_step()
    for batch in batches:
        await _follow_batch(bench, expected, batch, script)
    kept = sum([(await bench.store.get(str(n))).frame_bytes for n in range(len(episodes))])
    assert bench.store.frame_bytes == kept


async def _follow_batch(
    bench: Bench,
    expected: list[Expected],
    batch: list[Event],
    script: dict[tuple[Shown, str], float | None],
) -> None:
    steps, checks, comparisons = [], [], {}
    for event in batch:
        episode = expected[event.episode]
        number = max(episode.last + event.ahead, 0)
        picture = frame(number, episode=event.episode, variant=event.variant)
        step = EpisodeStep(
            episode=str(event.episode),
            step=number,
            frame=picture if event.with_frame else None,
            final=event.final,
            force=event.force,
        )
        steps.append(step)
        if episode.repeats(step):
            checks.append(("again", episode, number))
            continue
        refusal = episode.model.refusal(number)
        if refusal is not None:
            checks.append(("refused", REFUSALS[refusal], None))
            continue
        due = episode.model.due(number, event.final, event.force)
        if (due or number == 0) and not event.with_frame:
            checks.append(("refused", "frame_required", number))
            continue
        outcomes = {head: event.answers[episode.heads.index(head)] for head in due}
        for head in due:
            script[Shown(event.episode, number, event.variant), head] = outcomes[head]
            if head == "contrastive":
                comparisons[event.episode, number] = episode.model.previous(head)
        rewards = episode.model.take(number, outcomes, event.final)
        episode.sent[number] = (step, bool(due) or number == 0)
        upcoming = episode.model.next_query_step()
        checks.append(("taken", episode, (number, rewards, upcoming)))

    asked_before = len(bench.scorer.queries)
    answers = await bench.service.step(steps)
    for answer, (kind, what, detail) in zip(answers, checks, strict=True):
        if kind == "refused":
            assert isinstance(answer, DomainError)
            assert answer.code.value == what
            assert detail is None or answer.step == detail
            continue
        assert isinstance(answer, StepAnswer)
        if kind == "again":
            assert answer == what.answers[detail]
            continue
        number, rewards, upcoming = detail
        what.answers[number] = answer
        assert (answer.step, answer.next_query_step) == (number, upcoming)
        got = [(h.head, h.reward, h.value, h.source.value, h.age) for h in answer.rewards]
        for have, want in zip(got, rewards, strict=True):
            assert have == (pytest.approx(want) if want[1] is not None else want)
    compared = {}
    for query in bench.scorer.queries[asked_before:]:
        if query.head == "contrastive":
            current, previous = shown(query, Role.CURRENT), shown(query, Role.PREVIOUS)
            assert previous.episode == current.episode
            compared[current.episode, current.step] = previous.step
    assert compared == comparisons
