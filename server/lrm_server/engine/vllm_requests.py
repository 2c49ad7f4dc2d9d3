"""What requests to vLLM say, and what they took."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from typing import Final, TypeVar

from vllm import SamplingParams
from vllm.exceptions import VLLMClientError, VLLMServerError
from vllm.outputs import RequestOutput
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

from lrm_server.callers import Priority
from lrm_server.engine.protocol import Conversation, TokenCounts
from lrm_server.engine.supervision import unavailable
from lrm_server.errors import DomainError, ErrorCode

logger = logging.getLogger(__name__)

Output = TypeVar("Output")

VLLM_PRIORITY: Final = {Priority.INTERACTIVE: 0, Priority.BATCH: 1}
"""vLLM takes the lowest first, also before those that came earlier and still wait in it."""


async def last_of(outputs: AsyncIterator[Output]) -> Output:
    """Waits for the last output of a request; cancelling aborts the request in the engine.

    Raises:
        DomainError: UNAVAILABLE when the engine died or dropped it, INTERNAL when the engine
            failed on it.
    """
    final: Output | None = None
    try:
        async for output in outputs:
            final = output
    except EngineDeadError as error:
        raise unavailable("the engine died and is being started again") from error
    except (EngineGenerateError, VLLMClientError, VLLMServerError) as error:
        logger.exception("the engine failed on a question")
        raise DomainError(
            ErrorCode.INTERNAL, "the engine failed on this question; its log tells why."
        ) from error
    if final is None:
        raise unavailable("the engine dropped the question")
    return final


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
