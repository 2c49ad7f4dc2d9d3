"""The losses: the label first, the words around it a little, the simulator's state for the eyes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from training.forward import decode, encode_frames, positions_of
from training.rollouts.features import COLUMNS
from training.samples import IMAGE_SIDE, IMAGE_TOKENS
from training.tasks import TASK_BY_ID

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import Qwen3VLForConditionalGeneration

    from training.forward import Vision
    from training.samples import Batch, Sample

# Real-valued state features; the last two columns are flags.
MEASURES: Final = len(COLUMNS) - 2
GOAL_COLUMNS: Final = slice(COLUMNS.index("goal_x"), COLUMNS.index("goal_z") + 1)
# Samples are decoded in groups of similar length, so many at a time. Rows and lengths are padded to
# multiples, because the matrix library compiles a kernel for every new shape, which takes longer
# than the padding.
GROUP: Final = 16
ROW_MULTIPLE: Final = 8
LENGTH_MULTIPLE: Final = 8
# Weight of the ordered loss on progress, beside the cross-entropy's 1.
ORDERED_WEIGHT: Final = 2.0


class StateHead(nn.Module):
    """Reads the simulator's state off a frame's tokens.

    It teaches the vision tower and is then thrown away.
    """

    def __init__(self, width: int, mean: Tensor, spread: Tensor) -> None:
        super().__init__()
        self.mean: Tensor
        self.spread: Tensor
        self.register_buffer("mean", mean)
        self.register_buffer("spread", spread)
        self.body = nn.Sequential(
            nn.LayerNorm(width), nn.Flatten(1), nn.Linear(IMAGE_TOKENS * width, 192), nn.GELU(),
            nn.Linear(192, MEASURES + 3),
        )  # fmt: skip

    def loss(self, tokens: Tensor, rows: Tensor, progress: Tensor, has_goal: Tensor) -> Tensor:
        """Mean error on the state of each frame.

        Args:
            tokens: float (N, V, D).
            rows: float (N, len(COLUMNS)).
            progress: float (N,).
            has_goal: bool (N,), whether the task has a goal whose place can be seen.
        """
        said = self.body(tokens)
        wanted = (rows[:, :MEASURES] - self.mean) / self.spread
        error = functional.smooth_l1_loss(said[:, :MEASURES], wanted, reduction="none", beta=0.2)
        mask = torch.ones_like(error)
        mask[~has_goal, GOAL_COLUMNS] = 0.0
        flags = functional.binary_cross_entropy_with_logits(
            said[:, MEASURES : MEASURES + 2], rows[:, MEASURES:]
        )
        return (
            (error * mask).sum() / mask.sum() + 0.3 * flags + (said[:, -1] - progress).abs().mean()
        )


def state_statistics(rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """Mean and spread of the real-valued features of rows (N, len(COLUMNS))."""
    measures = torch.from_numpy(rows[:, :MEASURES])
    return measures.mean(0), measures.std(0).clamp_min(1e-3)


def vision_loss(
    model: Qwen3VLForConditionalGeneration, head: StateHead, batch: Batch
) -> tuple[Vision, Tensor]:
    """Encodes a batch's frames and returns them with the state's loss."""
    vision = encode_frames(model, torch.from_numpy(np.concatenate(batch.frames)))
    has_goal = torch.tensor([TASK_BY_ID[task].goal_actor is not None for task in batch.tasks])
    rows = torch.from_numpy(np.concatenate(batch.rows))
    progress = torch.from_numpy(np.concatenate(batch.progress)).float()
    return vision, head.loss(vision.tokens.float(), rows, progress, has_goal)


def text_loss(
    model: Qwen3VLForConditionalGeneration,
    vision: Vision,
    batch: Batch,
    labels: dict[str, list[int]],
) -> tuple[Tensor, dict[str, float]]:
    """The loss on the answers, and the mean label loss of each head."""
    ordered = sorted(batch.samples, key=lambda sample: len(sample.tokens))
    total, weights = torch.zeros(()), 0.0
    sums: dict[str, list[float]] = {head: [] for head in labels}
    for start in range(0, len(ordered), GROUP):
        group = ordered[start : start + GROUP]
        hidden = _hidden(model, vision, group)
        # What stands at a place is predicted one place before it.
        at = [sample.label_at - 1 for sample in group]
        for logits, sample in zip(
            _logits(model, hidden[range(len(group)), at]), group, strict=True
        ):
            loss = _label_loss(logits, labels[sample.head], sample)
            sums[sample.head].append(float(loss.detach()))
            total, weights = total + loss, weights + 1.0
        rows = [row for row, sample in enumerate(group) for _ in sample.plain]
        places = [at for sample in group for at, _ in sample.plain]
        if rows:
            weight = torch.tensor([w for sample in group for _, w in sample.plain])
            wanted = torch.tensor([sample.tokens[at] for sample in group for at, _ in sample.plain])
            logits = _logits(model, hidden[rows, [at - 1 for at in places]])
            total = (
                total + (functional.cross_entropy(logits, wanted, reduction="none") * weight).sum()
            )
            weights += float(weight.sum())
    return total / weights, {
        head: float(np.mean(values)) for head, values in sums.items() if values
    }


def _logits(model: Qwen3VLForConditionalGeneration, hidden: Tensor) -> Tensor:
    """Logits of hidden states (N, D) in full precision, which needs no kernel of its own for N."""
    with torch.autocast("cpu", enabled=False):
        return functional.linear(hidden.float(), model.lm_head.weight)


def _padded(count: int, multiple: int) -> int:
    """The next multiple of `multiple` from `count` on."""
    return -(-count // multiple) * multiple


def _hidden(model: Qwen3VLForConditionalGeneration, vision: Vision, group: list[Sample]) -> Tensor:
    """Decodes samples padded at the right and rows padded below; float (rows, L, D)."""
    image_token = model.config.image_token_id
    rows = _padded(len(group), ROW_MULTIPLE)
    length = _padded(max(len(sample.tokens) for sample in group), LENGTH_MULTIPLE)
    tokens = torch.zeros((rows, length), dtype=torch.int64)
    positions = torch.zeros((3, rows, length), dtype=torch.int64)
    for row, sample in enumerate(group):
        tokens[row, : len(sample.tokens)] = torch.tensor(sample.tokens)
        places = torch.tensor(positions_of(sample.tokens, image_token, IMAGE_SIDE))
        positions[:, row, : len(sample.tokens)] = places.T
    images = torch.tensor([image for sample in group for image in sample.images])
    return decode(model, tokens, positions, vision, images)


def _label_loss(logits: Tensor, labels: list[int], sample: Sample) -> Tensor:
    """Cross-entropy against the soft target.

    For progress also the squared distance of the cumulated distributions.

    Args:
        logits: float (vocabulary,).
        labels: the head's label tokens.
        sample: whose target it is.
    """
    target = torch.from_numpy(sample.target)
    logprobs = functional.log_softmax(logits, dim=-1)[labels]
    loss = -(target * logprobs).sum()
    if sample.head == "progress" and sample.ordered:
        said = functional.softmax(logits[labels], dim=-1)
        loss = loss + ORDERED_WEIGHT * (said.cumsum(0) - target.cumsum(0)).square().sum()
    return loss
