"""A chat completion, checked: what was written, and how probable each token was."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lrm_server.engine.chat.failures import broken_answer

_ROUNDING = 0.02
"""By how much probabilities of one place may sum to more than 1: endpoints round."""


@dataclass(frozen=True, slots=True)
class Position:
    """One token that was written, and the most probable ones in its place.

    Attributes:
        token: its bytes.
        alternatives: bytes -> natural logarithm of the probability; ``token`` is
            among them. Tokens of equal bytes are added up.
    """

    token: bytes
    alternatives: dict[bytes, float]


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model wrote.

    Attributes:
        text: the message; "" when it wrote none.
        refusal: why it wrote none, if it said so.
        finish_reason: as the endpoint says.
        positions: a token each; empty where no log-probabilities came.
        prompt_tokens: 0 when the endpoint does not count.
        completion_tokens: 0 when the endpoint does not count.
    """

    text: str
    refusal: str
    finish_reason: str
    positions: tuple[Position, ...]
    prompt_tokens: int
    completion_tokens: int


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Alternative(_Wire):
    token: str
    # -9999 stands for "very unlikely" in OpenAI's form.
    logprob: Annotated[float, Field(le=_ROUNDING, allow_inf_nan=False)]
    numbers: list[Annotated[int, Field(ge=0, le=255)]] | None = Field(None, alias="bytes")

    @property
    def raw(self) -> bytes:
        """A token may be a part of a character, which text cannot show."""
        return self.token.encode() if self.numbers is None else bytes(self.numbers)


class _Token(_Alternative):
    top_logprobs: list[_Alternative] = []


class _Logprobs(_Wire):
    content: list[_Token] | None = None


class _Message(_Wire):
    content: str | None = None
    refusal: str | None = None


class _Choice(_Wire):
    message: _Message
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Usage(_Wire):
    prompt_tokens: Annotated[int, Field(ge=0)] = 0
    completion_tokens: Annotated[int, Field(ge=0)] = 0


class _Reply(_Wire):
    choices: Annotated[list[_Choice], Field(min_length=1)]
    usage: _Usage | None = None


def parse_completion(content: Any, host: str) -> Completion:
    """A completion from an endpoint's JSON.

    Raises:
        DomainError: INTERNAL naming the first field that is wrong.
    """
    try:
        reply = _Reply.model_validate(content)
    except ValidationError as error:
        wrong = error.errors()[0]
        place = ".".join(str(part) for part in wrong["loc"]) or "the whole"
        raise broken_answer(host, f"{place}: {wrong['msg']}") from None
    choice = reply.choices[0]
    usage = reply.usage or _Usage()
    tokens = (choice.logprobs.content if choice.logprobs else None) or []
    return Completion(
        text=choice.message.content or "",
        refusal=choice.message.refusal or "",
        finish_reason=choice.finish_reason or "",
        positions=tuple(_position(token, host) for token in tokens),
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
    )


def _position(token: _Token, host: str) -> Position:
    listed = list(token.top_logprobs)
    if all((each.raw, each.logprob) != (token.raw, token.logprob) for each in listed):
        listed.append(token)
    shares: dict[bytes, float] = {}
    for each in listed:
        shares[each.raw] = shares.get(each.raw, 0.0) + math.exp(each.logprob)
    total = sum(shares.values())
    if total > 1.0 + _ROUNDING:
        raise broken_answer(host, f"the probabilities of one token sum to {total:.3f}")
    scale = max(1.0, total)
    return Position(
        token.raw,
        {raw: math.log(share / scale) if share else -math.inf for raw, share in shares.items()},
    )
