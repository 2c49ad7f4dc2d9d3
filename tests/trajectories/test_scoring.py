"""Which queries a trajectory becomes, what comes of them, and how many at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrm_server.errors import DomainError, ErrorCode, invalid
from lrm_server.frames import Frame
from lrm_server.heads.profile import Role
from lrm_server.heads.query import Query, Reply
from lrm_server.trajectories.summary import min_max
from lrm_server.trajectories.types import (
    Normalise,
    TrajectorySpec,
    Windows,
)
from tests.scripted_scorer import ScriptedScorer
from tests.trajectories.support import (
    WindowScorer,
    broken,
    frames,
    scored,
    spec_of,
)


def roles(query: Query, sent: Sequence[Frame]) -> dict[str, int]:
    return {role.value: sent.index(frame) for role, frame in query.frames.items()}


async def test_frames_are_compared_with_the_first_and_with_the_one_scored_before() -> None:
    scorer, sent = ScriptedScorer(), frames(6)
    points, summary = await scored(scorer, spec_of("contrastive", "progress", every=2), sent)
    assert [point.index for point in points] == [0, 2, 4, 5]
    assert [list(point.outcomes) for point in points] == [["progress"]] + [
        ["contrastive", "progress"]
    ] * 3
    assert [roles(query, sent) for query in scorer.asked("contrastive")] == [
        {"previous": 0, "current": 2},
        {"previous": 2, "current": 4},
        {"previous": 4, "current": 5},
    ]
    assert [roles(query, sent) for query in scorer.asked("progress")] == [
        {"initial": 0, "current": at} for at in (0, 2, 4, 5)
    ]
    assert (summary.frames, summary.points) == (6, 4)
    assert summary.heads["contrastive"].points == 3


async def test_a_frame_that_cannot_be_decoded_fails_alone_and_is_compared_with_by_none() -> None:
    scorer, sent = ScriptedScorer(), frames(5)
    sent[2] = broken()
    points, summary = await scored(scorer, spec_of("contrastive", "progress"), sent)
    failed = {
        (point.index, head): outcome.code.value
        for point in points
        for head, outcome in point.outcomes.items()
        if isinstance(outcome, DomainError)
    }
    assert failed == {(2, "contrastive"): "image_undecodable", (2, "progress"): "image_undecodable"}
    assert [roles(query, sent) for query in scorer.asked("contrastive")] == [
        {"previous": 0, "current": 1},
        {"previous": 1, "current": 3},
        {"previous": 3, "current": 4},
    ]
    assert summary.heads["progress"].failed == 1


async def test_when_the_first_frame_is_broken_the_first_good_one_is_the_initial_one() -> None:
    scorer, sent = ScriptedScorer(), frames(3)
    points, _ = await scored(scorer, spec_of("progress"), [broken(), *sent[1:]])
    assert isinstance(points[0].outcomes["progress"], DomainError)
    assert [roles(query, sent) for query in scorer.asked("progress")] == [
        {"initial": 1, "current": 1},
        {"initial": 1, "current": 2},
    ]


async def test_a_frame_of_another_size_fails_alone() -> None:
    scorer, sent = ScriptedScorer(), frames(3)
    (other,) = frames(1, height=16)
    points, _ = await scored(scorer, spec_of("contrastive"), [sent[0], other, sent[2]])
    outcome = points[1].outcomes["contrastive"]
    assert isinstance(outcome, DomainError)
    assert outcome.field == "frame"
    assert [roles(query, sent) for query in scorer.queries] == [{"previous": 0, "current": 2}]


async def test_a_model_that_fails_at_a_frame_changes_no_other() -> None:
    sent = frames(4)

    def answers(query: Query) -> float | DomainError:
        if query.frames[Role.CURRENT] is sent[1]:
            return DomainError(ErrorCode.LABEL_MASS_LOW, "not answering")
        return 1.0

    scorer = ScriptedScorer(answers)
    points, _ = await scored(scorer, spec_of("contrastive"), sent)
    outcomes = [point.outcomes.get("contrastive") for point in points]
    assert isinstance(outcomes[1], DomainError)
    assert isinstance(outcomes[2], Reply)
    assert roles(scorer.queries[1], sent) == {"previous": 1, "current": 2}


async def test_a_window_is_the_whole_trajectory_once() -> None:
    scorer, sent = WindowScorer(), frames(5)
    points, _ = await scored(scorer, spec_of("roboreward", "progress", fps=4.0), sent)
    assert [list(point.outcomes) for point in points] == [["progress"]] * 4 + [
        ["roboreward", "progress"]
    ]
    (query,) = scorer.asked("roboreward")
    assert [entry.frame for entry in query.window] == sent
    assert [entry.index for entry in query.window] == [0, 1, 2, 3, 4]
    assert query.fps == 4.0


async def test_windows_of_prefixes_grow_by_what_is_scored() -> None:
    scorer, sent = WindowScorer(), frames(6)
    spec = spec_of("roboreward", every=2, windows=Windows.PREFIXES, fps=10.0)
    points, _ = await scored(scorer, spec, sent)
    assert [list(point.outcomes) for point in points] == [["roboreward"]] * 4
    windows = sorted(
        ([sent.index(each.frame) for each in q.window] for q in scorer.queries), key=len
    )
    assert windows == [[0], [0, 2], [0, 2, 4], [0, 2, 4, 5]]
    longest = max(scorer.queries, key=lambda query: len(query.window))
    assert [entry.index for entry in longest.window] == [0, 2, 4, 5]


async def test_a_windows_frames_stand_at_their_times() -> None:
    scorer, sent = WindowScorer(), frames(4)
    times = [5.0, 5.1, 6.0, 7.0]
    await scored(scorer, spec_of("roboreward", fps=10.0), sent, times=times)
    (query,) = scorer.queries
    assert [entry.index for entry in query.window] == [0, 1, 10, 20]


async def test_a_rate_is_made_of_the_times_when_none_is_named() -> None:
    scorer, sent = WindowScorer(), frames(5)
    _, summary = await scored(scorer, spec_of("roboreward"), sent, times=[0.0, 0.5, 1.0, 1.5, 2.0])
    assert summary.fps == 2.0
    assert scorer.queries[0].fps == 2.0


async def test_a_broken_frame_is_left_out_of_windows_and_fails_its_own_prefix() -> None:
    scorer, sent = WindowScorer(), frames(4)
    sent[1] = broken()
    spec = spec_of("roboreward", windows=Windows.PREFIXES, fps=1.0)
    points, _ = await scored(scorer, spec, sent)
    assert isinstance(points[1].outcomes["roboreward"], DomainError)
    assert [[sent.index(e.frame) for e in q.window] for q in scorer.queries] == [
        [0],
        [0, 2],
        [0, 2, 3],
    ]


async def test_a_whole_trajectory_without_its_last_frame_is_not_judged() -> None:
    scorer = WindowScorer()
    points, _ = await scored(scorer, spec_of("roboreward", fps=1.0), [*frames(3), broken()])
    assert isinstance(points[-1].outcomes["roboreward"], DomainError)
    assert scorer.queries == []


async def test_a_window_over_the_limit_of_bytes_fails_and_frame_heads_go_on() -> None:
    scorer, sent = WindowScorer(), frames(6)
    spec = spec_of("roboreward", "progress", fps=1.0)
    points, _ = await scored(scorer, spec, sent, max_bytes=3 * sent[0].nbytes)
    outcome = points[-1].outcomes["roboreward"]
    assert isinstance(outcome, DomainError)
    assert "max_trajectory_mib" in outcome.message
    assert all(isinstance(point.outcomes["progress"], Reply) for point in points)


async def test_min_max_maps_log_probabilities_from_least_to_most() -> None:
    values = {1: 0.2, 2: 0.7, 3: 0.45}
    scorer = WindowScorer(lambda query: values[len(query.window)])
    spec = spec_of("topreward", fps=1.0, windows=Windows.PREFIXES, normalise=Normalise.MIN_MAX)
    _, summary = await scored(scorer, spec, frames(3))
    assert summary.heads["topreward"].normalised == pytest.approx((0.0, 1.0, 0.5))


async def test_a_flat_trajectory_has_no_normalised_values_and_says_why() -> None:
    scorer = WindowScorer(lambda query: 0.3)
    spec = spec_of("topreward", fps=1.0, windows=Windows.PREFIXES, normalise=Normalise.MIN_MAX)
    points, summary = await scored(scorer, spec, frames(3))
    told = summary.heads["topreward"]
    assert told.normalised is None
    assert told.normalise_error is not None
    assert told.normalise_error.field == "normalise"
    assert all(isinstance(point.outcomes["topreward"], Reply) for point in points)


@given(
    logs=st.lists(
        st.one_of(st.none(), st.floats(-1e3, 0.0, allow_nan=False)), min_size=1, max_size=30
    ).filter(lambda logs: any(log is not None for log in logs))
)
def test_min_max_keeps_the_order_and_the_gaps(logs: list[float | None]) -> None:
    mapped = min_max("topreward", logs)
    known = [log for log in logs if log is not None]
    if isinstance(mapped, DomainError):
        assert min(known) == max(known)
        return
    values = [value for value in mapped if value is not None]
    assert [value is None for value in mapped] == [log is None for log in logs]
    assert min(values) == 0.0
    assert max(values) == 1.0
    order = sorted(range(len(known)), key=known.__getitem__)
    assert [values[at] for at in order] == sorted(values)


async def test_a_video_without_a_rate_is_refused_as_a_whole() -> None:
    for windows in Windows:
        with pytest.raises(DomainError) as refused:
            await scored(WindowScorer(), spec_of("roboreward", windows=windows), frames(4))
        assert refused.value.field == "fps"


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (spec_of(), "heads"),
        (spec_of("progress", "progress"), "heads"),
        (spec_of("progress", "beauty"), "heads[1]"),
        (spec_of("progress", every=0), "every"),
        (spec_of("progress", fps=0.0), "fps"),
        (spec_of("progress", fps=float("nan")), "fps"),
        (spec_of("progress", views=("a", "a")), "views"),
        (spec_of("roboreward", views=("a", "b")), "views"),
        (spec_of("progress", normalise=Normalise.MIN_MAX), "normalise"),
        (spec_of("topreward", normalise=Normalise.MIN_MAX), "windows"),
        (TrajectorySpec(task=" ", heads=("progress",)), "task"),
        (spec_of("contrastive", margin=0.7), "margin"),
    ],
)
async def test_what_no_frame_can_make_right_is_refused_as_a_whole(
    spec: TrajectorySpec, field: str
) -> None:
    scorer = WindowScorer()
    with pytest.raises(DomainError) as refused:
        await scored(scorer, spec, frames(4))
    assert refused.value.field == field
    assert scorer.queries == []


@pytest.mark.parametrize(
    ("times", "limits", "field"),
    [
        ([0.0, 1.0, 1.0], {}, "times"),
        ([0.0, float("nan"), 1.0], {}, "times"),
        ([0.0, 1.0], {}, "times"),
        ([], {"max_frames": 2}, "frames"),
    ],
)
async def test_frames_that_are_no_trajectory_are_refused(
    times: list[float], limits: dict[str, int], field: str
) -> None:
    with pytest.raises(DomainError) as refused:
        await scored(ScriptedScorer(), spec_of("progress"), frames(3), times=times, **limits)
    assert refused.value.field == field


async def test_no_frames_are_no_trajectory() -> None:
    with pytest.raises(DomainError, match="no frames"):
        await scored(ScriptedScorer(), spec_of("progress"), [])


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(1, 12),
    every=st.integers(1, 5),
    bad=st.sets(st.integers(0, 11)),
)
def test_dense_values_are_those_of_single_queries(count: int, every: int, bad: set[int]) -> None:
    """Whatever breaks, each point is the query that its own good frames make."""
    sent = frames(count)
    refused: list[Frame | DomainError] = [
        invalid("", "refused") if at in bad else frame for at, frame in enumerate(sent)
    ]

    def answers(query: Query) -> float:
        at = roles(query, sent)
        return (at["current"] - at.get("previous", at.get("initial", 0))) / 20

    points, _ = asyncio.run(
        scored(ScriptedScorer(answers), spec_of("contrastive", "progress", every=every), refused)
    )
    grid = [at for at in range(count) if at % every == 0 or at == count - 1]
    assert [point.index for point in points] == grid
    initial = previous = None
    for point in points:
        found = {
            head: outcome.value
            for head, outcome in point.outcomes.items()
            if isinstance(outcome, Reply)
        }
        if point.index in bad:
            assert found == {}
            continue
        initial = point.index if initial is None else initial
        expected = {"progress": (point.index - initial) / 20}
        if previous is not None:
            expected["contrastive"] = (point.index - previous) / 20
        assert found == pytest.approx(expected)
        previous = point.index
