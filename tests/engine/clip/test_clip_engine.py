"""CLIP as it is served, against the same weights in transformers."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from transformers import CLIPModel, CLIPProcessor

from lrm_server.engine.clip.clip_engine import ClipEngine
from lrm_server.engine.clip.start import ClipOptions, open_clip_engine
from lrm_server.engine.holdings import QueueLimits
from lrm_server.engine.protocol import FrameSlot
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.frames import Encoding, Frame, FrameLimits, open_frame
from lrm_server.heads.profile import Readout, Role
from lrm_server.heads.query import Query
from lrm_server.heads.similarity import ask_for_similarity
from lrm_server.heads.similarity_profile import SimilarityProfile
from tests.engine.chat.cut_jpeg import cut_jpeg

TASK = "pick up the cube"


def noise(seed: int, height: int = 48, width: int = 64) -> Frame:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
    pixels = np.asarray(Image.fromarray(coarse).resize((width, height)))
    return open_frame(pixels.tobytes(), Encoding.RAW, FrameLimits(), height=height, width=width)


class Plain:
    """CLIP as transformers' own examples call it."""

    def __init__(self, folder: Path) -> None:
        self._processor = CLIPProcessor.from_pretrained(folder)
        self._model = CLIPModel.from_pretrained(folder).eval()

    @torch.no_grad()
    def cosine(self, frame: Frame, text: str) -> float:
        """From the logits of a joint pass, which its scale is taken out of."""
        inputs = self._processor(
            text=[text], images=Image.fromarray(frame.pixels()), return_tensors="pt"
        )
        logits = self._model(**inputs).logits_per_image
        return float(logits[0, 0] / self._model.logit_scale.exp())


@pytest.fixture(scope="session")
def plain(clip_folder: Path) -> Plain:
    return Plain(clip_folder)


@asynccontextmanager
async def engine(folder: Path, **options: Any) -> AsyncIterator[ClipEngine]:
    async with open_clip_engine(folder, ClipOptions(**options)) as found:
        yield found


def similarity_profile(**fields: Any) -> SimilarityProfile:
    return SimilarityProfile(**{"name": "s", "head": "similarity", "reads": "similarity", **fields})


async def test_the_similarity_is_transformers_cosine(clip_folder: Path, plain: Plain) -> None:
    frames = [noise(seed) for seed in range(5)]
    profile = similarity_profile()
    async with engine(clip_folder) as clip:
        replies = await asyncio.gather(
            *(
                ask_for_similarity(
                    clip, "similarity", profile, query_of(frame, task=f"{TASK}, {name}")
                )
                for frame, name in zip(frames, "abcde", strict=True)
            )
        )
    expected = [
        plain.cosine(frame, f"{TASK}, {name}") for frame, name in zip(frames, "abcde", strict=True)
    ]
    assert np.ptp(expected) > 0.05
    assert [reply.value for reply in replies] == pytest.approx(expected, abs=1e-4)


def query_of(current: Frame, initial: Frame | None = None, task: str = TASK) -> Query:
    frames = {Role.CURRENT: current} | ({} if initial is None else {Role.INITIAL: initial})
    return Query(head="similarity", task=task, frames=frames)


async def test_the_built_in_profile_is_the_gain_over_the_initial_frame(
    clip_folder: Path, plain: Plain
) -> None:
    text = (resources.files("lrm_server.heads") / "profiles" / "clip_similarity.yaml").read_text()
    profile = SimilarityProfile.model_validate(yaml.safe_load(text))
    current, initial = noise(1), noise(2)
    async with engine(clip_folder) as clip:
        reply = await ask_for_similarity(clip, "similarity", profile, query_of(current, initial))
        model = clip.fingerprint
    gain = plain.cosine(current, TASK) - plain.cosine(initial, TASK)
    assert abs(gain) > 0.01
    assert reply.value == pytest.approx(gain, abs=1e-4)
    assert (reply.readout, reply.model) == (Readout.LIKELIHOOD, model)
    assert reply.profile == profile.digest


