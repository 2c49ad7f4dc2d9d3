"""Turns as the messages of a chat."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

from lrm_server.engine.protocol import FrameSlot, TurnPart, VideoSlot
from lrm_server.errors import named
from lrm_server.frames import Frame

ChatMessage: TypeAlias = dict[str, Any]


async def chat_message(
    role: str, parts: Sequence[TurnPart], url: Callable[[Frame], Awaitable[str]]
) -> ChatMessage:
    """One turn: texts and images in their order; a video as its frames with their times.

    Args:
        role: whose turn.
        parts: of the turn. Text alone goes as a string, which every endpoint takes.
        url: encodes a frame.

    Raises:
        DomainError: of a frame, named by its slot.
    """
    texts = [part for part in parts if isinstance(part, str)]
    if len(texts) == len(parts):
        return {"role": role, "content": "".join(texts)}
    found = await asyncio.gather(*(_content(part, url) for part in parts))
    return {"role": role, "content": [item for items in found for item in items]}


def assistant_message(text: str) -> ChatMessage:
    """The beginning of the assistant's turn, for the model to go on from."""
    return {"role": "assistant", "content": text}


async def _content(part: TurnPart, url: Callable[[Frame], Awaitable[str]]) -> list[ChatMessage]:
    match part:
        case str():
            return [_text(part)]
        case FrameSlot():
            return [_image(await _encoded(part.frame, part.name, url))]
        case VideoSlot():
            names = part.names or ("",) * len(part.frames)
            urls = await asyncio.gather(
                *(
                    _encoded(frame, name, url)
                    for frame, name in zip(part.frames, names, strict=True)
                )
            )
            shown = zip(part.times, urls, strict=True)
            return [item for at, each in shown for item in (_text(f"{at:.2f} s:"), _image(each))]


async def _encoded(frame: Frame, name: str, url: Callable[[Frame], Awaitable[str]]) -> str:
    with named(name):
        return await url(frame)


def _text(text: str) -> ChatMessage:
    return {"type": "text", "text": text}


def _image(url: str) -> ChatMessage:
    return {"type": "image_url", "image_url": {"url": url}}
