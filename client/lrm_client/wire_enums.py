"""Between the words of an enum and its number on the wire."""

from __future__ import annotations

from typing import Any

from lrm_client.errors import InvalidRequest, ServerError


def number_of(kind: Any, word: str | None) -> int:
    """The number of a word, such as ``hold`` of ``pb.Hold``; 0, the default, for None.

    Raises:
        ValueError: the enum has no such word.
    """
    if word is None:
        return 0
    # A str enum formats as its member's name, so the value is asked for.
    word = str(getattr(word, "value", word))
    try:
        number: int = kind.Value(_prefix(kind) + word.upper())
    except ValueError:
        known = [key.removeprefix(_prefix(kind)).lower() for key, value in kind.items() if value]
        raise ValueError(f"{word!r} is none of {', '.join(known)}") from None
    return number


def to_wire(kind: Any, word: str | None) -> int:
    """As ``number_of``, for a word that a caller wrote.

    Raises:
        InvalidRequest: the enum has no such word.
    """
    try:
        return number_of(kind, word)
    except ValueError as error:
        field = kind.DESCRIPTOR.name.lower()
        raise InvalidRequest(f"{field}: {error}", field=field) from None


def from_wire(kind: Any, number: int) -> str | None:
    """The word of a number; None for 0.

    Raises:
        ServerError: the number is of a newer protocol.
    """
    if number == 0:
        return None
    try:
        name: str = kind.Name(number)
    except ValueError:
        raise ServerError(
            f"the server answered {_prefix(kind)}{number}, which this client does not know: "
            "update the client"
        ) from None
    return name.removeprefix(_prefix(kind)).lower()


def _prefix(kind: Any) -> str:
    return f"{kind.DESCRIPTOR.name.upper()}_"