async def test_queries_that_come_together_go_through_the_model_together(
    clip_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    async with engine(clip_folder, frame_threads=4) as clip:
        watch(monkeypatch, clip, "_images", sizes)
        slots = [[FrameSlot(noise(seed))] for seed in range(32)]
        await asyncio.gather(*(clip.embed(each, [TASK], None) for each in slots))
    assert sum(sizes) == 32
    assert len(sizes) <= 16


def watch(
    monkeypatch: pytest.MonkeyPatch, clip: ClipEngine, batcher: str, sizes: list[int]
) -> None:
    found = getattr(clip, batcher)
    work = found._work

    def watched(items: Sequence[Any]) -> Any:
        sizes.append(len(items))
        return work(items)

    monkeypatch.setattr(found, "_work", watched)


async def test_what_is_known_is_not_computed_again(
    clip_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images: list[int] = []
    texts: list[int] = []
    async with engine(clip_folder) as clip:
        watch(monkeypatch, clip, "_images", images)
        watch(monkeypatch, clip, "_texts", texts)
        at_once = [clip.embed([FrameSlot(noise(7))], [TASK], None) for _ in range(4)]
        first, *_ = await asyncio.gather(*at_once)
        later = await clip.embed([FrameSlot(noise(7))], [TASK], None)
    assert (images, texts) == ([1], [1])
    assert np.array_equal(first.frames, later.frames)


async def test_a_broken_frame_fails_alone(clip_folder: Path) -> None:
    async with engine(clip_folder) as clip:
        good, bad = await asyncio.gather(
            clip.embed([FrameSlot(noise(1), "current")], [TASK], None),
            clip.embed([FrameSlot(cut_jpeg(), "current")], [TASK], None),
            return_exceptions=True,
        )
    assert not isinstance(good, BaseException)
    assert isinstance(bad, DomainError)
    assert (bad.code, bad.field) == (ErrorCode.IMAGE_UNDECODABLE, "current")


async def test_a_task_that_the_model_would_cut_is_refused(clip_folder: Path) -> None:
    async with engine(clip_folder) as clip:
        with pytest.raises(DomainError) as error:
            await clip.embed([FrameSlot(noise(1))], ["pick up every single cube there is"], None)
    assert (error.value.code, error.value.field) == (ErrorCode.INVALID_ARGUMENT, "task")


async def test_a_model_that_fails_is_no_reward(
    clip_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(items: Sequence[Any]) -> Any:
        raise RuntimeError("out of memory")

    async with engine(clip_folder) as clip:
        monkeypatch.setattr(clip._images, "_work", broken)
        with pytest.raises(DomainError) as error:
            await clip.embed([FrameSlot(noise(1))], [TASK], None)
        monkeypatch.undo()
        assert (await clip.embed([FrameSlot(noise(1))], [TASK], None)).frames.shape == (1, 16)
    assert error.value.code is ErrorCode.INTERNAL


async def test_frames_are_decoded_off_the_event_loop(
    clip_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[str] = set()
    pixels = Frame.pixels

    def watched(frame: Frame) -> Any:
        threads.add(threading.current_thread().name)
        return pixels(frame)

    monkeypatch.setattr(Frame, "pixels", watched)
    async with engine(clip_folder) as clip:
        await clip.embed([FrameSlot(noise(1))], [TASK], None)
    assert threads
    assert all(name.startswith("clip-frames") for name in threads)


async def test_a_cancelled_query_does_not_take_the_frame_from_others(clip_folder: Path) -> None:
    async with engine(clip_folder) as clip:
        asked = [
            asyncio.create_task(clip.embed([FrameSlot(noise(1))], [TASK], None)) for _ in range(2)
        ]
        await asyncio.sleep(0)
        asked[0].cancel()
        found = await asked[1]
        assert asked[0].cancelled()
        assert (await clip.status()).running == 0
    assert found.frames.shape == (1, 16)


async def test_queries_beyond_the_limit_or_too_late_are_refused(clip_folder: Path) -> None:
    async with engine(clip_folder, queue=QueueLimits(max_queue=1)) as clip:
        slot = [FrameSlot(noise(1))]
        outcomes = await asyncio.gather(
            *(clip.embed(slot, [TASK], None) for _ in range(2)), return_exceptions=True
        )
        with pytest.raises(DomainError) as late:
            await clip.embed(slot, [TASK], time.monotonic() - 1)
    assert [e.code for e in outcomes if isinstance(e, DomainError)] == [ErrorCode.OVERLOADED]
    assert late.value.code is ErrorCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("content", ["nothing", "pickle", "config alone"])
async def test_a_folder_without_a_clip_is_refused(
    clip_folder: Path, tmp_path: Path, content: str
) -> None:
    if content != "nothing":
        (tmp_path / "config.json").write_bytes((clip_folder / "config.json").read_bytes())
    if content == "pickle":
        (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04N.")
    if content == "config alone":
        (tmp_path / "model.safetensors").write_bytes(b"\0" * 20)
    with pytest.raises(DomainError) as error:
        async with engine(tmp_path):
            raise AssertionError
    assert (error.value.code, error.value.field) == (ErrorCode.INVALID_ARGUMENT, "model")


async def test_the_fingerprint_tells_weights_apart(clip_folder: Path, tmp_path: Path) -> None:
    from tests.engine.clip.tiny_clip import make_clip

    other = make_clip(tmp_path / "other", seed=1)
    async with engine(clip_folder) as one, engine(other) as two, engine(clip_folder) as again:
        assert one.fingerprint == again.fingerprint
        assert one.fingerprint != two.fingerprint
