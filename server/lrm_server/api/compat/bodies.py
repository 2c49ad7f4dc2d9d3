"""Bodies of other projects' requests: objects of which unknown fields are left alone."""

from __future__ import annotations

from typing import Any, TypeAlias

from pydantic_core import from_json

from lrm_server.api.compat.arrays import brief
from lrm_server.errors import invalid

Object: TypeAlias = dict[str, Any]


def parsed(content: bytes) -> Object:
    """The JSON object in a request's body.

    Raises:
        DomainError: INVALID_ARGUMENT when it is no JSON, or none of an object.
    """
    try:
        body = from_json(content, allow_inf_nan=False)
    except ValueError as error:
        raise invalid("", f"the body is not JSON ({error}).") from None
    if not isinstance(body, dict):
        raise invalid("", f"the body is {brief(body)}: send a JSON object.")
    return body


def text_of(body: Object, name: str) -> str:
    """A field that must be text.

    Raises:
        DomainError: INVALID_ARGUMENT of the field.
    """
    value = body.get(name)
    if not isinstance(value, str):
        came = "is missing" if name not in body else f"is {brief(value)}"
        raise invalid(name, f"{name} {came}: send text.")
    return value


def list_of(body: Object, name: str, most: int) -> list[Any]:
    """A field that must be a list of at least one item.

    Args:
        body: in which it stands.
        name: of the field.
        most: items that it may have.

    Raises:
        DomainError: INVALID_ARGUMENT of the field.
    """
    value = body.get(name)
    if not isinstance(value, list) or not value:
        came = "is missing" if name not in body else f"is {brief(value)}"
        raise invalid(name, f"{name} {came}: send a list of at least one.")
    if len(value) > most:
        raise invalid(name, f"{name} has {len(value)} items and the limit is {most}: send fewer.")
    return value
