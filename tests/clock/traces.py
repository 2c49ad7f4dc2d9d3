"""The worked traces of the specification, as data that the clock and the server both replay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lrm_client.clock import ClockConfig, Hold, Phase


@dataclass(frozen=True)
class TraceStep:
    """One step and what must come of it.

    A head in ``values`` is due and its query gives that value, None a failure; a head
    that is not there must not be queried.
    """

    step: int
    values: Mapping[str, float | None] = field(default_factory=dict)
    rewards: Mapping[str, float | None] = field(default_factory=dict)
    """Per head; None where the source is failed. Empty at step 0."""
    sources: Mapping[str, str] = field(default_factory=dict)
    ages: Mapping[str, int | None] = field(default_factory=dict)
    previous: Mapping[str, int] = field(default_factory=dict)
    """Per due head: the step whose frame the query compares with."""
    final: bool = False
    force: bool = False
    refused: str | None = None
    """The error's code when the step is refused."""


@dataclass(frozen=True)
class Trace:
    """One episode from its opening on."""

    name: str
    config: ClockConfig
    neutral: Mapping[str, float]
    steps: tuple[TraceStep, ...]
    next_query_step: Mapping[int, int | None] = field(default_factory=dict)
    """After a step, the step that the clock wants next."""


def progress_steps(
    answers: Mapping[int, float | None],
    rewards: list[float | None],
    sources: str,
    ages: list[int | None],
    previous: Mapping[int, int],
) -> tuple[TraceStep, ...]:
    """Step 0 and one step for each reward, of the progress head alone.

    ``sources`` has one letter a step: n(eutral), q(ueried), h(eld), f(ailed).
    """
    words = {"n": "neutral", "q": "queried", "h": "held", "f": "failed"}
    rows = enumerate(zip(rewards, sources, ages, strict=True), start=1)
    return (
        TraceStep(0),
        *(
            TraceStep(
                step,
                values={"progress": answers[step]} if step in answers else {},
                rewards={"progress": reward},
                sources={"progress": words[source]},
                ages={"progress": age},
                previous={"progress": previous[step]} if step in answers else {},
            )
            for step, (reward, source, age) in rows
        ),
    )


def final(step: TraceStep) -> TraceStep:
    """The same step as the episode's last."""
    return TraceStep(
        step.step, step.values, step.rewards, step.sources, step.ages, step.previous, final=True
    )


PROGRESS = {"progress": 0.0}
HOLD = ClockConfig(interval=3, scale=2.0)
ANSWERS = {3: 0.3, 6: 0.6}
PLAIN_PREVIOUS = {3: 0, 6: 3}
PLAIN_AGES = [None, None, 0, 1, 2, 0, 1]

PLAIN = progress_steps(
    ANSWERS, [0, 0, 0.6, 0.6, 0.6, 1.2, 1.2], "nnqhhqh", PLAIN_AGES, PLAIN_PREVIOUS
)

ENDED = progress_steps(
    {**ANSWERS, 7: 1.0},
    [0, 0, 0.6, 0.6, 0.6, 1.2, 2.0],
    "nnqhhqq",
    [None, None, 0, 1, 2, 0, 0],
    {**PLAIN_PREVIOUS, 7: 6},
)

FAILED_AT_3 = progress_steps(
    {3: None, 4: 0.4, 6: 0.6},
    [0, 0, None, 0.8, 0.8, 1.2, 1.2],
    "nnfqhqh",
    [None, None, None, 0, 1, 0, 1],
    {3: 0, 4: 0, 6: 4},
)


def _contrastive(name: str, steps: tuple[TraceStep, ...]) -> Trace:
    return Trace(name, HOLD, {"contrastive": 0.0}, steps)


def _contrastive_step(
    step: int,
    reward: float | None,
    source: str,
    age: int | None,
    *,
    asked: tuple[int, float | None] | None = None,
) -> TraceStep:
    """A step of the contrastive head; ``asked`` is (previous step, value)."""
    head = "contrastive"
    return TraceStep(
        step,
        values={} if asked is None else {head: asked[1]},
        rewards={head: reward},
        sources={head: source},
        ages={head: age},
        previous={} if asked is None else {head: asked[0]},
    )


