"""A chat completion's request in OpenAI's form, as a conversation of the engine.

Images are data URLs: URLs that name a place are never opened. A parameter that would change
the answer and is not honoured is refused, so that nobody believes that it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lrm_server.api.compat.arrays import brief, from_base64
from lrm_server.api.compat.bodies import Object
from lrm_server.api.http_errors import refusal_of
from lrm_server.engine.protocol import Conversation, FrameSlot, Message, TurnPart
from lrm_server.errors import DomainError, invalid
from lrm_server.frames import Encoding, Frame, FrameLimits, open_frame

MOST_STOPS: Final = 4
MOST_STOP_CHARACTERS: Final = 256
MOST_SEED: Final = 2**63 - 1
_ENCODINGS: Final = {
    "image/jpeg": Encoding.JPEG,
    "image/jpg": Encoding.JPEG,
    "image/png": Encoding.PNG,
}
# What these say changes nothing here.
_OF_NO_EFFECT: Final = frozenset(
    {"user", "metadata", "store", "service_tier", "stream_options", "safety_identifier",
     "prompt_cache_key", "parallel_tool_calls"}
)  # fmt: skip
# What is not honoured: the values that ask for nothing, and what to do instead of others.
_ONLY: Final[Mapping[str, tuple[tuple[Any, ...], str]]] = {
    "n": ((1, None), "one answer is written: ask several times."),
    "stream": ((False, None), "answers are sent whole: leave stream out."),
    "logprobs": (
        (False, None),
        "log-probabilities are what heads are for: ask /v1/score with a profile whose labels are "
        "the answers.",
    ),
    "top_logprobs": ((0, None), "see logprobs."),
    "frequency_penalty": ((0, None), "leave it out."),
    "presence_penalty": ((0, None), "leave it out."),
    "repetition_penalty": ((1, None), "leave it out."),
    "top_k": ((0, -1, None), "leave it out, or use top_p."),
    "min_p": ((0, None), "leave it out."),
    "logit_bias": ((None, {}), "leave it out."),
    "response_format": ((None, {"type": "text"}), "answers are text: leave it out."),
    "tools": ((None, []), "the model calls no tools: leave them out."),
    "tool_choice": ((None, "none", "auto"), "the model calls no tools: leave it out."),
}


class _Settings(BaseModel):
    """The parameters that are honoured."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    model: str
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-MOST_SEED, le=MOST_SEED)] | None = None
    stop: (
        Annotated[str, Field(min_length=1, max_length=MOST_STOP_CHARACTERS)]
        | Annotated[
            list[Annotated[str, Field(min_length=1, max_length=MOST_STOP_CHARACTERS)]],
            Field(max_length=MOST_STOPS),
        ]
        | None
    ) = None

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts that end an answer."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


def conversation(
    body: Object, limits: FrameLimits, most: int, deadline: float
) -> tuple[str, Conversation]:
    """The name of the model that is asked, and what it is asked; no adapter is chosen yet.

    Args:
        body: of the request.
        limits: of each image.
        most: messages, and parts of a message.
        deadline: of the answer.

    Raises:
        DomainError: INVALID_ARGUMENT or IMAGE_TOO_LARGE of a parameter, which it names.
    """
    settings = _settings(body)
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise invalid("messages", f"messages is {brief(messages)}: send at least one.")
    if len(messages) > most:
        raise invalid("messages", f"there are {len(messages)} messages and the limit is {most}.")
    turns = tuple(
        _message(each, f"messages[{at}]", limits, most) for at, each in enumerate(messages)
    )
    if turns[-1].role != "user":
        raise invalid(
            f"messages[{len(turns) - 1}].role", "the last message is the user's: send it last."
        )
    return settings.model, Conversation(
        messages=turns,
        max_tokens=settings.max_completion_tokens or settings.max_tokens,
        temperature=1.0 if settings.temperature is None else settings.temperature,
        top_p=settings.top_p or 1.0,
        stop=settings.stops,
        seed=settings.seed,
        deadline=deadline,
    )


def _settings(body: Object) -> _Settings:
    for name, (harmless, instead) in _ONLY.items():
        if name in body and not any(_same(body[name], value) for value in harmless):
            raise invalid(name, f"{name} {brief(body[name])} is not supported: {instead}")
    left = {
        name: value
        for name, value in body.items()
        if name not in _ONLY and name not in _OF_NO_EFFECT and name != "messages"
    }
    try:
        return _Settings.model_validate(left)
    except ValidationError as error:
        raise refusal_of(error) from None


def _same(value: Any, other: Any) -> bool:
    """Equal, and 0 is not False."""
    return isinstance(value, bool) == isinstance(other, bool) and bool(value == other)


def _message(message: Any, place: str, limits: FrameLimits, most: int) -> Message:
    if not isinstance(message, dict):
        raise invalid(place, f"a message is an object and {brief(message)} came.")
    role = message.get("role")
    roles: dict[Any, Literal["system", "user", "assistant"]] = {
        "system": "system",
        "developer": "system",
        "user": "user",
        "assistant": "assistant",
    }
    if not isinstance(role, str) or role not in roles:
        raise invalid(f"{place}.role", f"the role is {brief(role)}: send {', '.join(roles)}.")
    content = message.get("content")
    if isinstance(content, str):
        return Message(roles[role], (content,))
    if not isinstance(content, list) or not content or len(content) > most:
        raise invalid(
            f"{place}.content", f"the content is {brief(content)}: send text, or 1 to {most} parts."
        )
    return Message(
        roles[role],
        tuple(
            _part(part, f"{place}.content[{at}]", limits, role == "user")
            for at, part in enumerate(content)
        ),
    )


def _part(part: Any, place: str, limits: FrameLimits, may_show: bool) -> TurnPart:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    if kind == "image_url" and may_show:
        image = part.get("image_url")
        url = image.get("url") if isinstance(image, dict) else image
        return FrameSlot(_image(url, f"{place}.image_url", limits), f"{place}.image_url")
    raise invalid(
        place,
        f'the part is {brief(kind)}: send {{"type": "text", "text": ...}}, or in the user\'s '
        'messages {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,..."}}.',
    )


def _image(url: Any, place: str, limits: FrameLimits) -> Frame:
    """The image in a data URL; no other URL is looked at."""
    if not isinstance(url, str) or not url.startswith("data:"):
        raise invalid(
            place,
            "the image is no data URL: send its bytes as data:image/jpeg;base64,... (or png). "
            "URLs and paths are never opened.",
        )
    header, comma, data = url.removeprefix("data:").partition(",")
    kind, _, form = header.partition(";")
    encoding = _ENCODINGS.get(kind.lower())
    if not comma or form != "base64" or encoding is None:
        raise invalid(
            place,
            f"the data URL begins with {brief(header[:60])}: send image/jpeg;base64 or "
            "image/png;base64.",
        )
    try:
        return open_frame(from_base64(data, limits.max_bytes, limits), encoding, limits)
    except DomainError as error:
        # What is wrong in a URL is the URL.
        raise DomainError(error.code, error.message, field=place) from None
