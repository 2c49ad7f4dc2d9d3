"""What an episode is opened with, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lrm_client.clock import ClockConfig, Phase
from lrm_server.episodes.opening import MAX_ID_LENGTH, MAX_STEP, clock_config
from lrm_server.episodes.types import EpisodeSpec, OpenedEpisode
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.heads.catalogue import HeadCatalogue
from lrm_server.heads.profile import Role
from lrm_server.heads.query import Query
from tests.episodes.support import Bench, frame, spec, step


async def test_an_opening_names_the_first_due_step_and_the_neutral_values(bench: Bench) -> None:
    clock = ClockConfig(interval=5, phase=Phase.ALIGNED, offset=3)
    opened = await bench.open("tri", "progress", clock=clock)
    assert opened.id == "e"
    assert opened.next_query_step == 2
    assert opened.neutral == pytest.approx({"tri": 1 / 6, "progress": 0.0})
    assert bench.service.open_count == 1


async def test_an_empty_id_is_made_by_the_server_and_can_be_stepped(bench: Bench) -> None:
    first, second = await bench.service.open([spec("progress", episode="")] * 2)
    assert isinstance(first, OpenedEpisode)
    assert isinstance(second, OpenedEpisode)
    assert first.id != second.id
    assert (await bench.take(0, episode=first.id)).episode == first.id


async def test_opening_again_with_the_same_specification_answers_as_at_first(bench: Bench) -> None:
    first = await bench.open("progress")
    await bench.run_to(4)
    assert await bench.open("progress") == first
    assert bench.service.open_count == 1
    assert (await bench.take(5)).rewards[0].age == 2


@pytest.mark.parametrize(
    "other",
    [
        spec("completion"),
        spec("progress", clock=ClockConfig(interval=4)),
        replace(spec("progress"), task="another task"),
        spec("progress", swap=True),
    ],
    ids=["heads", "clock", "task", "swap"],
)
async def test_an_id_that_is_open_with_another_specification_is_refused(
    bench: Bench, other: EpisodeSpec
) -> None:
    await bench.open("progress")
    refused = await bench.refusal_of(other)
    assert (refused.code, refused.field) == (ErrorCode.EPISODE_EXISTS, "id")
    assert (await bench.run_to(3)).rewards[0].head == "progress"


@pytest.mark.parametrize(
    ("wrong", "code", "field"),
    [
        (replace(spec("progress"), task=" \n"), "invalid_argument", "task"),
        (spec(), "invalid_argument", "heads"),
        (spec("progress", "tri", "progress"), "invalid_argument", "heads[2]"),
        (spec("progress", "grasp"), "unknown_head", "heads[1]"),
        (spec("contrastive", margin=0.7), "invalid_argument", "margin"),
        (spec("progress", episode="a/b"), "invalid_argument", "id"),
        (spec("progress", episode="a\nb"), "invalid_argument", "id"),
        (spec("progress", episode="a" * (MAX_ID_LENGTH + 1)), "invalid_argument", "id"),
    ],
    ids=["task", "no heads", "twice", "unknown", "margin", "slash", "control", "long"],
)
async def test_a_wrong_specification_is_refused_by_field_and_the_others_open(
    bench: Bench, wrong: EpisodeSpec, code: str, field: str
) -> None:
    before, refused, after = await bench.service.open(
        [spec("progress", episode="before"), wrong, spec("progress", episode="after")]
    )
    assert isinstance(refused, DomainError)
    assert (refused.code.value, refused.field) == (code, field)
    assert isinstance(before, OpenedEpisode)
    assert isinstance(after, OpenedEpisode)
    assert bench.service.open_count == 2


async def test_a_head_that_needs_a_frame_no_episode_has_is_refused(bench: Bench) -> None:
    catalogue = bench.scorer.catalogue
    goal = replace(catalogue["progress"], name="to_goal", required_frames=(Role.GOAL, Role.CURRENT))
    bench.scorer.catalogue = HeadCatalogue([*catalogue.values(), goal], catalogue.model)
    refused = await bench.refusal_of(spec("progress", "to_goal"))
    assert (refused.code, refused.field) == (ErrorCode.INVALID_ARGUMENT, "heads[1]")
    assert "goal" in refused.message


async def test_what_fails_inside_is_an_error_of_that_episode_without_its_cause(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(query: Query) -> None:
        if query.head == "progress":
            raise RuntimeError("secret detail")

    monkeypatch.setattr(bench.scorer, "check", check)
    refused, opened = await bench.service.open([spec("progress"), spec("tri", episode="other")])
    assert isinstance(refused, DomainError)
    assert refused.code is ErrorCode.INTERNAL
    assert "secret" not in refused.message
    assert isinstance(opened, OpenedEpisode)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"interval": 0}, "interval"),
        ({"interval": 2.5}, "interval"),
        ({"interval": MAX_STEP + 1}, "interval"),
        ({"scale": float("nan")}, "scale"),
        ({"hold": "keep"}, "hold"),
        ({"phase": "global"}, "phase"),
        ({"interval": 3, "offset": 0.5}, "offset"),
    ],
    ids=str,
)
def test_a_clock_that_means_nothing_is_refused_by_its_field(
    given: dict[str, object], field: str
) -> None:
    with pytest.raises(DomainError) as refused:
        clock_config(**given)  # type: ignore[arg-type]
    assert (refused.value.code, refused.value.field) == (ErrorCode.INVALID_ARGUMENT, field)


def test_a_clock_is_what_it_was_given() -> None:
    given = clock_config(interval=4, scale=-2.0, phase=Phase.ALIGNED, offset=6)
    assert given == ClockConfig(4, -2.0, phase=Phase.ALIGNED, offset=2)
    assert clock_config() == ClockConfig()


async def test_closing_forgets_and_closing_twice_is_no_error(bench: Bench) -> None:
    await bench.open("contrastive")
    await bench.run_to(3)
    assert bench.service.frame_bytes > 0
    assert await bench.service.close(["e", "never", "e"]) == [True, False, False]
    assert (bench.service.open_count, bench.service.frame_bytes) == (0, 0)
    refused = await bench.refused(4)
    assert (refused.code, refused.field) == (ErrorCode.EPISODE_NOT_FOUND, "episode")


async def test_an_id_that_was_closed_opens_from_the_start(bench: Bench) -> None:
    await bench.open("progress")
    await bench.run_to(3)
    await bench.service.close(["e"])
    await bench.open("completion")
    assert (await bench.refused(4)).step == 0
    (answer,) = await bench.service.step([step(0, frame=frame(9))])
    assert answer.step == 0
