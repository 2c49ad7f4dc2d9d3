"""Robometer's heads as a vLLM pooler that reads single tokens, wherever a prompt was begun.

vLLM's own poolers over tokens hand out every token's hidden state and lose those
of a prefix that came from the cache, so they forbid reading it. This one computes
the heads at the read tokens among those that a step computes and names each by
its place in the prompt: the caller sees which are missing because they lay in
the cached prefix, and knows them from the request that put them there.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any, Final

import torch
from torch import nn
from vllm.model_executor.layers.pooler import PoolingParamsUpdate
from vllm.model_executor.layers.pooler.abstract import Pooler
from vllm.tasks import PoolingTask
from vllm.v1.outputs import PoolerOutput
from vllm.v1.pool.metadata import PoolingMetadata

COLUMNS: Final = ("position", "progress", "success", "preference")
"""Of a row: the token's place in the prompt, then the three heads' answers in [0, 1]."""
TASK: Final[PoolingTask] = "token_classify"
"""The task by which it is asked; vLLM's second model runner knows no tasks but its own."""


class Head(nn.Sequential):
    """Linear -> LayerNorm -> GELU -> (dropout in training) -> Linear, as Robometer numbers them."""

    def __init__(self, hidden: int, outputs: int) -> None:
        super().__init__(
            nn.Linear(hidden, hidden // 2),
            nn.LayerNorm(hidden // 2),
            nn.GELU(),
            nn.Identity(),
            nn.Linear(hidden // 2, outputs),
        )


class ReadTokenPooler(Pooler):
    """Gives a request float32 (rows, 4): ``COLUMNS`` of each read token that was computed for it.

    A request's steps (chunked prefill) add to its rows; a token that is computed
    again after a preemption appears again, with the same answers.
    """

    def __init__(self, heads: Sequence[Head], read_tokens: Sequence[int]) -> None:
        super().__init__()
        # The model owns the heads; here they would get a second name among its tensors.
        self._heads = tuple(heads)
        self._read_tokens = torch.tensor(sorted(read_tokens), dtype=torch.int64, device="cpu")

    def get_supported_tasks(self) -> Set[PoolingTask]:
        """The one task."""
        return {TASK}

    def get_pooling_updates(self, task: PoolingTask) -> PoolingParamsUpdate:
        """Asks for the prompt's tokens, to find the read ones."""
        return PoolingParamsUpdate(requires_token_ids=True)

    def forward(
        self, hidden_states: torch.Tensor, pooling_metadata: PoolingMetadata
    ) -> PoolerOutput:
        """The rows of requests whose prompt is now computed; None for the others.

        Args:
            hidden_states: (tokens of this step, hidden), requests one after another.
            pooling_metadata: where each request stands.
        """
        cursor = pooling_metadata.get_pooling_cursor()
        prompts = pooling_metadata.get_prompt_token_ids_cpu()
        counts: list[int] = cursor.num_scheduled_tokens_cpu.tolist()
        stops: list[int] = cursor.seq_lens_cpu.tolist()
        places, rows_of_step, first = [], [], 0
        for prompt, count, stop in zip(prompts, counts, stops, strict=True):
            start = stop - count
            found = torch.isin(prompt[start:stop], self._read_tokens).nonzero().flatten()
            places.append(found + start)
            rows_of_step.append(found + first)
            first += count
        answers = self._answers(hidden_states, torch.cat(rows_of_step))
        positions = torch.cat(places).to(answers.device, answers.dtype).unsqueeze(1)
        rows = torch.split(torch.cat([positions, answers], dim=1), [len(each) for each in places])
        output: list[torch.Tensor | None] = []
        for new, state, done in zip(
            rows, pooling_metadata.pooling_states, cursor.get_finished_mask(), strict=True
        ):
            state.hidden_states_cache.append(new)
            output.append(torch.cat(state.hidden_states_cache) if done else None)
            if done:
                state.clean()
        return output

    def _answers(self, hidden_states: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """float32 (rows, 3): progress, success and preference at some of the step's tokens."""
        read = hidden_states[rows.to(hidden_states.device)]
        progress, success, preference = (head(read).float() for head in self._heads)
        bins = torch.linspace(0.0, 1.0, progress.shape[1], device=progress.device)
        expected = (progress.softmax(dim=1) * bins).sum(dim=1, keepdim=True)
        return torch.cat([expected, success.sigmoid(), preference.sigmoid()], dim=1)


def rows_by_position(data: Any) -> dict[int, tuple[float, float, float]]:
    """Position -> progress, success, preference, from what the pooler gave one request."""
    return {int(row[0]): (row[1], row[2], row[3]) for row in data.tolist()}
