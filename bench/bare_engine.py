"""vLLM alone: the same queries, prepared beforehand, without lrm around them."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from vllm import SamplingParams
from vllm.v1.engine.async_llm import AsyncLLM

from bench.learner import TASK, Order
from bench.scene import frames
from lrm_server.engine.frame_inputs import FrameInput, FrameInputs
from lrm_server.engine.media_inputs import MediaInputs, as_request
from lrm_server.engine.patches import Preparation
from lrm_server.engine.prompt_tokens import ForcedAnswer, PromptTokens, Tokenizer
from lrm_server.engine.protocol import AnswerForm, FrameSlot, TurnPart
from lrm_server.engine.vllm_engine import reading
from lrm_server.frames import Encoding, Frame, FrameLimits, open_frame
from lrm_server.heads.library import load_profile
from lrm_server.heads.profile import LabelProfile, Role
from lrm_server.heads.prompt import Place, render_turn

_ids = itertools.count()


class BareEngine:
    """Sends requests straight to ``AsyncLLM``; what it times is vLLM's ``generate`` and no more."""

    def __init__(self, llm: AsyncLLM, tokenizer: Tokenizer, how: Preparation) -> None:
        self._llm = llm
        self._tokenizer = tokenizer
        self._prompts = PromptTokens(tokenizer)
        self._how = how

    async def run(self, order: Order) -> list[float]:
        """Seconds of each due step of the order's queries, all environments at once."""
        seconds = []
        with ThreadPoolExecutor(1) as executor:
            inputs = FrameInputs(self._how, executor, max_bytes=1 << 30)
            media = MediaInputs(self._tokenizer, inputs, videos=None)
            initial = await self._prepare(inputs, order, 0)
            previous = initial
            for step in range(order.interval, order.steps + 1, order.interval):
                current = await self._prepare(inputs, order, step)
                shown = {Role.INITIAL: initial, Role.PREVIOUS: previous, Role.CURRENT: current}
                requests = [
                    request
                    for head in order.heads
                    for at in range(order.environments)
                    for request in self._requests(
                        head, {role: each[at] for role, each in shown.items()}, media
                    )
                ]
                began = time.perf_counter()
                await asyncio.gather(*(self._ask(*request) for request in requests))
                seconds.append(time.perf_counter() - began)
                previous = current
        return seconds

    async def _prepare(self, inputs: FrameInputs, order: Order, step: int) -> list[FrameInput]:
        batch = frames(order.environments, order.seed + step)
        return [await inputs.get(_frame(image)) for image in batch]

    def _requests(
        self, head: str, shown: dict[Role, FrameInput], media: MediaInputs
    ) -> list[tuple[Any, SamplingParams]]:
        profile = load_profile(f"lrm_{head}")
        if not isinstance(profile, LabelProfile):
            raise TypeError(f"{head} is no label head")
        looks = {*profile.required_frames, *profile.optional_frames}
        turn = render_turn(profile, TASK, [role for role in shown if role in looks])
        forced = self._forced(profile, turn.parts)
        return [
            (
                self._input(media, forced, node.before, [shown[role] for role in turn.roles]),
                reading(node),
            )
            for node in forced.trie.nodes
        ]

    def _forced(self, profile: LabelProfile, parts: Sequence[str | Role | Place]) -> ForcedAnswer:
        form = AnswerForm(
            profile.answer_prefix,
            tuple(label.written for label in profile.labels),
            profile.terminator,
            profile.max_answer_tokens,
        )
        blank = _frame(np.zeros((64, 64, 3), dtype=np.uint8))
        turn: list[TurnPart] = [
            FrameSlot(blank) if isinstance(part, Role) else str(part) for part in parts
        ]
        return self._prompts.forced(turn, form)

    @staticmethod
    def _input(
        media: MediaInputs, forced: ForcedAnswer, before: Sequence[int], shown: list[FrameInput]
    ) -> Any:
        placed = media.place(forced.prompt, shown)
        return as_request([*placed.tokens, *before], placed.places, shown)

    async def _ask(self, request: Any, params: SamplingParams) -> None:
        async for _ in self._llm.generate(request, params, f"bare-{next(_ids)}"):
            pass


def _frame(image: np.ndarray[Any, np.dtype[np.uint8]]) -> Frame:
    height, width = image.shape[:2]
    return open_frame(image.tobytes(), Encoding.RAW, FrameLimits(), height=height, width=width)
