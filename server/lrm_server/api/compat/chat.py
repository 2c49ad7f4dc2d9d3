"""``/v1/chat/completions`` in OpenAI's form, for clients that ask a model to write.

RLinf's reward worker asks so: images as data URLs, a question, a few tokens, temperature 0.
A request waits for its turn until its deadline; it is not told to come back later.
"""

from __future__ import annotations

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
from lrm_server.heads.catalogue import HeadCatalogue, ModelCard

router = APIRouter(tags=["drop-in: OpenAI"], responses={"default": OPENAI_FAILURE})


@router.post(CHAT, openapi_extra=json_body("model", "messages"))
async def chat_completions(request: Request, state: State, arrival: Arrived) -> JSONResponse:
    """What the model writes after a conversation with images."""
    catalogue = state.calls.catalogue
    limits = state.calls.limits
    content = await request.body()
    name, asked = await state.calls.beside(
        lambda: chat_request.conversation(
            parsed(content), limits.frame, limits.batch, arrival.deadline
        )
    )
    model, adapter = _named(catalogue, name)
    asked = replace(asked, model=model.id, adapter=adapter)
    written = await while_wanted(request, state.calls.converse(asked, arrival))
    return JSONResponse(
        {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": name,
            "system_fingerprint": model.fingerprint,
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


def _named(catalogue: HeadCatalogue, name: str) -> tuple[ModelCard, str | None]:
    """The model that a name means, and its adapter; None for the checkpoint itself.

    Raises:
        DomainError: UNKNOWN_HEAD of ``model``.
    """
    models = {each.model.id: (each.model, None) for each in catalogue.models}
    adapters = {
        head.adapter: (each.model, head.adapter)
        for each in reversed(catalogue.models)
        for head in each.values()
        if head.adapter is not None
    }
    served: dict[str, tuple[ModelCard, str | None]] = {**adapters, **models}
    if name in served:
        return served[name]
    raise DomainError(
        ErrorCode.UNKNOWN_HEAD,
        f"the model {brief(name)} is not served here: ask one of "
        f"{', '.join([*models, *sorted(adapters)])} (see /v1/models).",
        field="model",
    )
