"""vLLM alone: the same queries, prepared beforehand, without lrm around them."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
from vllm import SamplingParams
from vllm.v1.engine.async_llm import AsyncLLM

from bench.learner import TASK, Load, Took
from bench.scene import frames
from lrm_server.engine.frame_inputs import FrameInput, FrameInputs
from lrm_server.engine.media_inputs import MediaInputs, as_request
from lrm_server.engine.patches import Preparation
from lrm_server.engine.prompt_tokens import ForcedAnswer, PromptTokens, Tokenizer
from lrm_server.engine.protocol import FrameSlot, TurnPart
from lrm_server.engine.sent_media import SentMedia
from lrm_server.engine.start import GIB
from lrm_server.engine.vllm_engine import reading
from lrm_server.frames import Encoding, Frame, FrameLimits, open_frame
from lrm_server.heads.library import load_profile
from lrm_server.heads.profile import LabelProfile, Role
from lrm_server.heads.prompt import Turn, render_turn
from lrm_server.heads.question import answer_form

_ids = itertools.count()


class BareEngine:
    """Sends requests straight to ``AsyncLLM``; what it times is vLLM's ``generate`` and no more."""

    def __init__(self, llm: AsyncLLM, tokenizer: Tokenizer, how: Preparation) -> None:
        self._llm = llm
        self._tokenizer = tokenizer
        self._prompts = PromptTokens(tokenizer)
        self._how = how
        # As lrm's: a frame is sent once to an engine that keeps its patches.
        kept = llm.model_config.get_multimodal_config().mm_processor_cache_gb
        self._sent = SentMedia(int(kept * GIB))

    async def run(self, load: Load) -> Took:
        """Seconds of each due step of the load's queries, all environments at once."""
        seconds = []
        with ThreadPoolExecutor(1) as executor:
            inputs = FrameInputs(self._how, executor, max_bytes=1 << 30)
            media = MediaInputs(self._tokenizer, inputs, videos=None)
            initial = await self._prepare(inputs, load, 0)
            previous = initial
            for step in range(load.interval, load.due * load.interval + 1, load.interval):
                current = await self._prepare(inputs, load, step)
                shown = {Role.INITIAL: initial, Role.PREVIOUS: previous, Role.CURRENT: current}
                requests = [
                    request
                    for head in load.heads
                    for at in range(load.environments)
                    for request in self._requests(
                        head, {role: each[at] for role, each in shown.items()}, media
                    )
                ]
                began = time.perf_counter()
                await asyncio.gather(*(self._ask(*request) for request in requests))
                seconds.append(time.perf_counter() - began)
                previous = current
        return Took(seconds, [])

    def question(self, head: str) -> tuple[LabelProfile, Turn, ForcedAnswer]:
        """A head's profile, its turn about the frames that an episode has, and its answer slot.

        Raises:
            TypeError: the head reads no label.
        """
        return _question(self._prompts, head)

    def text(self, tokens: Sequence[int]) -> str:
        """Tokens as text."""
        return str(self._tokenizer.decode(tokens)) if tokens else ""  # type: ignore[attr-defined]

    async def _prepare(self, inputs: FrameInputs, load: Load, step: int) -> list[FrameInput]:
        batch = frames(load.environments, load.seed + step, load.side)
        return [await inputs.get(_frame(image)) for image in batch]

    def _requests(
        self, head: str, shown: dict[Role, FrameInput], media: MediaInputs
    ) -> list[tuple[Any, SamplingParams]]:
        _, turn, forced = self.question(head)
        return [
            (
                self._input(media, forced, node.before, [shown[role] for role in turn.roles]),
                reading(node),
            )
            for node in forced.trie.nodes
        ]

    def _input(
        self,
        media: MediaInputs,
        forced: ForcedAnswer,
        before: Sequence[int],
        shown: list[FrameInput],
    ) -> Any:
        placed = media.place(forced.prompt, shown)
        return as_request(placed, before, shown, self._sent.items(shown))

    async def _ask(self, request: Any, params: SamplingParams) -> None:
        async for output in self._llm.generate(request, params, f"bare-{next(_ids)}"):
            if output.outputs[0].finish_reason == "error":
                raise RuntimeError("the bare engine did not answer")


@lru_cache
def _question(prompts: PromptTokens, head: str) -> tuple[LabelProfile, Turn, ForcedAnswer]:
    profile = load_profile(f"lrm_{head}")
    if not isinstance(profile, LabelProfile):
        raise TypeError(f"{head} is no label head")
    looks = {*profile.required_frames, *profile.optional_frames} - {Role.GOAL}
    turn = render_turn(profile, TASK, [role for role in Role if role in looks])
    blank = _frame(np.zeros((64, 64, 3), dtype=np.uint8))
    parts: list[TurnPart] = [
        FrameSlot(blank) if isinstance(part, Role) else str(part) for part in turn.parts
    ]
    return profile, turn, prompts.forced(parts, answer_form(profile))


def _frame(image: np.ndarray[Any, np.dtype[np.uint8]]) -> Frame:
    height, width = image.shape[:2]
    return open_frame(image.tobytes(), Encoding.RAW, FrameLimits(), height=height, width=width)
