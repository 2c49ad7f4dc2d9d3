from __future__ import annotations

from typing import Any

from lrm_server.engine.frame_inputs import FrameInput
from lrm_server.engine.sent_media import Items, SentMedia


def frames(*keys: str, nbytes: int = 10) -> list[FrameInput]:
    item: Any = object()
    return [FrameInput(key, item, tokens=4, nbytes=nbytes) for key in keys]


def brought(sent: SentMedia, *keys: str) -> list[bool]:
    return [item is not None for item in sent.items(frames(*keys))]


def test_a_frame_is_sent_once() -> None:
    sent = SentMedia(100)
    assert brought(sent, "a", "b") == [True, True]
    assert brought(sent, "a", "b", "c") == [False, False, True]


def test_frames_that_were_not_used_for_longest_are_sent_again() -> None:
    sent = SentMedia(20)
    brought(sent, "a", "b")
    assert brought(sent, "a", "c") == [False, True]
    assert brought(sent, "b") == [True]


def test_forgotten_frames_are_sent_again() -> None:
    sent = SentMedia(100)
    brought(sent, "a", "b")
    sent.forget(frames("a", "never sent"))
    assert brought(sent, "a", "b") == [True, False]


def test_a_core_without_a_cache_is_sent_everything() -> None:
    sent = SentMedia(0)
    assert brought(sent, "a") == [True]
    assert brought(sent, "a") == [True]


async def test_a_core_that_lacks_one_of_several_frames_is_sent_them_all_once_more() -> None:
    sent, core = SentMedia(100), {"b"}
    requests: list[list[bool]] = []

    async def send(items: Items) -> bool:
        requests.append([item is not None for item in items])
        brought = {key for key, item in zip("abc", items, strict=True) if item is not None}
        return {"a", "b", "c"} <= core | brought

    sent.items(frames("a", "b"))
    assert await sent.ask(frames("a", "b", "c"), send, lambda answered: not answered)
    assert requests == [[False, False, True], [True, True, True]]


async def test_a_request_that_brought_everything_is_not_sent_again() -> None:
    requests: list[Items] = []

    async def send(items: Items) -> str:
        requests.append(items)
        return "failed"

    assert await SentMedia(100).ask(frames("a"), send, lambda answer: True) == "failed"
    assert len(requests) == 1
