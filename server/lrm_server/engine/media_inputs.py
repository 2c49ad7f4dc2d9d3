"""Frames and videos of a question: prepared, and in their places among the prompt's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import torch
from vllm.inputs import MultiModalInput, TokensInput, mm_input, tokens_input
from vllm.multimodal.inputs import (
    MultiModalKwargsItem,
    MultiModalKwargsItems,
    PlaceholderRange,
)

from lrm_server.engine.frame_inputs import IMAGE, FrameInput, FrameInputs
from lrm_server.engine.prompt_tokens import (
    VIDEO_TOKEN,
    VISION_END,
    VISION_START,
    Prompt,
    Tokenizer,
)
from lrm_server.engine.protocol import FrameSlot, VideoSlot
from lrm_server.engine.video_inputs import VIDEO, VideoInput, VideoInputs
from lrm_server.errors import invalid, named
from lrm_server.together import together

MediaInput: TypeAlias = FrameInput | VideoInput


@dataclass(frozen=True, slots=True)
class Placed:
    """A prompt whose frames and videos stand in it.

    Attributes:
        tokens: all of them.
        places: of each frame or video, in order.
    """

    tokens: list[int]
    places: list[PlaceholderRange]


class MediaInputs:
    """Prepares the media of questions and puts them into prompts.

    Args:
        tokenizer: the checkpoint's.
        frames: prepares single frames.
        videos: prepares videos; None where no head looks at one.
    """

    def __init__(
        self, tokenizer: Tokenizer, frames: FrameInputs, videos: VideoInputs | None
    ) -> None:
        self._frames = frames
        self._videos = videos
        self._start, self._pad, self._end = (
            int(tokenizer.convert_tokens_to_ids(token))
            for token in (VISION_START, VIDEO_TOKEN, VISION_END)
        )

        @lru_cache(4096)
        def time_tokens(seconds: float) -> tuple[int, ...]:
            return tuple(tokenizer(f"<{seconds:.1f} seconds>", add_special_tokens=False).input_ids)

        self._time_tokens = time_tokens

    async def get_all(self, slots: Sequence[FrameSlot | VideoSlot]) -> list[MediaInput]:
        """What stands in slots, prepared; what threads prepare, they prepare side by side.

        Raises:
            DomainError: IMAGE_UNDECODABLE, or INVALID_ARGUMENT of a shape, its field the
                name of the slot.
        """
        at_once = [self._at_once(slot) for slot in slots]
        waited = await together(
            self._prepared(slot)
            for slot, found in zip(slots, at_once, strict=True)
            if found is None
        )
        rest = iter(waited)
        return [next(rest) if found is None else found for found in at_once]

    def _at_once(self, slot: FrameSlot | VideoSlot) -> MediaInput | None:
        if isinstance(slot, VideoSlot):
            return None
        with named(slot.name):
            return self._frames.at_once(slot.frame)

    async def _prepared(self, slot: FrameSlot | VideoSlot) -> MediaInput:
        if isinstance(slot, FrameSlot):
            with named(slot.name):
                return await self._frames.get(slot.frame)
        if self._videos is None:
            raise invalid("window", "this engine was started without heads that see videos.")
        return await self._videos.get(slot)

    def place(self, prompt: Prompt, media: Sequence[MediaInput]) -> Placed:
        """The prompt with each frame's and video's token replaced by all that stands for it."""
        tokens: list[int] = []
        places: list[PlaceholderRange] = []
        start = 0
        for at, each in zip(prompt.media, media, strict=True):
            if isinstance(each, FrameInput):
                tokens += prompt.tokens[start:at]
                places.append(PlaceholderRange(offset=len(tokens), length=each.tokens))
                tokens += prompt.tokens[at : at + 1] * each.tokens
                start = at + 1
            else:
                # Each step of a video has its own start and end, as Qwen3-VL was trained: the
                # pair around the whole is left out.
                tokens += prompt.tokens[start : at - 1]
                video = self._video(each)
                places.append(
                    PlaceholderRange(
                        offset=len(tokens),
                        length=len(video),
                        is_embed=torch.tensor([token == self._pad for token in video]),
                    )
                )
                tokens += video
                start = at + 2
        tokens += prompt.tokens[start:]
        return Placed(tokens, places)

    def _video(self, video: VideoInput) -> list[int]:
        tokens: list[int] = []
        for seconds in video.times:
            tokens += self._time_tokens(seconds)
            tokens += [self._start, *[self._pad] * video.tokens, self._end]
        return tokens


def as_request(
    placed: Placed,
    more: Sequence[int],
    media: Sequence[MediaInput],
    items: Sequence[MultiModalKwargsItem | None],
) -> MultiModalInput | TokensInput:
    """A prompt as vLLM takes it.

    Args:
        placed: the prompt.
        more: tokens after it.
        media: in the order of their places.
        items: what is sent of each; None for what the engine has.
    """
    tokens = [*placed.tokens, *more]
    by_kind: dict[str, list[tuple[MediaInput, PlaceholderRange, MultiModalKwargsItem | None]]] = {}
    for each, place, item in zip(media, placed.places, items, strict=True):
        kind = IMAGE if isinstance(each, FrameInput) else VIDEO
        by_kind.setdefault(kind, []).append((each, place, item))
    if not by_kind:
        return tokens_input(tokens)
    return mm_input(
        prompt_token_ids=tokens,
        mm_kwargs=MultiModalKwargsItems(
            {kind: [item for _, _, item in those] for kind, those in by_kind.items()}
        ),
        mm_hashes={kind: [each.key for each, _, _ in those] for kind, those in by_kind.items()},
        mm_placeholders={kind: [place for _, place, _ in those] for kind, those in by_kind.items()},
    )
