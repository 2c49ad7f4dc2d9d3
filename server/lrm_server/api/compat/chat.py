"""``/v1/chat/completions`` in OpenAI's form, for clients that ask a model to write.

RLinf's reward worker asks so: images as data URLs, a question, a few tokens, temperature 0.
A request waits for its turn until its deadline; it is not told to come back later.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import replace

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from lrm_server.api.compat import chat_request
from lrm_server.api.compat.arrays import brief
from lrm_server.api.compat.bodies import parsed
from lrm_server.api.compat.documents import OPENAI_FAILURE, json_body
from lrm_server.api.compat.errors import CHAT
from lrm_server.api.http_state import Arrived, State, while_wanted
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.heads.catalogue import HeadCatalogue

router = APIRouter(tags=["drop-in: OpenAI"], responses={"default": OPENAI_FAILURE})


@router.post(CHAT, openapi_extra=json_body("model", "messages"))
async def chat_completions(request: Request, state: State, arrival: Arrived) -> JSONResponse:
    """What the model writes after a conversation with images."""
    catalogue = state.calls.catalogue
    limits = state.calls.limits
    content = await request.body()
    name, asked = await asyncio.to_thread(
        lambda: chat_request.conversation(
            parsed(content), limits.frame, limits.batch, arrival.deadline
        )
    )
    asked = replace(asked, adapter=_adapter(catalogue, name))
    written = await while_wanted(request, state.calls.converse(asked, arrival))
    return JSONResponse(
        {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": name,
            "system_fingerprint": catalogue.model.fingerprint,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": written.text, "refusal": None},
                    "logprobs": None,
                    "finish_reason": written.finish_reason,
                }
            ],
            "usage": {
                "prompt_tokens": written.prompt_tokens,
                "completion_tokens": written.completion_tokens,
                "total_tokens": written.prompt_tokens + written.completion_tokens,
            },
        }
    )


def _adapter(catalogue: HeadCatalogue, name: str) -> str | None:
    """The adapter that a model's name means; None for the checkpoint itself.

    Raises:
        DomainError: UNKNOWN_HEAD of ``model``.
    """
    if name == catalogue.model.id:
        return None
    adapters = sorted({head.adapter for head in catalogue.values() if head.adapter is not None})
    if name in adapters:
        return name
    raise DomainError(
        ErrorCode.UNKNOWN_HEAD,
        f"the model {brief(name)} is not served here: ask one of "
        f"{', '.join([catalogue.model.id, *adapters])} (see /v1/models).",
        field="model",
    )
