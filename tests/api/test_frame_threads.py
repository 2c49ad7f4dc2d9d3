"""Frames are opened beside the event loop, on no more threads than the settings say."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from lrm_client import Query, Reply
from lrm_server.api import from_json, wire_frames
from tests.api.conftest import Serve
from tests.api.frames import pixels
from tests.api.wire import TASK


@pytest.mark.parametrize("threads", [1, 2])
async def test_requests_that_come_at_once_share_the_threads(
    serve: Serve, transport: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, lock = wire_frames.open_frame, threading.Lock()
    running, most, loops = 0, 0, 0

    def opened(*args: Any, **options: Any) -> Any:
        nonlocal running, most, loops
        with lock:
            running += 1
            most = max(most, running)
            loops += threading.current_thread() is threading.main_thread()
        time.sleep(0.02)
        with lock:
            running -= 1
        return whole(*args, **options)

    for module in (wire_frames, from_json):
        monkeypatch.setattr(module, "open_frame", opened)
    client = await (await serve(frame_threads=threads)).client(transport)
    replies = await asyncio.gather(
        *(client.score(Query("progress", TASK, current=pixels(seed=seed))) for seed in range(8))
    )
    assert all(isinstance(reply, Reply) for reply in replies)
    assert (most, loops) == (threads, 0)
