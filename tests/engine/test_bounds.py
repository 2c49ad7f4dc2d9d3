"""What the engine's side keeps between questions is bounded."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import torch
from transformers import AutoTokenizer
from vllm.config import EncoderCacheManagerConfig

from lrm_server.engine.checkpoint_files import locate
from lrm_server.engine.encoder_cache import encoder_cache
from lrm_server.engine.frame_inputs import FrameInputs
from lrm_server.engine.patches import Preparation
from lrm_server.engine.prompt_tokens import PromptTokens
from lrm_server.engine.protocol import AnswerForm
from lrm_server.frames import Encoding, FrameLimits, open_frame
from lrm_server.heads.query import Query
from tests.alive import alive
from tests.engine_host import EngineHost
from tests.rollout_frames import queries

HOW = Preparation(16, 2, 2, 1024, 1 << 20)
FORM = AnswerForm('{ "done": "', ("no", "yes"), '" }', 8)


async def test_prepared_frames_stay_within_their_bytes_and_the_last_used_stay() -> None:
    random = np.random.default_rng(3)

    def frame(side: int):
        pixels = random.integers(0, 256, (side, side, 3), dtype=np.uint8)
        return open_frame(pixels.tobytes(), Encoding.RAW, FrameLimits(), height=side, width=side)

    with ThreadPoolExecutor(1) as executor:
        first = await FrameInputs(HOW, executor, 1 << 30).get(frame(64))
        inputs = FrameInputs(HOW, executor, 8 * first.nbytes)
        kept = frame(64)
        prepared = await inputs.get(kept)
        # Small ones are cut at once, large ones by a thread.
        for side in [64, 128, 288] * 6:
            await inputs.get(frame(side))
            assert inputs._ready.currsize <= 8 * first.nbytes
            assert await inputs.get(kept) is prepared or side == 288
        assert not inputs._pending


def test_prompts_stay_within_their_tokens_and_are_right_when_they_come_again() -> None:
    tokenizer = AutoTokenizer.from_pretrained(locate("embedded"))
    tasks = [f"Push cube number {at} into the circle, then wait." for at in range(200)]
    bounded, free = PromptTokens(tokenizer, capacity=400), PromptTokens(tokenizer)
    for _ in range(2):
        for task in tasks:
            assert bounded.forced([task], FORM) == free.forced([task], FORM)
            assert bounded.open_ended([task]) == free.open_ended([task])
            for kept in (bounded._forced, bounded._open):
                assert 0 < kept.currsize <= 400


def test_the_cache_of_encoded_frames_has_its_bytes_and_no_less_than_vllm_gives_it() -> None:
    vision = SimpleNamespace(deepstack_visual_indexes=[2, 4])
    model = SimpleNamespace(
        dtype=torch.bfloat16,
        hf_config=SimpleNamespace(vision_config=vision),
        get_hidden_size=lambda: 256,
    )
    chosen = EncoderCacheManagerConfig(**encoder_cache(3 << 20))
    config = SimpleNamespace(model_config=model, ec_manager_config=chosen)
    made = chosen.get_encoder_cache_manager_obj().create_manager
    # A token has 256 numbers for the decoder's input and for each of two layers, of two bytes.
    assert made(cache_size=100, vllm_config=config).cache_size == (3 << 20) // (256 * 3 * 2)
    assert made(cache_size=5000, vllm_config=config).cache_size == 5000


def test_nothing_of_answered_and_abandoned_questions_is_held(served: EngineHost) -> None:
    def asked(count: int) -> list[Query]:
        return queries("tri", count)

    async def ask_and_leave() -> None:
        asking = [asyncio.create_task(served.scorer.score(query)) for query in asked(12)]
        await asyncio.sleep(0.02)
        for task in asking[::2]:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    served.score_all(asked(2))
    before = alive()
    served.run(ask_and_leave())
    status = served.run(served.scorer.status())
    assert (status.running, status.waiting) == (0, 0)
    llm = served.scorer.engine._llm.current()
    assert not llm.output_processor.request_states
    assert alive() <= before
