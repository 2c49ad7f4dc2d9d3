"""Our way from a video's frames to patches, times, tokens and answers is Hugging Face's."""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from lrm_server.engine.checkpoint_files import locate
from lrm_server.engine.frame_inputs import FrameInputs
from lrm_server.engine.media_inputs import MediaInputs
from lrm_server.engine.patches import read_preparation
from lrm_server.engine.prompt_tokens import PromptTokens
from lrm_server.engine.protocol import VideoSlot
from lrm_server.engine.video_inputs import VideoInputs
from lrm_server.engine.video_patches import prepare_video, read_video_preparation, step_times
from lrm_server.errors import DomainError
from lrm_server.frames import Encoding, Frame
from lrm_server.heads.profile import LabelProfile
from lrm_server.heads.query import Query, WindowFrame
from lrm_server.heads.window import thinned
from tests.engine.conftest import Exact
from tests.engine.reference import Reference
from tests.engine.test_patches import pixels

from transformers import AutoTokenizer, Qwen3VLVideoProcessor  # isort: skip
from transformers.video_utils import VideoMetadata  # isort: skip

FPS = 5.0
EXACT = 1e-3
LARGE = {"shortest_edge": 4096, "longest_edge": 25165824}


def video(count: int, height: int = 128, width: int = 128) -> np.ndarray:
    """uint8 (count, height, width, 3); something moves."""
    return np.stack([np.roll(pixels(height, width), 9 * at, axis=1) for at in range(count)])


def raw(image: np.ndarray) -> Frame:
    return Frame(np.ascontiguousarray(image).tobytes(), Encoding.RAW, *image.shape[:2])


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("size", [(128, 128), (64, 96), (200, 300), (24, 90)])
@pytest.mark.parametrize(
    "options",
    [{}, {"size": LARGE}, {"size": LARGE, "cap_pixels_per_frame": True, "max_video_tokens": 16}],
    ids=["embedded", "large", "capped"],
)
def test_patches_equal_the_processors(count, size, options, tmp_path: Path) -> None:
    config = json.loads((locate("embedded") / "video_preprocessor_config.json").read_text())
    (tmp_path / "video_preprocessor_config.json").write_text(json.dumps(config | options))
    processor = Qwen3VLVideoProcessor.from_pretrained(tmp_path)
    frames = video(count, *size)
    # A lone frame is shown twice, as it fills a patch.
    given = frames if count > 1 else np.concatenate([frames, frames])
    wanted = processor(
        torch.from_numpy(given).permute(0, 3, 1, 2), do_sample_frames=False, return_tensors="pt"
    )
    ours = prepare_video(list(frames), read_video_preparation(tmp_path))
    assert ours.grid.tolist() == wanted["video_grid_thw"][0].tolist()
    assert ours.tokens == ours.grid[1:].prod() // 4
    normalised = (ours.values.float() / 255 - 0.5) / 0.5
    assert torch.allclose(normalised, wanted["pixel_values_videos"], atol=1e-6)


@pytest.mark.parametrize(("count", "most"), [(5, 8), (9, 8), (100, 16), (31, 2), (1000, 64)])
def test_a_long_window_is_thinned_to_the_frames_that_the_processor_samples(count, most) -> None:
    processor = Qwen3VLVideoProcessor.from_pretrained(locate("embedded"))
    metadata = VideoMetadata(total_num_frames=count, fps=FPS)
    wanted = processor.sample_frames(metadata, num_frames=min(count, most))
    assert thinned(count, most) == wanted.tolist()


def test_a_sliver_is_refused_with_what_to_do() -> None:
    how = read_video_preparation(locate("embedded"))
    with pytest.raises(DomainError, match="Crop them"):
        prepare_video([np.zeros((40, 9000, 3), np.uint8)], how)


def test_a_checkpoint_without_a_video_processor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DomainError, match="video_preprocessor_config"):
        read_video_preparation(tmp_path)


@pytest.mark.parametrize("indices", [(0, 1, 2, 3), (0, 10, 20), (3, 4, 9, 30, 31), (7,)])
async def test_tokens_and_times_equal_the_processors(indices: tuple[int, ...]) -> None:
    checkpoint = locate("embedded")
    reference = Reference(checkpoint, torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    frames = video(len(indices))
    slot = VideoSlot(tuple(map(raw, frames)), tuple(at / FPS for at in indices))
    with ThreadPoolExecutor(1) as executor:
        media = MediaInputs(
            tokenizer,
            FrameInputs(read_preparation(checkpoint), executor, 0),
            VideoInputs(read_video_preparation(checkpoint), executor, 0),
        )
        prompt = PromptTokens(tokenizer).open_ended(("Look: ", slot, " What is done?"))
        (prepared,) = await media.get_all([slot])
        placed = media.place(prompt, [prepared])
    wanted = reference.with_video("Look: ", frames, indices, FPS, " What is done?")
    assert placed.tokens == wanted["input_ids"][0].tolist()
    (place,) = placed.places
    assert place.is_embed is not None
    assert int(place.is_embed.sum()) == prepared.tokens * len(prepared.times)


def test_the_time_of_a_step_is_the_middle_of_its_frames() -> None:
    assert step_times((0.0, 0.2, 0.4), 2) == pytest.approx((0.1, 0.4))


@pytest.mark.parametrize("head", ["roboreward", "topreward"])
@pytest.mark.parametrize("indices", [(0, 1), (0, 10, 20, 30), (0, 2, 4, 5, 9, 11, 12)])
def test_video_heads_answer_as_transformers_does(exact: Exact, head, indices) -> None:
    frames = video(len(indices))
    window = tuple(WindowFrame(raw(f), index=at) for f, at in zip(frames, indices, strict=True))
    query = Query(head=head, task="Push the cube.", window=window, fps=FPS)
    reply = exact.host.score(query)
    profile = exact.host.scorer.catalogue[head].profile
    assert isinstance(profile, LabelProfile)
    wanted = exact.reference.video_logprobs(profile, query.task, frames, indices, FPS)
    if head == "topreward":
        assert reply.log_probability == pytest.approx(wanted[0], abs=EXACT)
        assert reply.value == pytest.approx(min(1.0, max(0.0, (wanted[0] + 25) / 20)), abs=EXACT)
        return
    assert reply.label_mass is not None
    found = [math.log(p * reply.label_mass) for p in reply.probabilities.values()]
    assert found == pytest.approx(wanted, abs=EXACT)


def test_a_video_at_other_times_is_another_question(exact: Exact) -> None:
    window = tuple(WindowFrame(raw(f)) for f in video(4))
    slow, fast = (
        exact.host.score(Query(head="topreward", task="Push.", window=window, fps=fps))
        for fps in (1.0, 30.0)
    )
    assert slow.log_probability != fast.log_probability
