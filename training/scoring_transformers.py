"""Scores with the training code's own forward pass.

No server and no vLLM needed, for looks at a training under way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from transformers import AutoTokenizer, Qwen3VLForConditionalGeneration

from lrm_server.heads.profile import Role
from training.forward import Vision, decode, encode_frames, positions_of
from training.prompts import label_tokens, profile_of, prompt
from training.rollouts.store import decode_jpeg
from training.samples import IMAGE_SIDE, IMAGE_TOKENS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from training.scoring import Probabilities, Query

BATCH: Final = 64


class TransformersScorer:
    """Reads the labels at the forced slot, as the server's likelihood readout does."""

    def __init__(self, checkpoint: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        self.model = Qwen3VLForConditionalGeneration.from_pretrained(
            checkpoint, dtype=torch.float32
        ).eval()
        self.labels = label_tokens(self.tokenizer)

    @torch.no_grad()
    def __call__(self, queries: Sequence[Query]) -> list[Probabilities]:
        """The labels' probabilities for each query."""
        vision, number = self._encode(
            [frame for query in queries for frame in query.frames.values()]
        )
        # Queries of one length share a batch without padding.
        tokens = [self._tokens(query) for query in queries]
        found: dict[int, Probabilities] = {}
        order = sorted(range(len(queries)), key=lambda index: len(tokens[index]))
        while order:
            length = len(tokens[order[0]])
            batch = [index for index in order[:BATCH] if len(tokens[index]) == length]
            order = order[len(batch) :]
            ids = torch.tensor([tokens[index] for index in batch])
            image_token = self.model.config.image_token_id
            places = [positions_of(tokens[index], image_token, IMAGE_SIDE) for index in batch]
            images = [number[frame] for index in batch for frame in self._frames(queries[index])]
            hidden = decode(
                self.model, ids, torch.tensor(places).permute(2, 0, 1), vision, torch.tensor(images)
            )
            logits = self.model.lm_head(hidden[:, -1])
            for index, row in zip(batch, logits, strict=True):
                head = queries[index].head
                shares = torch.softmax(row[self.labels[head]], dim=-1).tolist()
                names = [label.label for label in profile_of(head).labels]
                found[index] = dict(zip(names, shares, strict=True))
        return [found[index] for index in range(len(queries))]

    def _encode(self, jpegs: list[bytes]) -> tuple[Vision, dict[bytes, int]]:
        """Encodes each different frame once; returns where it stands."""
        number = {jpeg: index for index, jpeg in enumerate(dict.fromkeys(jpegs))}
        parts = []
        distinct = list(number)
        for start in range(0, len(distinct), BATCH):
            frames = np.stack([decode_jpeg(jpeg) for jpeg in distinct[start : start + BATCH]])
            parts.append(encode_frames(self.model, torch.from_numpy(frames)))
        deep = [torch.cat(layers) for layers in zip(*(part.deep for part in parts), strict=True)]
        return Vision(torch.cat([part.tokens for part in parts]), deep), number

    def _frames(self, query: Query) -> list[bytes]:
        roles = prompt(query.head, query.task, frozenset(Role(role) for role in query.frames)).roles
        return [query.frames[role.value] for role in roles]

    def _tokens(self, query: Query) -> list[int]:
        asked = prompt(query.head, query.task, frozenset(Role(role) for role in query.frames))
        text = asked.text + profile_of(query.head).answer_prefix
        image_token = self.model.config.image_token_id
        tokens: list[int] = []
        for token in self.tokenizer(text).input_ids:
            tokens.extend([token] * (IMAGE_TOKENS if token == image_token else 1))
        return tokens
