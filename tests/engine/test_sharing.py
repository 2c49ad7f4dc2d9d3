"""What queries of one step share: frames prepared and encoded once, prompts' common beginnings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pytest
import simplejpeg
from transformers import AutoTokenizer

from bench.learner import TASK
from bench.prompt_order import prefix
from lrm_client.clock import ClockConfig
from lrm_server.engine import frame_inputs
from lrm_server.engine.checkpoint_files import locate
from lrm_server.engine.prompt_tokens import PromptTokens
from lrm_server.engine.start import CPU_BLOCK_TOKENS, CPU_STEP_TOKENS
from lrm_server.episodes.service import EpisodeService
from lrm_server.episodes.store import MemoryEpisodeStore
from lrm_server.episodes.types import EpisodeSpec, EpisodeStep, StepAnswer
from lrm_server.frames import Encoding, Frame
from lrm_server.heads.library import load_profile
from lrm_server.heads.profile import LabelProfile, Role
from lrm_server.heads.query import Query, Reply
from tests.engine_host import EngineHost

SIDE = 128
FRAME_TOKENS = 16
LONG_TASK = "Push the blue cube into the circle. " * 12
K = 3


class Watched(Frame):
    """A JPEG that says when it is decoded."""

    decoded: ClassVar[list[bytes]] = []

    def _decode(self):
        self.decoded.append(self.digest)
        return super()._decode()


def fresh(seed: int, count: int, side: int = SIDE) -> list[Frame]:
    """Frames that no engine has seen."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    files = [simplejpeg.encode_jpeg(image) for image in images]
    return [Watched(file, Encoding.JPEG, side, side) for file in files]


def encoded_by(served: EngineHost, seed: int) -> int:
    """Frames that were encoded so far; a question about another frame comes after all of them."""
    (frame,) = fresh(seed, 1)
    served.score(Query(head="completion", task=TASK, frames={Role.CURRENT: frame}))
    return served.encoded.count


async def take(service: EpisodeService, number: int, frame: Frame) -> list[Reply]:
    (answer,) = await service.step([EpisodeStep(episode="e", step=number, frame=frame)])
    assert isinstance(answer, StepAnswer), answer
    replies = [reward.reply for reward in answer.rewards if reward.reply is not None]
    assert len(replies) == len(answer.rewards)
    return replies


async def opened(served: EngineHost, heads: Sequence[str], frame: Frame) -> EpisodeService:
    store = MemoryEpisodeStore(max_episodes=1, max_frame_mib=16, idle_seconds=60)
    service = EpisodeService(served.scorer, store)
    clock = ClockConfig(interval=K)
    await service.open([EpisodeSpec(id="e", task=TASK, heads=tuple(heads), clock=clock, swap=True)])
    await service.step([EpisodeStep(episode="e", step=0, frame=frame)])
    return service


@pytest.mark.parametrize(
    ("seed", "heads"),
    [(1, ("tri",)), (2, ("contrastive", "progress", "completion")), (3, ("tri", "progress"))],
)
def test_heads_in_both_orders_decode_prepare_and_encode_a_frame_once(
    served: EngineHost, monkeypatch: pytest.MonkeyPatch, seed: int, heads: tuple[str, ...]
) -> None:
    prepared: list[int] = []
    prepare = frame_inputs.prepare

    def counted(*given):
        prepared.append(1)
        return prepare(*given)

    monkeypatch.setattr(frame_inputs, "prepare", counted)
    monkeypatch.setattr(Watched, "decoded", [])
    frames = fresh(100 * seed, 4)
    service = served.run(opened(served, heads, frames[0]))
    for number, frame in enumerate(frames[1:], 1):
        before = encoded_by(served, 100 * seed + 10 * number)
        prepared.clear()
        Watched.decoded.clear()
        served.run(take(service, number * K, frame))
        made, decoded = len(prepared), len(Watched.decoded)
        # The question that ends the counting has a frame too, and is counted itself.
        encoded = encoded_by(served, 100 * seed + 10 * number + 1) - before - 1
        # The first query looks at the initial frame as well.
        assert (decoded, made, encoded) == ((2, 2, 2) if number == 1 else (1, 1, 1))


def test_with_many_environments_the_frames_of_the_query_before_are_not_encoded_again(
    served: EngineHost,
) -> None:
    # Of 256x256, so that their tokens are more than a step has, which is all that vLLM would keep.
    environments, side = 40, 256
    assert 2 * environments * (side // 32) ** 2 > 2 * CPU_STEP_TOKENS
    store = MemoryEpisodeStore(max_episodes=environments, max_frame_mib=64, idle_seconds=60)
    service = EpisodeService(served.scorer, store)
    names = [f"{at}" for at in range(environments)]
    clock = ClockConfig(interval=1)

    async def step(number: int) -> None:
        if number == 0:
            await service.open(
                EpisodeSpec(id=name, task=TASK, heads=("contrastive",), clock=clock)
                for name in names
            )
        shown = fresh(600 + number, environments, side)
        steps = [
            EpisodeStep(episode=name, step=number, frame=frame)
            for name, frame in zip(names, shown, strict=True)
        ]
        answers = await service.step(steps)
        assert not [answer for answer in answers if isinstance(answer, Exception)]

    served.run(step(0))
    for number in (1, 2, 3):
        before = encoded_by(served, 700 + 2 * number)
        served.run(step(number))
        encoded = encoded_by(served, 701 + 2 * number) - before - 1
        assert encoded == (2 * environments if number == 1 else environments)


def test_later_queries_compute_what_comes_after_the_initial_frame(served: EngineHost) -> None:
    profile = load_profile("lrm_progress")
    assert isinstance(profile, LabelProfile)
    prompts = PromptTokens(AutoTokenizer.from_pretrained(locate("embedded")))
    wanted = prefix(profile, prompts, FRAME_TOKENS)
    whole_blocks = wanted.constant // CPU_BLOCK_TOKENS * CPU_BLOCK_TOKENS
    assert whole_blocks
    frames = fresh(400, 4)
    service = served.run(opened(served, ["progress"], frames[0]))
    for number, frame in enumerate(frames[1:], 1):
        (reply,) = served.run(take(service, number * K, frame))
        assert reply.tokens.prompt == wanted.prompt
        assert reply.tokens.cached == (whole_blocks if number > 1 else 0)


def test_both_orders_of_a_pair_compute_their_words_once(served: EngineHost) -> None:
    previous, current = fresh(500, 2)
    frames = {Role.PREVIOUS: previous, Role.CURRENT: current}
    query = Query(head="contrastive", task=LONG_TASK, frames=frames, swap=True)
    reply = served.score(query)
    assert CPU_BLOCK_TOKENS <= reply.tokens.cached <= reply.tokens.prompt / 2
