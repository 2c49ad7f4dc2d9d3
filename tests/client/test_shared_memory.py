"""The client's side of shared memory: which memory a request gets, and when it is used again."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from lrm_client import (
    AsyncRewardClient,
    FrameEncoder,
    InvalidRequest,
    LrmError,
    Query,
    Retry,
    RewardClient,
    calls,
)
from lrm_client.shared_memory import TOKEN_BYTES, SharedMemory
from lrm_client.wire import reward_pb2 as pb
from tests.client.scripted import ScriptedCore, ScriptedError
from tests.memory_files import memory_files

ONCE = Retry(attempts=1)
QUICK = Retry(attempts=3, initial_seconds=0.001, maximum_seconds=0.002)
FRAMES = np.random.default_rng(0).integers(0, 256, (3, 8, 9, 3), dtype=np.uint8)


class Reading:
    """Reads the frames of each score request out of its memory, as a server would."""

    def __init__(self, core: ScriptedCore) -> None:
        self.files: list[int] = []
        self.tokens: list[bytes] = []
        self.pixels: list[bytes] = []
        self.inline = 0
        models = core._ListModels

        def offering(request: pb.ListModelsRequest) -> pb.ListModelsResponse:
            response = models(request)
            response.limits.shared_memory = True
            return response

        core._ListModels = offering  # type: ignore[method-assign]
        self._handle, core.handle = core.handle, self._read  # type: ignore[method-assign]

    def _read(self, method: str, request: Any) -> Any:
        if method == "Score":
            tensor = request.frames.tensor
            if not tensor.HasField("shared"):
                self.inline += 1
                return self._handle(method, request)
            where = tensor.shared
            assert where.process == os.getpid()
            assert tensor.data == b""
            self.files.append(os.fstat(where.descriptor).st_ino)
            self.tokens.append(os.pread(where.descriptor, TOKEN_BYTES, 0))
            size = tensor.count * tensor.height * tensor.width * 3
            self.pixels.append(os.pread(where.descriptor, size, where.offset))
            assert self.tokens[-1] == where.token
            request.frames.Clear()
        return self._handle(method, request)


@pytest.fixture
def reading(core: ScriptedCore) -> Reading:
    return Reading(core)


@pytest.fixture
def sharing(grpc_target: str) -> Iterator[RewardClient]:
    with RewardClient(grpc_target, retry=QUICK, timeout=10.0, shared_memory=True) as client:
        yield client


def ask(client: RewardClient, frames: Any = FRAMES) -> list[Any]:
    return client.score_batch([Query("progress", "pick", current=frame) for frame in frames])


def test_frames_lie_in_memory_as_they_would_travel(sharing: RewardClient, reading: Reading) -> None:
    ask(sharing)
    assert reading.pixels == [FRAMES.tobytes()]


def test_memory_is_used_again_once_it_was_answered(sharing: RewardClient, reading: Reading) -> None:
    ask(sharing)
    ask(sharing, FRAMES[::-1])
    assert reading.pixels == [FRAMES.tobytes(), FRAMES[::-1].tobytes()]
    assert reading.files[0] == reading.files[1]
    assert reading.tokens[0] != reading.tokens[1]


@pytest.mark.parametrize("status", ["INTERNAL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED"])
def test_memory_of_a_call_that_failed_is_not_used_again(
    sharing: RewardClient, core: ScriptedCore, reading: Reading, status: str
) -> None:
    core.fail_next("Score", *[ScriptedError(grpc.StatusCode[status])] * QUICK.attempts)
    with pytest.raises(LrmError):
        ask(sharing)
    core._failures.clear()
    ask(sharing)
    assert reading.files[-1] != reading.files[0]


def test_an_attempt_that_is_repeated_brings_the_same_frames(
    sharing: RewardClient, core: ScriptedCore, reading: Reading
) -> None:
    core.fail_next("Score", ScriptedError(grpc.StatusCode.UNAVAILABLE))
    ask(sharing)
    assert reading.pixels == [FRAMES.tobytes()] * 2


async def test_memory_of_a_call_that_was_cancelled_is_not_used_again(
    grpc_target: str, core: ScriptedCore, reading: Reading
) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        reached.set()
        assert go_on.wait(20)

    query = Query("progress", "pick", current=FRAMES[0])
    async with AsyncRewardClient(grpc_target, retry=ONCE, shared_memory=True) as client:
        core.fail_next("Score", wait)
        call = asyncio.ensure_future(client.score(query))
        assert await asyncio.to_thread(reached.wait, 20)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        go_on.set()
        await client.score(query)
    assert reading.files[0] != reading.files[1]


def test_calls_in_flight_have_memory_of_their_own(
    sharing: RewardClient, core: ScriptedCore, reading: Reading
) -> None:
    both = threading.Barrier(2, timeout=20)
    core.fail_next("Score", lambda: both.wait() and None, lambda: both.wait() and None)
    threads = [threading.Thread(target=ask, args=(sharing, FRAMES[at:])) for at in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(reading.files)) == 2
    assert sorted(map(len, reading.pixels)) == [2 * FRAMES[0].nbytes, 3 * FRAMES[0].nbytes]


def test_frames_beyond_the_bound_travel_in_their_request(
    grpc_target: str, reading: Reading
) -> None:
    room = SharedMemory(max_bytes=TOKEN_BYTES + FRAMES[0].nbytes)
    with RewardClient(grpc_target, encoder=FrameEncoder(shared=room)) as client:
        ask(client, FRAMES[:1])
        replies = ask(client)
        ask(client, FRAMES[:1])
    assert not any(isinstance(reply, LrmError) for reply in replies)
    assert (len(reading.pixels), reading.inline) == (2, 1)


def test_idle_memory_makes_room_for_a_larger_request() -> None:
    memory = SharedMemory(max_bytes=1000)
    with memory.lease() as first, memory.lease() as second:
        assert first.put([bytes(400)]) is not None
        assert second.put([bytes(400)]) is not None
    with memory.lease() as third:
        assert third.put([bytes(900)]) is not None
    assert memory_files() == 1


def test_no_room_in_the_system_is_no_failure(
    sharing: RewardClient, reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> int:
        raise OSError("no memory")

    monkeypatch.setattr("os.pwritev", full)
    replies = ask(sharing)
    assert not any(isinstance(reply, LrmError) for reply in replies)
    assert reading.inline == 1


def test_many_parts_are_written_in_their_order() -> None:
    parts = [bytes([at % 251]) * 7 for at in range(3000)]
    memory = SharedMemory()
    with memory.lease() as lease:
        where = lease.put(parts)
        assert where is not None
        assert os.pread(where.descriptor, 7 * 3000, where.offset) == b"".join(parts)
        more = lease.put([b"more"])
        assert more is not None
        assert os.pread(more.descriptor, 4, more.offset) == b"more"
        assert more.token == where.token
    memory.close()


def test_a_forked_child_does_not_write_where_its_parent_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory, files = SharedMemory(), []
    for process in (1, 1, 2):
        monkeypatch.setattr("os.getpid", lambda process=process: process)
        with memory.lease() as lease:
            where = lease.put([b"pixels"])
            assert where is not None
            assert where.process == process
            files.append(os.fstat(where.descriptor).st_ino)
    assert files[0] == files[1] != files[2]


def test_a_server_is_asked_once_whether_it_reads_shared_memory(
    sharing: RewardClient, core: ScriptedCore, reading: Reading
) -> None:
    for _ in range(3):
        ask(sharing)
    assert core.count("ListModels") == 1


def test_a_server_that_does_not_read_it_is_sent_nothing(
    sharing: RewardClient, core: ScriptedCore
) -> None:
    with pytest.raises(InvalidRequest, match="--shared-memory yes") as caught:
        ask(sharing)
    assert caught.value.field == "shared_memory"
    assert core.count("Score") == 0


def test_nothing_stays_when_the_client_is_closed(grpc_target: str, reading: Reading) -> None:
    with RewardClient(grpc_target, shared_memory=True) as client:
        ask(client)
        assert memory_files() == 1
    assert memory_files() == 0


def test_a_call_that_is_never_sent_holds_nothing() -> None:
    call = calls.score(
        [Query("progress", "pick", current=FRAMES[0])], FrameEncoder(shared=SharedMemory()), None
    )
    assert memory_files() == 1
    del call
    gc.collect()
    assert memory_files() == 0


def test_it_needs_grpc(grpc_target: str) -> None:
    with pytest.raises(ValueError, match="gRPC port"):
        RewardClient("http://127.0.0.1:8080", shared_memory=True)


def test_it_needs_raw_frames(grpc_target: str) -> None:
    with pytest.raises(ValueError, match="shared_memory holds raw frames"):
        RewardClient(grpc_target, encoder=FrameEncoder("jpeg"), shared_memory=True)


def test_it_needs_linux(grpc_target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.memfd_create")
    with pytest.raises(ValueError, match="needs Linux"):
        RewardClient(grpc_target, shared_memory=True)
