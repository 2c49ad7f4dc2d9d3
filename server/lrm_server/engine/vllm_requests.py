"""What requests to vLLM say, and what they took."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from vllm import SamplingParams
from vllm.outputs import RequestOutput
from vllm.sampling_params import RequestOutputKind

from lrm_server.callers import Priority
from lrm_server.engine.protocol import Conversation, TokenCounts

VLLM_PRIORITY: Final = {Priority.INTERACTIVE: 0, Priority.BATCH: 1}
"""vLLM takes the lowest first, also before those that came earlier and still wait in it."""


def token_counts(outputs: Sequence[RequestOutput], *, writing: bool = False) -> TokenCounts:
    """Tokens of finished requests; those that they wrote count where writing was asked for."""
    return TokenCounts(
        sum(len(output.prompt_token_ids or ()) for output in outputs),
        sum(output.num_cached_tokens or 0 for output in outputs),
        sum(len(output.outputs[0].token_ids) for output in outputs) if writing else 0,
    )


def sampling(conversation: Conversation) -> SamplingParams:
    """How the next turn of a conversation is drawn.

    Nothing here asks for log-probabilities: in one step of the engine those of a label's
    tokens, which heads read, and the most probable ones of another request exclude each other.
    """
    return SamplingParams(
        max_tokens=conversation.max_tokens,
        temperature=conversation.temperature,
        top_p=conversation.top_p,
        stop=list(conversation.stop),
        seed=conversation.seed,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )
