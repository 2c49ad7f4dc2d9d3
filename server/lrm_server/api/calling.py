"""Who makes a request, from what its headers or metadata say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from lrm_client.connection import CLIENT_KEY, PRIORITY_KEY
from lrm_server.callers import Caller, Priority
from lrm_server.errors import invalid

MAX_NAME_LENGTH: Final = 100


def caller_of(
    said: Mapping[str, str | bytes], address: str, unless_said: Priority = Priority.BATCH
) -> Caller:
    """The caller of a request.

    Args:
        said: headers or metadata, their names in lower case.
        address: of the peer, without its port; stands for a caller that has no name.
        unless_said: the priority of a request that names none.

    Raises:
        DomainError: INVALID_ARGUMENT of the header.
    """
    name, priority = _text(said.get(CLIENT_KEY)), _text(said.get(PRIORITY_KEY))
    # No name has a space: nobody can call itself what an address is called.
    return Caller(
        f"address {address}" if name is None else _checked_name(name),
        unless_said if priority is None else _checked_priority(priority),
    )


def _text(value: str | bytes | None) -> str | None:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _checked_name(name: str) -> str:
    if not 0 < len(name) <= MAX_NAME_LENGTH:
        raise invalid(
            CLIENT_KEY,
            f"the client's name has {len(name)} characters; 1 to {MAX_NAME_LENGTH} will do.",
        )
    if not (name.isascii() and name.isprintable()) or " " in name:
        raise invalid(CLIENT_KEY, "the client's name is printable ASCII without spaces.")
    return name


def _checked_priority(priority: str) -> Priority:
    try:
        return Priority(priority)
    except ValueError:
        raise invalid(
            PRIORITY_KEY,
            f"the priority is {' or '.join(each.value for each in Priority)}, not "
            f"{priority[:20]!r}.",
        ) from None
