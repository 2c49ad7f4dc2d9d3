"""What an endpoint's failures mean to a query: which pass, and what is told of them."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from lrm_server.errors import DomainError, ErrorCode

MOST_TOLD = 300
_PASSING = frozenset({408, 409, 425, 429})


class PassingError(Exception):
    """A failure that another attempt may not meet.

    Attributes:
        error: what is told when there is no time for another.
        wait: seconds that the endpoint asked for; None when it did not say.
    """

    def __init__(self, error: DomainError, wait: float | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.wait = wait

    def pause(self, backoff: float) -> float:
        """Seconds until the next attempt; what the endpoint asked for counts as the least."""
        return backoff if self.wait is None else self.wait + backoff


class KeyRefusedError(DomainError):
    """The endpoint does not know the key at all; no other question will fare better."""


def refused(
    host: str, status: int, body: bytes, key: str, wait: float | None
) -> DomainError | PassingError:
    """The error of an HTTP status that is neither a success nor a redirect.

    Args:
        host: of the endpoint.
        status: HTTP status.
        body: what came with it, possibly cut.
        key: never told, even where the endpoint repeats it.
        wait: seconds after which the endpoint wants to be asked again, if it said.
    """
    said = _said(body, key)
    if status == 429:
        return PassingError(
            DomainError(
                ErrorCode.OVERLOADED,
                f"the endpoint {host} limits the rate (429): {said}",
                retry_after_seconds=wait,
            ),
            wait,
        )
    if status >= 500 or status in _PASSING:
        return PassingError(
            DomainError(ErrorCode.UNAVAILABLE, f"the endpoint {host} fails ({status}): {said}"),
            wait,
        )
    if status in (401, 403):
        kind = KeyRefusedError if status == 401 else DomainError
        return kind(
            ErrorCode.INTERNAL,
            f"the endpoint {host} refuses the key ({status}): check remote_key (LRM_REMOTE_KEY).",
        )
    if status in (404, 405):
        return DomainError(
            ErrorCode.INTERNAL,
            f"the endpoint {host} does not serve this ({status}): check remote_url and model. "
            f"It said: {said}",
        )
    return DomainError(
        ErrorCode.INVALID_ARGUMENT, f"the endpoint {host} refuses the question ({status}): {said}"
    )


def broken_answer(host: str, why: str) -> DomainError:
    """The error of an answer that is no chat completion."""
    return DomainError(
        ErrorCode.INTERNAL,
        f"the endpoint {host} did not answer with a chat completion: {why}. Check remote_url.",
    )


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """How long the endpoint wants to be left alone; None when it does not say so."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "").strip()
        if not value:
            continue
        try:
            seconds = float(value) * unit
        except ValueError:
            try:
                seconds = parsedate_to_datetime(value).timestamp() - time.time()
            except (ValueError, TypeError, OverflowError):
                continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    return None


def _said(body: bytes, key: str) -> str:
    """The endpoint's own words, short, on one line, without the key."""
    text = body.decode("utf-8", errors="replace")
    with contextlib.suppress(ValueError, RecursionError):
        text = _message(json.loads(text)) or text
    if key:
        text = text.replace(key, "[key]")
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return f"{line[:MOST_TOLD]}..." if len(line) > MOST_TOLD else line or "nothing more."


def _message(content: Any) -> str:
    """Where the endpoints of the field put their message."""
    if isinstance(content, list) and content:
        content = content[0]
    for name in ("error", "message", "detail"):
        if isinstance(content, dict) and name in content:
            inner = content[name]
            return inner if isinstance(inner, str) else _message(inner)
    return ""
