"""Frames in memory that client and server share, by the real client on the real server."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from lrm_client import AsyncRewardClient, EpisodeSpec, EpisodeStep, LrmError, Query, Reply
from lrm_client.shared_memory import FILE_NAME, TOKEN_BYTES
from lrm_client.wire import reward_pb2 as pb
from lrm_server.config import settings_from
from lrm_server.heads.profile import Role
from tests.api.conftest import Serve, Served
from tests.api.frames import jpeg, pixels
from tests.api.wire import TASK, problem_of
from tests.memory_files import memory_files
from tests.project.layers import ROOT
from tests.scripted_scorer import ScriptedScorer

OFF_LOOPBACK = {"host": "0.0.0.0", "token": "t"}  # noqa: S104
FRAMES = [pixels(seed=seed) for seed in range(4)]


async def sharing(served: Served, **options: Any) -> AsyncRewardClient:
    return await served.client("grpc", shared_memory=True, **options)


def queries(frames: list[Any]) -> list[Query]:
    return [Query("progress", TASK, current=frame) for frame in frames]


class Memory:
    """A memory file with a token and pixels, as a client makes it; and a request on it."""

    def __init__(self, frames: list[np.ndarray], name: str = FILE_NAME) -> None:
        self.descriptor = os.memfd_create(name)
        self.token = os.urandom(TOKEN_BYTES)
        os.pwrite(self.descriptor, self.token + b"".join(f.tobytes() for f in frames), 0)
        self.count = len(frames)

    def request(self, layout: str = "tensor", **changes: Any) -> pb.ScoreRequest:
        """Asks about every frame, and about one that is sent in the request itself."""
        said = {"process": os.getpid(), "descriptor": self.descriptor, "token": self.token}
        shared = pb.SharedPixels(**{**said, "offset": TOKEN_BYTES, **changes})
        request = pb.ScoreRequest()
        if layout == "tensor":
            tensor = request.frames.tensor
            tensor.count, tensor.height, tensor.width = self.count, 32, 32
            tensor.shared.CopyFrom(shared)
        else:
            for _ in range(self.count):
                frame = pb.Frame(encoding=pb.ENCODING_RAW, height=32, width=32, shared=shared)
                request.frames.list.frames.append(frame)
                shared.offset += 32 * 32 * 3
            request.frames.list.frames.add(encoding=pb.ENCODING_JPEG, data=jpeg())
        for index in range(self.count + (layout == "list")):
            request.queries.add(head="progress", task=TASK, current=index)
        return request


@pytest.fixture
def memory() -> Iterator[Memory]:
    made = Memory(FRAMES)
    yield made
    os.close(made.descriptor)


async def test_the_server_sees_the_pixels_that_came_inline(
    served: Served, scorer: ScriptedScorer
) -> None:
    for client in (await served.client("grpc"), await sharing(served)):
        replies = await client.score_batch(queries(FRAMES))
        assert all(isinstance(reply, Reply) for reply in replies)
    inline, shared = scorer.queries[:4], scorer.queries[4:]
    for one, other in zip(inline, shared, strict=True):
        assert one.frames[Role.CURRENT].digest == other.frames[Role.CURRENT].digest
        pixels_of = (one.frames[Role.CURRENT].pixels(), other.frames[Role.CURRENT].pixels())
        assert np.array_equal(*pixels_of)


async def test_frames_of_many_kinds_travel_together(served: Served, scorer: ScriptedScorer) -> None:
    client = await sharing(served)
    sent = [pixels(16, 24), jpeg(seed=3), pixels(600, 500), pixels(16, 16)]
    replies = await client.score_batch(queries(sent))
    assert all(isinstance(reply, Reply) for reply in replies)
    for query, frame in zip(scorer.queries, sent, strict=True):
        seen = query.frames[Role.CURRENT]
        if isinstance(frame, bytes):
            assert seen.data == frame
        else:
            # Larger than those that ``auto`` sends raw inline: nothing is lost all the same.
            assert np.array_equal(seen.pixels(), frame)


async def test_the_request_carries_no_pixels(served: Served) -> None:
    client = await sharing(served, max_message_bytes=4096)
    replies = await client.score_batch(queries([pixels(256, 256)]))
    assert isinstance(replies[0], Reply)


async def test_an_episode_keeps_its_frames_when_the_memory_is_used_again(
    served: Served, scorer: ScriptedScorer
) -> None:
    client = await sharing(served)
    (opened,) = await client.open_episodes([EpisodeSpec(TASK, ["contrastive"], interval=1)])
    assert not isinstance(opened, LrmError)
    for step, frame in enumerate(FRAMES):
        await client.step_episodes([EpisodeStep(opened.id, step, frame)])
    pairs = [(q.frames[Role.PREVIOUS], q.frames[Role.CURRENT]) for q in scorer.queries]
    for at, (previous, current) in enumerate(pairs):
        assert np.array_equal(previous.pixels(), FRAMES[at])
        assert np.array_equal(current.pixels(), FRAMES[at + 1])


async def test_many_steps_in_flight_bring_each_its_own_frames(
    served: Served, scorer: ScriptedScorer
) -> None:
    count, steps = 3, 12
    film = [np.stack([pixels(seed=100 * at + t) for at in range(count)]) for t in range(steps)]
    seen: list[bytes] = []

    async def later(query: Any) -> None:
        await asyncio.sleep(0.01)
        seen.append(query.frames[Role.CURRENT].pixels().tobytes())

    scorer.pause = later
    client = await sharing(served)
    episodes = client.vector_episodes(count, TASK, ["progress"], interval=1)
    await episodes.reset(film[0])
    handles = [await episodes.submit(frames) for frames in film[1:]]
    rewards = await episodes.gather(handles)
    await episodes.close()
    assert rewards.valid.all()
    assert seen == [frame.tobytes() for frames in film[1:] for frame in frames]


async def test_a_trajectory_is_scored_from_shared_memory(
    served: Served, scorer: ScriptedScorer
) -> None:
    film = np.stack([pixels(seed=seed) for seed in range(20)])
    for client in (await sharing(served), await served.client("grpc")):
        scores = await client.score_trajectory(film, TASK, ["progress"], fps=5.0)
        assert scores["progress"].valid.all()
    digests = [query.frames[Role.CURRENT].digest for query in scorer.queries]
    assert digests[:20] == digests[20:]
    assert len(set(digests)) == 20


@pytest.mark.parametrize("layout", ["tensor", "list"])
async def test_both_layouts_are_read(
    served: Served, scorer: ScriptedScorer, memory: Memory, layout: str
) -> None:
    results = (await (await served.stub()).Score(memory.request(layout))).results
    assert all(result.HasField("reply") for result in results)
    for query, frame in zip(scorer.queries, FRAMES, strict=False):
        assert np.array_equal(query.frames[Role.CURRENT].pixels(), frame)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a process that is gone": ({"process": 2**22 + 1}, "does not see it"),
    "no process": ({"process": 0}, "does not see it"),
    "a descriptor that is closed": ({"descriptor": 10**6}, "does not see it"),
    "a descriptor of another kind": ({"descriptor": 0}, "no memory file"),
    "another token": ({"token": bytes(TOKEN_BYTES)}, "another request"),
    "a short token": ({"token": b"1"}, "token"),
    "an end beyond the file": ({"offset": TOKEN_BYTES + 1}, "ends before"),
    "a far offset": ({"offset": 2**63}, "ends before"),
}


@pytest.mark.parametrize("case", WRONG)
async def test_a_wrong_reference_fails_its_queries_alone(
    served: Served, memory: Memory, case: str
) -> None:
    changes, cause = WRONG[case]
    request = memory.request("list", **changes)
    *wrong, last = (await (await served.stub()).Score(request)).results
    # The frames before the end of the file are there even where the last one is not.
    error = wrong[-1].error
    assert (error.code, error.field) == ("invalid_argument", f"queries[{len(wrong) - 1}].current")
    assert cause in error.message
    assert "shared_memory=False" in error.message
    assert last.HasField("reply")
    assert memory_files() == 1


@pytest.mark.parametrize("name", ["other", "lrm-frames (deleted)"])
async def test_a_memory_file_of_another_name_is_not_read(served: Served, name: str) -> None:
    made = Memory(FRAMES, name)
    try:
        results = (await (await served.stub()).Score(made.request())).results
    finally:
        os.close(made.descriptor)
    assert all("no memory file" in result.error.message for result in results)


async def test_memory_of_another_user_is_not_read(
    served: Served, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 12345)
    results = (await (await served.stub()).Score(memory.request())).results
    assert all("another user's" in result.error.message for result in results)


async def test_memory_that_is_cut_short_while_it_is_read_fails_its_queries(
    served: Served, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    pread = os.pread

    def cut(descriptor: int, size: int, offset: int) -> bytes:
        os.ftruncate(memory.descriptor, TOKEN_BYTES + 5)
        return pread(descriptor, size, offset)

    monkeypatch.setattr("os.pread", cut)
    results = (await (await served.stub()).Score(memory.request())).results
    assert all("ends before" in result.error.message for result in results)


async def test_what_is_written_later_changes_nothing(
    served: Served, scorer: ScriptedScorer, memory: Memory
) -> None:
    """Hash and pixels are of one copy, which nobody else can write to."""

    async def overwrite(query: Any) -> None:
        os.pwrite(memory.descriptor, bytes(len(FRAMES) * FRAMES[0].nbytes), TOKEN_BYTES)

    scorer.pause = overwrite
    client = await served.client("grpc")
    await (await served.stub()).Score(memory.request())
    scorer.pause = None
    await client.score_batch(queries(FRAMES))
    for shared, inline in zip(scorer.queries[:4], scorer.queries[4:], strict=True):
        one, other = shared.frames[Role.CURRENT], inline.frames[Role.CURRENT]
        assert one.digest == other.digest
        assert np.array_equal(one.pixels(), other.pixels())


async def test_frames_of_the_next_request_do_not_stand_in(served: Served, memory: Memory) -> None:
    """A request that is read late, after its client wrote the next one's frames."""
    request = memory.request()
    os.pwrite(memory.descriptor, os.urandom(TOKEN_BYTES) + FRAMES[3].tobytes(), 0)
    results = (await (await served.stub()).Score(request)).results
    assert all("another request" in result.error.message for result in results)


