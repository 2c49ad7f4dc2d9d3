"""HTTP to one OpenAI-compatible endpoint: bounded, retried inside the deadline, never redirected.

httpx with a small loop of its own, because what matters here is what a general
retry library does not know: the query's deadline, ``Retry-After``, and which failure
to tell when the time is up.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from lrm_server.engine.chat.failures import (
    PassingError,
    broken_answer,
    refused,
    retry_after_seconds,
)
from lrm_server.errors import DomainError, ErrorCode, invalid

logger = logging.getLogger(__name__)

MAX_ANSWER_BYTES = 8 * 1024 * 1024
"""An answer of 512 tokens with twenty alternatives each takes about 1 MiB."""
MAX_ERROR_BYTES = 16 * 1024
CONNECT_WITHIN_S = 5.0
EARLIER_S = 0.02
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 8.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the endpoint answered.

    Attributes:
        content: the parsed JSON.
        waited_ms: milliseconds before a free connection and between attempts.
    """

    content: Any
    waited_ms: float


class Endpoint:
    """One base URL, one key, a bounded number of requests at once.

    Args:
        base_url: such as ``https://host/v1``; ``/chat/completions`` follows it.
        key: sent as a bearer token to this host alone; None where none is wanted.
        concurrency: requests in flight at most; the others wait.
        timeout_seconds: for requests that bring no deadline.

    Raises:
        DomainError: INVALID_ARGUMENT of ``remote_url`` or ``remote_key``.
    """

    def __init__(
        self, base_url: str, key: str | None, *, concurrency: int, timeout_seconds: float
    ) -> None:
        self.host = _checked_host(base_url)
        self._base = base_url.rstrip("/")
        self._key = _checked_key(key)
        self._timeout_seconds = timeout_seconds
        self._places = asyncio.Semaphore(concurrency)
        self._in_flight = 0
        headers = {"accept": "application/json", "accept-encoding": "identity"}
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        self._client = httpx.AsyncClient(
            headers=headers,
            follow_redirects=False,
            # Proxies are for the way out, not for a server beside this one.
            trust_env=not _is_local(self.host),
            limits=httpx.Limits(max_connections=concurrency + 1),
            # Callers bound the whole of an attempt.
            timeout=httpx.Timeout(None, connect=CONNECT_WITHIN_S),
        )

    @property
    def in_flight(self) -> int:
        """Requests that the endpoint is working on."""
        return self._in_flight

    async def close(self) -> None:
        """Closes its connections."""
        await self._client.aclose()

    async def post(self, path: str, body: object, deadline: float | None) -> Answer:
        """Sends JSON and waits for JSON; 408, 429, 5xx and lost connections are tried again.

        Between attempts it waits for as long as the endpoint asked, or else a random
        part of a time that doubles. When the next attempt would begin after the
        deadline, the last failure is told at once; when the deadline cuts an attempt
        short, what failed before it is told.

        Args:
            path: below the base URL.
            body: what is sent.
            deadline: time.monotonic() seconds; ``timeout_seconds`` from now when None.

        Raises:
            DomainError: OVERLOADED after a 429, UNAVAILABLE after a 5xx or without a
                connection, DEADLINE_EXCEEDED, INVALID_ARGUMENT for what the endpoint
                refuses, INTERNAL for a redirect, a wrong key, or an answer that is no JSON.
        """
        began = time.monotonic()
        if deadline is None:
            deadline = began + self._timeout_seconds
        content = json.dumps(body).encode()
        waited = 0.0
        attempt = 0
        last: DomainError | None = None
        while True:
            asked = time.monotonic()
            try:
                # A little sooner than whoever waits for this, to say what the matter was.
                async with asyncio.timeout(deadline - EARLIER_S - asked):
                    async with self._places:
                        waited += time.monotonic() - asked
                        return Answer(await self._send("POST", path, content), 1000 * waited)
            except TimeoutError:
                raise last or DomainError(
                    ErrorCode.DEADLINE_EXCEEDED,
                    f"the endpoint {self.host} did not answer before the deadline: allow more "
                    "time, or ask it less at once.",
                ) from None
            except PassingError as failure:
                last = failure.error
                pause = failure.pause(
                    random.uniform(0, min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**attempt))  # noqa: S311 - spreads retries
                )
                if time.monotonic() + pause >= deadline:
                    raise last from None
                logger.info("%s Trying again in %.1f s.", last.message, pause)
            await asyncio.sleep(pause)
            waited += pause
            attempt += 1

    async def get(self, path: str, within_seconds: float) -> Any:
        """Asks once and waits no longer than this.

        Raises:
            DomainError: as ``post``.
        """
        try:
            async with asyncio.timeout(within_seconds):
                return await self._send("GET", path, None)
        except TimeoutError:
            raise DomainError(
                ErrorCode.UNAVAILABLE,
                f"the endpoint {self.host} did not answer within {within_seconds:g} seconds.",
            ) from None
        except PassingError as failure:
            raise failure.error from None

    async def _send(self, method: str, path: str, content: bytes | None) -> Any:
        headers = {} if content is None else {"content-type": "application/json"}
        self._in_flight += 1
        try:
            async with self._client.stream(
                method, f"{self._base}/{path}", content=content, headers=headers
            ) as response:
                return await self._read(response)
        except httpx.TransportError as error:
            # The cause stays out: its text may hold a header.
            raise PassingError(
                DomainError(
                    ErrorCode.UNAVAILABLE,
                    f"the endpoint {self.host} cannot be reached ({type(error).__name__}).",
                )
            ) from None
        finally:
            self._in_flight -= 1

    async def _read(self, response: httpx.Response) -> Any:
        status = response.status_code
        if response.is_redirect:
            raise DomainError(
                ErrorCode.INTERNAL,
                f"the endpoint {self.host} redirects ({status}), which is not followed, because "
                "the key would go along: set remote_url to the final address.",
            )
        if response.headers.get("content-encoding", "identity") != "identity":
            raise broken_answer(self.host, "it is compressed, which was not asked for")
        fine = response.is_success
        most = MAX_ANSWER_BYTES if fine else MAX_ERROR_BYTES
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > most:
                if fine:
                    raise broken_answer(self.host, f"it is longer than {most} bytes")
                break
        if not fine:
            raise refused(
                self.host,
                status,
                bytes(body),
                self._key,
                retry_after_seconds(response.headers),
            )
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise broken_answer(self.host, f"it begins with {bytes(body[:60])!r}") from None


def _checked_host(base_url: str) -> str:
    try:
        url = urlsplit(base_url)
        port = f":{url.port}" if url.port else ""
    except ValueError:
        raise invalid("remote_url", "remote_url is not a URL.") from None
    if url.scheme not in ("http", "https") or not url.hostname:
        raise invalid(
            "remote_url", "remote_url must begin with http:// or https:// and name a host."
        )
    if url.username or url.password or url.query or url.fragment:
        raise invalid(
            "remote_url",
            "remote_url holds more than a host and a path: give the key as remote_key "
            "(LRM_REMOTE_KEY), and leave out what follows a ? or #.",
        )
    return f"{url.hostname}{port}"


def _checked_key(key: str | None) -> str:
    key = (key or "").strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise invalid("remote_key", "remote_key holds characters that no header can carry.")
    return key


def _is_local(host: str) -> bool:
    name = host.rpartition(":")[0] or host
    return name in ("localhost", "127.0.0.1", "::1", "[::1]")
