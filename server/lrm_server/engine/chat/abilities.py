"""What an endpoint can, found out once at the start with a few tokens of text."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from typing import Any, Literal

from lrm_server.engine.chat.completions import Completion, parse_completion
from lrm_server.engine.chat.endpoint import Endpoint
from lrm_server.engine.chat.messages import ChatMessage, assistant_message
from lrm_server.errors import DomainError, ErrorCode

logger = logging.getLogger(__name__)

Prefill = Literal["auto", "yes", "no"]

CONTINUE: Mapping[str, bool] = {"continue_final_message": True, "add_generation_prompt": False}
"""vLLM's and SGLang's words for: go on with the last message. Others ignore or refuse them."""
_NEW_TURN = {name: not on for name, on in CONTINUE.items()}
_TOP = (20, 5)
"""The most alternatives that OpenAI's form allows, and what smaller endpoints allow."""
_BOUND = ("max_tokens", "max_completion_tokens")
_OPTIONAL_WITHIN_S = 20.0
_FEW = 16
_ASKED: list[ChatMessage] = [
    {"role": "user", "content": 'Write the JSON object {"colour": "green"}.'}
]
_BEGUN = '{"colour": "'


@dataclass(frozen=True, slots=True)
class Abilities:
    """How an endpoint is spoken to.

    Attributes:
        bound: the field that bounds what is written.
        sampling: fields that make it write what is most probable; some models refuse them.
        top: alternatives that are listed for each token; 0 when it lists none.
        prefill: whether it goes on with an assistant's message that was begun for it.
    """

    bound: str = "max_tokens"
    sampling: Mapping[str, Any] = field(default_factory=lambda: {"temperature": 0.0})
    top: int = 0
    prefill: bool = False

    def sampled(
        self, temperature: float, top_p: float, seed: int | None, stop: Sequence[str]
    ) -> dict[str, Any]:
        """Fields that sample in this way, as far as the endpoint lets itself be told."""
        fields: dict[str, Any] = {}
        if self.sampling:
            fields |= {"temperature": temperature, "top_p": top_p}
        if seed is not None:
            fields["seed"] = seed
        if stop:
            fields["stop"] = list(stop)
        return fields

    def request(
        self,
        model: str,
        messages: list[ChatMessage],
        max_tokens: int | None,
        *,
        listed: bool = False,
    ) -> dict[str, Any]:
        """The body of a request.

        Args:
            model: the endpoint's name for it.
            messages: of the chat; a last one of the assistant is continued.
            max_tokens: bound on what is written; None leaves it to the endpoint.
            listed: whether the alternatives of each token are wanted.
        """
        body = {"model": model, "messages": messages, **self.sampling}
        if max_tokens is not None:
            body[self.bound] = max_tokens
        if listed:
            body |= {"logprobs": True, "top_logprobs": self.top}
        if messages[-1]["role"] == "assistant":
            body |= CONTINUE
        return body


async def probe(
    endpoint: Endpoint, model: str, prefill: Prefill, deadline: float | None = None
) -> Abilities:
    """Asks the endpoint for a word in several ways and remembers what it takes.

    Whether it continues a message cannot be seen in what it writes; it can in the
    number of prompt tokens, which is smaller when the assistant's turn stays open. An
    endpoint that does not count tokens, or that always continues, is believed not to:
    say ``prefill="yes"`` for it.

    Args:
        endpoint: who is asked.
        model: the endpoint's name for it.
        prefill: what is known already of its continuing messages.
        deadline: time.monotonic() seconds.

    Raises:
        DomainError: the endpoint cannot be reached, refuses the key, or does not take
            a plain question.
    """
    ask = partial(_ask, endpoint, model)
    abilities = await _first_taken(partial(ask, deadline))

    async def optional(
        how: Abilities, messages: list[ChatMessage], **fields: bool
    ) -> Completion | None:
        soon = time.monotonic() + _OPTIONAL_WITHIN_S
        return await _unless_refused(
            ask(soon if deadline is None else min(soon, deadline), how, messages, **fields)
        )

    for top in _TOP:
        listing = replace(abilities, top=top)
        found = await optional(listing, _ASKED)
        if found is not None and any(len(each.alternatives) > 1 for each in found.positions):
            abilities = listing
            break
    if prefill == "auto" and abilities.top:
        begun = [*_ASKED, assistant_message(_BEGUN)]
        opened = await optional(abilities, begun)
        closed = await optional(abilities, begun, **_NEW_TURN)
        continues = (
            opened is not None
            and closed is not None
            and 0 < opened.prompt_tokens < closed.prompt_tokens
        )
    else:
        continues = prefill == "yes"
    abilities = replace(abilities, prefill=continues)
    logger.info("%s at %s: %s", model, endpoint.host, abilities)
    return abilities


async def _ask(
    endpoint: Endpoint,
    model: str,
    deadline: float | None,
    how: Abilities,
    messages: list[ChatMessage],
    **fields: bool,
) -> Completion:
    body = how.request(model, messages, _FEW, listed=how.top > 0) | fields
    answer = await endpoint.post("chat/completions", body, deadline)
    return parse_completion(answer.content, endpoint.host)


async def _unless_refused(asking: Awaitable[Completion]) -> Completion | None:
    try:
        return await asking
    except DomainError as error:
        # Some servers fail with 500 on fields that they do not know.
        if error.code not in (ErrorCode.INVALID_ARGUMENT, ErrorCode.UNAVAILABLE):
            raise
        return None


async def _first_taken(
    ask: Callable[[Abilities, list[ChatMessage]], Awaitable[Completion]],
) -> Abilities:
    """The first way of bounding and sampling that is not refused."""
    refusals: list[DomainError] = []
    for sampling, bound in product(({"temperature": 0.0}, {}), _BOUND):
        how = Abilities(bound=bound, sampling=sampling)
        try:
            await ask(how, _ASKED)
        except DomainError as error:
            if error.code is not ErrorCode.INVALID_ARGUMENT:
                raise
            refusals.append(error)
        else:
            return how
    raise refusals[0]
