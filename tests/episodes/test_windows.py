"""Windows of video heads in episodes: the frames of the query points, bounded."""

from __future__ import annotations

from itertools import pairwise

from lrm_client.clock import ClockConfig, Source
from lrm_server.heads.catalogue import HeadCatalogue
from lrm_server.heads.library import load_profile
from lrm_server.heads.profile import LabelProfile
from lrm_server.heads.query import Query
from tests.episodes.support import Bench, failing, spec
from tests.scripted_scorer import served_label_head

K2 = ClockConfig(interval=2)


def bench(max_frames: int = 64) -> Bench:
    """A service whose scorer serves roboreward beside LRM's heads."""
    profile = load_profile("roboreward")
    assert isinstance(profile, LabelProfile)
    assert profile.window is not None
    window = profile.window.model_copy(update={"max_frames": max_frames})
    made = Bench()
    catalogue = made.scorer.catalogue
    video = served_label_head(profile.model_copy(update={"window": window}))
    made.scorer.catalogue = HeadCatalogue([*catalogue.values(), video], catalogue.model)
    return made


def steps_of(query: Query) -> list[tuple[int | None, int]]:
    """Of each frame of a query's window: its number, and the step that its pixels tell."""
    return [(each.index, int(each.frame.pixels()[0, 0, 1])) for each in query.window]


async def test_the_window_is_the_frames_of_the_query_points() -> None:
    made = bench()
    await made.open("roboreward", clock=K2, fps=10.0)
    for number in range(6):
        await made.take(number)
    await made.take(7, final=True)
    seen = [[at for at, _ in steps_of(query)] for query in made.scorer.queries]
    assert seen == [[0, 2], [0, 2, 4], [0, 2, 4, 7]]
    assert all(at == shows for query in made.scorer.queries for at, shows in steps_of(query))
    assert {query.fps for query in made.scorer.queries} == {10.0}


async def test_a_query_that_failed_leaves_no_frame_behind() -> None:
    made = bench()
    made.scorer.answers = lambda query: failing() if len(made.scorer.queries) == 1 else 0.5
    await made.open("roboreward", clock=K2, fps=10.0)
    for number in range(4):
        answer = await made.take(number)
    assert [[at for at, _ in steps_of(query)] for query in made.scorer.queries] == [[0, 2], [0, 3]]
    assert answer.rewards[0].source is Source.QUERIED


async def test_what_is_kept_is_bounded_and_stays_spread_over_the_episode() -> None:
    most = 4
    made = bench(most)
    await made.open("roboreward", clock=ClockConfig(interval=1), fps=10.0)
    for number in range(100):
        await made.take(number)
        kept = (await made.store.get("e")).frames
        assert len(kept) <= 2 * most
        assert 0 in kept
        assert number in kept
    assert max(later - earlier for earlier, later in pairwise(kept)) <= 100 / most
    assert made.store.frame_bytes == sum(each.nbytes for each in kept.values())


async def test_nothing_is_kept_after_the_final_step() -> None:
    made = bench()
    await made.open("roboreward", clock=K2, fps=10.0)
    for number in range(4):
        await made.take(number, final=number == 3)
    assert made.store.frame_bytes == 0


async def test_heads_of_windows_and_of_single_frames_share_frames() -> None:
    made = bench()
    await made.open("roboreward", "contrastive", clock=K2, fps=10.0)
    for number in range(5):
        await made.take(number)
    assert list((await made.store.get("e")).frames) == [0, 2, 4]


async def test_a_video_head_without_a_frame_rate_is_refused_when_the_episode_opens() -> None:
    made = bench()
    refused = await made.refusal_of(spec("roboreward", clock=K2))
    assert refused.field == "fps"