def _held_with(hold: Hold, rewards: list[float | None]) -> Trace:
    return Trace(
        f"7 {hold.value}",
        ClockConfig(interval=3, scale=2.0, hold=hold),
        PROGRESS,
        progress_steps(ANSWERS, rewards, "nnqhhqh", PLAIN_AGES, PLAIN_PREVIOUS),
    )


def _aligned(offset: int, due: tuple[int, ...]) -> Trace:
    """Eight steps that are answered 0.5 wherever they are due."""
    rewards: list[float | None] = []
    ages: list[int | None] = []
    sources = ""
    for step in range(1, 9):
        asked = [at for at in due if at <= step]
        rewards.append(1.0 if asked else 0.0)
        ages.append(step - asked[-1] if asked else None)
        sources += "q" if step in due else "h" if asked else "n"
    return Trace(
        f"8 aligned, offset {offset}",
        ClockConfig(interval=3, scale=2.0, phase=Phase.ALIGNED, offset=offset),
        PROGRESS,
        progress_steps(
            dict.fromkeys(due, 0.5),
            rewards,
            sources,
            ages,
            dict(zip(due, (0, *due), strict=False)),
        ),
    )


def _tri(step: int, reward: float, source: str, value: float | None = None) -> TraceStep:
    """A step of tri with thirds, whose value the parts make."""
    return TraceStep(
        step,
        values={} if value is None else {"tri": value},
        rewards={"tri": reward},
        sources={"tri": source},
        ages={"tri": 0 if value is not None else None},
        previous={} if value is None else {"tri": 0},
    )


TRACES: tuple[Trace, ...] = (
    Trace("1 plain", HOLD, PROGRESS, PLAIN, {0: 3, 2: 3, 3: 6, 7: 9}),
    Trace(
        "2 final",
        HOLD,
        PROGRESS,
        (*ENDED[:-1], final(ENDED[-1]), TraceStep(8, refused="episode_ended")),
        {7: None},
    ),
    Trace("3 failure", HOLD, PROGRESS, FAILED_AT_3, {2: 3, 3: 4, 4: 6}),
    _contrastive(
        "4 contrastive",
        (
            TraceStep(0),
            _contrastive_step(1, 0.0, "neutral", None),
            _contrastive_step(2, 0.0, "neutral", None),
            _contrastive_step(3, 2.0, "queried", 0, asked=(0, 1.0)),
            _contrastive_step(4, 2.0, "held", 1),
            _contrastive_step(5, 2.0, "held", 2),
            _contrastive_step(6, -2.0, "queried", 0, asked=(3, -1.0)),
        ),
    ),
    _contrastive(
        "4 contrastive with a failure",
        (
            TraceStep(0),
            _contrastive_step(1, 0.0, "neutral", None),
            _contrastive_step(2, 0.0, "neutral", None),
            _contrastive_step(3, None, "failed", None, asked=(0, None)),
            _contrastive_step(4, 2.0, "queried", 0, asked=(0, 1.0)),
            _contrastive_step(5, 2.0, "held", 1),
            _contrastive_step(6, -2.0, "queried", 0, asked=(4, -1.0)),
        ),
    ),
    Trace(
        "5 behind", HOLD, PROGRESS, (*PLAIN[:4], TraceStep(2, refused="step_behind"), *PLAIN[4:])
    ),
    Trace(
        "6 gap",
        HOLD,
        PROGRESS,
        (
            TraceStep(0),
            PLAIN[1],
            TraceStep(
                5,
                values={"progress": 0.5},
                rewards={"progress": 1.0},
                sources={"progress": "queried"},
                ages={"progress": 0},
                previous={"progress": 0},
            ),
        ),
        {0: 3, 1: 3, 5: 6},
    ),
    _held_with(Hold.ZERO, [0, 0, 0.6, 0, 0, 1.2, 0]),
    _held_with(Hold.SPREAD, [0, 0, 0.2, 0.2, 0.2, 0.4, 0.4]),
    _held_with(Hold.DIFFERENCE, [0, 0, 0.6, 0, 0, 0.6, 0]),
    _aligned(0, (3, 6)),
    _aligned(1, (2, 5, 8)),
    Trace(
        "9 tri",
        HOLD,
        {"tri": 1 / 6},
        (
            TraceStep(0),
            _tri(1, 2 / 6, "neutral"),
            _tri(2, 2 / 6, "neutral"),
            _tri(3, 2 * 1.3 / 3, "queried", 1.3 / 3),
        ),
    ),
)
