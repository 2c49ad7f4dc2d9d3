"""What Hugging Face transformers says about the same prompts, frames and weights."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lrm_server.engine.broken_extensions import install
from lrm_server.frames import Frame
from lrm_server.heads.profile import LabelProfile, Role
from lrm_server.heads.prompt import render_turn
from lrm_server.heads.query import Query

install()

from transformers import AutoProcessor, Qwen3VLForConditionalGeneration  # noqa: E402


class Reference:
    """A checkpoint in transformers; adapters are merged into its weights."""

    def __init__(self, checkpoint: Path, dtype: torch.dtype) -> None:
        self._processor = AutoProcessor.from_pretrained(checkpoint)
        self._model = Qwen3VLForConditionalGeneration.from_pretrained(checkpoint, dtype=dtype)
        self._model.eval()

    def merge(self, deltas: Mapping[str, torch.Tensor], sign: float = 1.0) -> None:
        """Adds ``sign`` x delta to the named weights."""
        weights = dict(self._model.named_parameters())
        with torch.no_grad():
            for name, delta in deltas.items():
                weights[name] += sign * delta.to(weights[name].dtype)

    def label_logprobs(
        self, profile: LabelProfile, query: Query, written: Sequence[str] | None = None
    ) -> list[float]:
        """Log-probability of each label after the forced prefix, by the chain rule over its tokens.

        A token that no other label contests counts as certain, as the readout has it.
        """
        base = self.prompt(profile, query) + profile.answer_prefix
        images = self.images(profile, query)
        labels = written or [label.written for label in profile.labels]
        tokenizer = self._processor.tokenizer
        start = len(tokenizer(base)["input_ids"])
        whole = [
            tuple(tokenizer(base + label + profile.terminator)["input_ids"][start:])
            for label in labels
        ]
        paths = []
        for label, tokens in zip(labels, whole, strict=True):
            length = self._length(base, label, profile.terminator, start)
            # A label that begins another one is read on, into its terminator.
            while any(other != tokens and other[:length] == tokens[:length] for other in whole):
                length += 1
            paths.append(tokens[:length])
        out = []
        for path in paths:
            total = 0.0
            for depth, token in enumerate(path):
                rivals = {p[depth] for p in paths if p[:depth] == path[:depth] and len(p) > depth}
                if depth == 0 or len(rivals) > 1:
                    total += self._next_logprob(base, path[:depth], token, images)
            out.append(total)
        return out

    def prompt(self, profile: LabelProfile, query: Query) -> str:
        """The chat up to where the assistant writes."""
        turn = render_turn(profile, query.task, query.frames.keys())
        content = [
            {"type": "image"} if isinstance(part, Role) else {"type": "text", "text": part}
            for part in turn.parts
        ]
        text = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        return str(text)

    def with_video(
        self, before: str, frames: np.ndarray, indices: Sequence[int], fps: float, after: str
    ) -> Mapping[str, torch.Tensor]:
        """The processor's inputs for a video between two texts, up to the assistant's turn.

        Args:
            before: text before the video.
            frames: uint8 (T, height, width, 3).
            indices: of each frame, its number on the video's axis of time.
            fps: of that axis.
            after: text after the video.
        """
        content = [
            {"type": "text", "text": before},
            {"type": "video"},
            {"type": "text", "text": after},
        ]
        text = self._processor.apply_chat_template(
            [{"role": "user", "content": [each for each in content if each.get("text") != ""]}],
            add_generation_prompt=True,
            tokenize=False,
        )
        return self._video_inputs(str(text), frames, indices, fps)

    def video_logprobs(
        self,
        profile: LabelProfile,
        task: str,
        frames: np.ndarray,
        indices: Sequence[int],
        fps: float,
    ) -> list[float]:
        """Log-probability of each one-token label of a head that sees a video first."""
        (said,) = (part for part in render_turn(profile, task, ()).parts if isinstance(part, str))
        user = f"<|im_start|>user\n<|vision_start|><|video_pad|><|vision_end|>{said}"
        closed = "<|im_end|>\n<|im_start|>assistant\n" if profile.slot == "assistant" else ""
        base = user + closed + profile.answer_prefix
        inputs = dict(self._video_inputs(base, frames, indices, fps))
        inputs["pixel_values_videos"] = inputs["pixel_values_videos"].to(self._model.dtype)
        with torch.no_grad():
            logits = self._model(**inputs).logits[0].float()
        tokenizer = self._processor.tokenizer
        short = tokenizer(base)["input_ids"]
        found = []
        for label in profile.labels:
            tokens = tokenizer(base + label.written)["input_ids"]
            # A label may take the prefix's last space into its own token.
            slot = next(
                (at for at, (a, b) in enumerate(zip(short, tokens, strict=False)) if a != b),
                len(short),
            )
            row = logits[slot - len(short) - 1]
            found.append(float(torch.log_softmax(row, dim=-1)[tokens[slot]]))
        return found

    def _video_inputs(
        self, text: str, frames: np.ndarray, indices: Sequence[int], fps: float
    ) -> Mapping[str, torch.Tensor]:
        given, at = (frames, list(indices))
        if len(at) == 1:
            given, at = np.concatenate([frames, frames]), at * 2
        inputs = self._processor(
            text=[text],
            videos=[torch.from_numpy(given).permute(0, 3, 1, 2)],
            video_metadata=[{"fps": fps, "frames_indices": at, "total_num_frames": max(at) + 1}],
            do_sample_frames=False,
            return_tensors="pt",
        )
        # Newer processors leave the pair around the whole video in the text, with which
        # Qwen3-VL was not trained.
        ids = inputs["input_ids"][0].tolist()
        start, end = (
            self._processor.tokenizer.convert_tokens_to_ids(token)
            for token in ("<|vision_start|>", "<|vision_end|>")
        )
        outer = [n for n in range(1, len(ids)) if ids[n - 1] == ids[n] == end]
        first = ids.index(start)
        keep = [n for n in range(len(ids)) if not outer or n not in (first, outer[-1])]
        for name in ("input_ids", "attention_mask", "mm_token_type_ids"):
            if name in inputs:
                inputs[name] = inputs[name][:, keep]
        return dict(inputs)

    def images(self, profile: LabelProfile, query: Query) -> list[Image.Image]:
        """The frames in the order in which the prompt shows them."""
        turn = render_turn(profile, query.task, query.frames.keys())
        return [picture(query.frames[role]) for role in turn.roles]

    def _length(self, base: str, label: str, terminator: str, start: int) -> int:
        offsets = self._processor.tokenizer(base + label + terminator, return_offsets_mapping=True)[
            "offset_mapping"
        ]
        end = len(base) + len(label)
        return 1 + next(at for at, (_, stop) in enumerate(offsets[start:]) if stop >= end)

    @torch.no_grad()
    def _next_logprob(
        self, base: str, before: Sequence[int], token: int, images: list[Image.Image]
    ) -> float:
        inputs = self._processor(text=[base], images=images, return_tensors="pt")
        if before:
            extra = torch.tensor([list(before)])
            inputs["input_ids"] = torch.cat([inputs["input_ids"], extra], dim=1)
            ones = torch.ones_like(extra)
            inputs["attention_mask"] = torch.cat([inputs["attention_mask"], ones], dim=1)
            if "mm_token_type_ids" in inputs:
                kinds = torch.zeros_like(extra)
                inputs["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], kinds], dim=1)
        inputs["pixel_values"] = inputs["pixel_values"].to(self._model.dtype)
        logits = self._model(**inputs).logits[0, -1].float()
        return float(torch.log_softmax(logits, dim=-1)[token])


def picture(frame: Frame) -> Image.Image:
    """A frame as Pillow has it."""
    return Image.fromarray(frame.pixels())


def png(pixels: np.ndarray) -> bytes:
    """Pixels as a PNG file."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()
