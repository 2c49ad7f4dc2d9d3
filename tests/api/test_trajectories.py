"""Trajectories through the real client: both transports give the same answers."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import numpy as np
import pytest
import pytest_asyncio

from lrm_client import (
    AsyncRewardClient,
    InvalidRequest,
    LrmError,
    RewardClient,
    UnknownHead,
    WindowFrame,
)
from lrm_client import Query as Asked
from lrm_client.errors import Overloaded, TrajectoryFailed
from lrm_client.trajectories import TrajectoryPoint
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.heads.profile import Role
from lrm_server.heads.query import Query
from tests.api.conftest import Serve, Served
from tests.api.frames import jpeg, pixels, png
from tests.scripted_scorer import ScriptedScorer
from tests.trajectories.support import TASK, WindowScorer, video

FRAMES = np.stack([pixels(seed=seed) for seed in range(7)])
LEVELS = [10, 60, 110, 160, 210]


@pytest.fixture
def scorer() -> ScriptedScorer:
    return WindowScorer(by_brightness)


def by_brightness(query: Query) -> float:
    frame = query.window[-1].frame if query.window else query.frames[Role.CURRENT]
    return round(float(frame.pixels().mean()) / 255, 3)


@pytest_asyncio.fixture
async def small(serve: Serve, transport: str) -> AsyncRewardClient:
    """A server that takes little."""
    served = await serve(max_trajectory_mib=1, max_trajectory_frames=5)
    return await served.client(transport)


async def test_values_are_those_of_single_queries(client: AsyncRewardClient) -> None:
    scores = await client.score_trajectory(FRAMES, TASK, ["progress", "contrastive"], fps=10)
    single = [(await client.progress(frame, TASK, initial=FRAMES[0])).value for frame in FRAMES]
    pairs = [
        (await client.contrastive(before, after, TASK)).value for before, after in pairwise(FRAMES)
    ]
    assert scores["progress"].values == pytest.approx(single)
    assert scores["contrastive"].values == pytest.approx(pairs)
    assert scores["contrastive"].indices.tolist() == [1, 2, 3, 4, 5, 6]
    assert scores["progress"].times == pytest.approx([at / 10 for at in range(7)])
    assert (scores.frames, scores.fps, len(scores.points)) == (7, 10.0, 7)
    assert scores["progress"].values.dtype == np.float32


async def test_every_nth_frame_and_the_last_travel_with_their_times(
    client: AsyncRewardClient, scorer: ScriptedScorer
) -> None:
    scores = await client.score_trajectory(FRAMES, TASK, ["progress"], every=4, fps=2)
    assert scores["progress"].indices.tolist() == [0, 4, 6]
    assert scores["progress"].times.tolist() == [0.0, 2.0, 3.0]
    assert scores.frames == 7
    assert len(scorer.queries) == 3


async def test_a_video_is_decoded_by_the_server(
    client: AsyncRewardClient, scorer: ScriptedScorer
) -> None:
    scores = await client.score_trajectory(video(LEVELS), TASK, ["progress"], every=2)
    assert scores["progress"].indices.tolist() == [0, 2, 4]
    assert scores["progress"].times == pytest.approx([0.0, 0.2, 0.4])
    expected = [LEVELS[at] / 255 for at in (0, 2, 4)]
    assert scores["progress"].values == pytest.approx(expected, abs=0.03)
    assert (scores.frames, scores.fps) == (5, 10.0)


async def test_a_point_that_failed_is_raised_with_the_others_in_it(
    client: AsyncRewardClient, scorer: ScriptedScorer
) -> None:
    frames = [png(seed=0), jpeg()[:-200], png(seed=2)]
    with pytest.raises(TrajectoryFailed) as raised:
        await client.score_trajectory(frames, TASK, ["progress"])
    (failure,) = raised.value.failures
    assert (failure.frame, failure.head) == (1, "progress")
    assert isinstance(failure.error, InvalidRequest)
    assert np.isnan(raised.value.scores["progress"].values).tolist() == [False, True, False]
    masked = await client.score_trajectory(frames, TASK, ["progress"], failure="mask")
    assert masked["progress"].valid.tolist() == [True, False, True]
    assert masked["progress"].errors[1] is not None
    assert masked["progress"].replies[1] is None


async def test_a_model_that_fails_is_no_value(
    client: AsyncRewardClient, scorer: ScriptedScorer
) -> None:
    scorer.answers = lambda query: DomainError(ErrorCode.LABEL_MASS_LOW, "not answering")
    scores = await client.score_trajectory(FRAMES, TASK, ["tri"], failure="mask")
    assert np.isnan(scores["tri"].values).all()
    assert {error.code for error in scores["tri"].errors if error} == {"component_failed"}


async def test_prefixes_are_normalised(client: AsyncRewardClient) -> None:
    scores = await client.score_trajectory(
        video(LEVELS), TASK, ["topreward"], windows="prefixes", normalise="min_max"
    )
    head = scores["topreward"]
    assert head.normalised is not None
    assert head.normalised.dtype == np.float32
    assert head.normalised == pytest.approx([0.0, 0.25, 0.5, 0.75, 1.0], abs=0.03)
    assert all(reply is not None and reply.log_probability is not None for reply in head.replies)


async def test_a_flat_trajectory_says_why_it_has_no_normalised_values(
    client: AsyncRewardClient,
) -> None:
    scores = await client.score_trajectory(
        [png()] * 3, TASK, ["topreward"], fps=1, windows="prefixes", normalise="min_max"
    )
    assert scores["topreward"].normalised is None
    assert isinstance(scores["topreward"].normalise_error, InvalidRequest)
    assert np.isfinite(scores["topreward"].values).all()


async def test_a_value_for_each_frame_of_the_window_is_answered(
    client: AsyncRewardClient,
) -> None:
    scores = await client.score_trajectory(FRAMES[:3], TASK, ["roboreward"], fps=2)
    (reply,) = scores["roboreward"].replies
    assert reply is not None
    assert reply.series == {"progress": (0.25, None, None)}


async def test_frames_of_a_single_window_say_where_they_stand(
    client: AsyncRewardClient, scorer: ScriptedScorer
) -> None:
    window = [WindowFrame(FRAMES[0], index=0), WindowFrame(FRAMES[1], index=7)]
    await client.score(Asked("roboreward", TASK, window=window, fps=10))
    (query,) = scorer.queries
    assert [entry.index for entry in query.window] == [0, 7]


async def test_several_cameras_bring_a_frame_each(
    client: AsyncRewardClient, scorer: ScriptedScorer
) -> None:
    both = {"front": list(FRAMES[:3]), "wrist": list(FRAMES[3:6])}
    scores = await client.score_trajectory(both, TASK, ["progress"])
    assert scores["progress"].indices.tolist() == [0, 1, 2]
    seen = [query.frames[Role.CURRENT].pixels() for query in scorer.queries]
    assert all(np.array_equal(one, other) for one, other in zip(seen, FRAMES, strict=False))


async def test_options_reach_the_heads(client: AsyncRewardClient, scorer: ScriptedScorer) -> None:
    scores = await client.score_trajectory(
        FRAMES[:2],
        TASK,
        ["contrastive"],
        swap=True,
        margin=0.25,
        use="expected",
        readout="likelihood",
        return_text=True,
    )
    (query,) = scorer.queries
    assert (query.swap, query.margin, query.use, query.return_text) == (
        True,
        0.25,
        "expected",
        True,
    )
    (reply,) = scores["contrastive"].replies
    assert reply is not None
    assert reply.text == "scripted"


async def test_points_are_told_as_they_come(client: AsyncRewardClient) -> None:
    told: list[TrajectoryPoint] = []
    await client.score_trajectory(iter(FRAMES), TASK, ["progress"], on_point=told.append)
    assert [point.index for point in told] == list(range(7))


@pytest.mark.parametrize(
    ("frames", "options", "error", "word"),
    [
        ([png()], {"heads": ["beauty"]}, UnknownHead, "beauty"),
        ([], {}, InvalidRequest, "no frames"),
        (b"no video", {}, InvalidRequest, "video"),
        ([png()] * 3, {"times": [0, 1]}, InvalidRequest, "time"),
        ([png()] * 3, {"times": [0, 2, 1]}, InvalidRequest, "times"),
        ([png(), "x"], {}, InvalidRequest, "str"),
        ([png()] * 2, {"heads": ["roboreward"]}, InvalidRequest, "frames a second"),
        ([png()], {"fps": -1.0}, InvalidRequest, "fps"),
    ],
)
async def test_what_is_no_trajectory_is_refused_as_a_whole(
    client: AsyncRewardClient,
    scorer: ScriptedScorer,
    frames: object,
    options: dict[str, object],
    error: type[LrmError],
    word: str,
) -> None:
    asked = {"heads": ["progress"], **options}
    with pytest.raises(error, match=word):
        await client.score_trajectory(frames, TASK, **asked)  # type: ignore[arg-type]


async def test_more_frames_than_the_limit_are_refused(small: AsyncRewardClient) -> None:
    with pytest.raises(InvalidRequest, match="limit"):
        await small.score_trajectory([png()] * 6, TASK, ["progress"])
    with pytest.raises(InvalidRequest, match="5 frames"):
        await small.score_trajectory(video([9] * 6), TASK, ["progress"])


async def test_more_bytes_than_the_limit_are_refused(small: AsyncRewardClient) -> None:
    noise = [png(512, 512, seed=seed) for seed in range(3)]
    with pytest.raises(InvalidRequest, match="max_trajectory_mib"):
        await small.score_trajectory(noise, TASK, ["progress"])
    with pytest.raises(InvalidRequest, match="max_trajectory_mib"):
        await small.score_trajectory(bytes(2 * 1024 * 1024), TASK, ["progress"])


async def test_limits_are_named(client: AsyncRewardClient) -> None:
    limits = (await client.models()).limits
    assert limits.max_trajectory_bytes == 256 * 1024 * 1024
    assert limits.max_trajectory_frames == 10_000


async def test_a_trajectory_beyond_the_limit_is_told_to_come_back(
    serve: Serve, scorer: ScriptedScorer, transport: str
) -> None:
    client = await (await serve(max_trajectories=1)).client(transport)
    release = asyncio.Event()

    async def hold(query: Query) -> None:
        await release.wait()

    scorer.pause = hold
    first = asyncio.create_task(client.score_trajectory(FRAMES, TASK, ["progress"]))
    while not scorer.running:
        await asyncio.sleep(0.01)
    with pytest.raises(Overloaded):
        await client.score_trajectory(FRAMES, TASK, ["progress"])
    release.set()
    assert (await first).frames == 7
    assert (await client.score_trajectory(FRAMES, TASK, ["progress"])).frames == 7


async def test_a_caller_that_leaves_is_asked_for_no_more(
    client: AsyncRewardClient, scorer: ScriptedScorer
) -> None:
    async def hold(query: Query) -> None:
        await asyncio.sleep(600)

    scorer.pause = hold
    task = asyncio.create_task(client.score_trajectory(FRAMES, TASK, ["progress"]))
    while not scorer.running:
        await asyncio.sleep(0.01)
    task.cancel()
    while scorer.running:
        await asyncio.sleep(0.01)
    assert scorer.cancelled


async def test_the_deadline_ends_it(client: AsyncRewardClient, scorer: ScriptedScorer) -> None:
    async def hold(query: Query) -> None:
        await asyncio.sleep(600)

    scorer.pause = hold
    with pytest.raises(LrmError) as late:
        await client.score_trajectory(FRAMES, TASK, ["progress"], timeout=1.0)
    assert late.value.code in ("deadline_exceeded", "trajectory_failed")


async def test_the_blocking_client_gives_the_same(
    served: Served, client: AsyncRewardClient, transport: str
) -> None:
    target = served.grpc_target if transport == "grpc" else served.http_url

    def score() -> list[float]:
        with RewardClient(target) as blocking:
            return blocking.score_trajectory(FRAMES, TASK, ["progress"])["progress"].values.tolist()

    expected = await client.score_trajectory(FRAMES, TASK, ["progress"])
    assert await asyncio.to_thread(score) == expected["progress"].values.tolist()
