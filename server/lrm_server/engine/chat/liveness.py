"""Whether an endpoint answers, asked at most every few seconds, whoever wants to know."""

from __future__ import annotations

import asyncio
import time

from lrm_server.engine.chat.endpoint import Endpoint
from lrm_server.engine.chat.failures import KeyRefusedError
from lrm_server.errors import DomainError, ErrorCode

ASK_EVERY_S = 5.0
ANSWER_WITHIN_S = 3.0


class Liveness:
    """What the endpoint's list of models says of it.

    An endpoint without such a list, or one that limits its rate, is there all the same.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._lock = asyncio.Lock()
        self._asked = float("-inf")
        self._reason = ""

    async def reason(self) -> str:
        """Why it cannot answer, or ""; at most ``ASK_EVERY_S`` old."""
        async with self._lock:
            if time.monotonic() - self._asked >= ASK_EVERY_S:
                self._reason = await self._ask()
                self._asked = time.monotonic()
            return self._reason

    async def _ask(self) -> str:
        try:
            await self._endpoint.get("models", ANSWER_WITHIN_S)
        except DomainError as error:
            unwell = error.code is ErrorCode.UNAVAILABLE or isinstance(error, KeyRefusedError)
            return error.message if unwell else ""
        return ""