async def test_more_than_a_message_may_bring_is_refused_before_it_is_read(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = await serve(max_message_mib=1)
    memory = Memory([pixels(32, 32)])
    memory.count = 400
    monkeypatch.setattr("os.pread", lambda *_: pytest.fail("it was read"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (await served.stub()).Score(memory.request())
    os.close(memory.descriptor)
    problem = problem_of(caught.value)
    assert (problem.code, problem.field) == ("invalid_argument", "frames")
    assert "1048576" in problem.message


async def test_a_frame_over_the_limit_is_refused_before_it_is_read(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = await serve(max_frame_mib=1)
    client = await sharing(served)
    monkeypatch.setattr("os.pread", lambda *_: pytest.fail("it was read"))
    (error,) = await client.score_batch(queries([pixels(600, 600)]))
    assert isinstance(error, LrmError)
    assert error.code == "image_too_large"


async def test_a_trajectory_counts_its_shared_frames(serve: Serve) -> None:
    served = await serve(max_trajectory_mib=1)
    client = await sharing(served)
    with pytest.raises(LrmError, match="1048576 bytes"):
        await client.score_trajectory(
            np.stack([pixels(256, 256, seed) for seed in range(8)]), TASK, ["progress"]
        )


@pytest.mark.parametrize("changes", [{"shared_memory": "no"}, OFF_LOOPBACK])
async def test_a_server_that_does_not_offer_it_says_so_at_the_first_use(
    serve: Serve, scorer: ScriptedScorer, memory: Memory, changes: dict[str, str]
) -> None:
    served = await serve(**changes)
    token = changes.get("token")
    client = await sharing(served, token=token)
    with pytest.raises(LrmError, match="--shared-memory yes"):
        await client.score_batch(queries(FRAMES))
    with pytest.raises(LrmError, match="--shared-memory yes"):
        await client.score_trajectory(FRAMES, TASK, ["progress"])
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    results = (await (await served.stub()).Score(memory.request(), metadata=metadata)).results
    assert all("reads no frames from shared memory" in r.error.message for r in results)
    assert scorer.queries == []


async def test_a_server_off_loopback_reads_it_when_it_is_told_to(serve: Serve) -> None:
    served = await serve(**OFF_LOOPBACK, shared_memory="yes")
    client = await sharing(served, token=OFF_LOOPBACK["token"])
    assert isinstance((await client.score_batch(queries(FRAMES)))[0], Reply)


@pytest.mark.parametrize(
    ("host", "word", "reads"),
    [
        ("127.0.0.1", "", True),
        ("127.0.0.1", "no", False),
        ("0.0.0.0", "", False),  # noqa: S104
        ("0.0.0.0", "yes", True),  # noqa: S104
    ],
)
def test_a_settings_file_says_it_in_words(
    tmp_path: Path, host: str, word: str, reads: bool
) -> None:
    file = tmp_path / "lrm.yaml"
    file.write_text(f"host: {host}\ntoken: t\n" + (f"shared_memory: {word}\n" if word else ""))
    assert settings_from({}, file).reads_shared_memory == reads


LEARNER = """
import numpy as np, sys, time
from lrm_client import Query, RewardClient
client = RewardClient(sys.argv[1], shared_memory=True)
frames = np.random.default_rng(7).integers(0, 256, (5, 48, 64, 3), dtype=np.uint8)
replies = client.score_batch([Query("progress", "pick", current=frame) for frame in frames])
print([reply.value for reply in replies], flush=True)
time.sleep(60)
"""


async def test_a_learner_in_a_process_of_its_own(served: Served, scorer: ScriptedScorer) -> None:
    learner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LEARNER, served.grpc_target, stdout=subprocess.PIPE, cwd=ROOT
    )
    assert learner.stdout is not None
    try:
        line = await asyncio.wait_for(learner.stdout.readline(), 60)
    finally:
        # Killed with its memory open: the server, which has copied its frames, is unharmed.
        learner.kill()
        await learner.wait()
    assert line == b"[0.5, 0.5, 0.5, 0.5, 0.5]\n"
    sent = np.random.default_rng(7).integers(0, 256, (5, 48, 64, 3), dtype=np.uint8)
    for query, frame in zip(scorer.queries, sent, strict=True):
        assert np.array_equal(query.frames[Role.CURRENT].pixels(), frame)
