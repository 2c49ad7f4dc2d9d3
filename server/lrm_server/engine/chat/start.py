"""Opens an engine on a chat endpoint."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass

from lrm_server.engine.admission import Admission
from lrm_server.engine.chat.abilities import Prefill, probe
from lrm_server.engine.chat.chat_engine import ChatEngine, TokenObserver
from lrm_server.engine.chat.endpoint import Endpoint
from lrm_server.engine.chat.images import ImageUrls
from lrm_server.engine.holdings import DEFAULT_LIMITS, QueueLimits
from lrm_server.engine.places import FixedPlaces

URL_CACHE_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatOptions:
    """How an endpoint is used; ``config.Settings`` says what each means.

    ``key`` is kept out of the representation, which may be logged.
    """

    url: str
    model: str
    key: str | None = None
    concurrency: int = 32
    timeout_seconds: float = 60.0
    prefill: Prefill = "auto"
    queue: QueueLimits = DEFAULT_LIMITS
    frame_threads: int = 2

    def __repr__(self) -> str:
        return f"ChatOptions(url={self.url!r}, model={self.model!r})"


@asynccontextmanager
async def open_chat_engine(
    options: ChatOptions, adapters: Mapping[str, str], observe: TokenObserver = lambda *_: None
) -> AsyncIterator[ChatEngine]:
    """An engine on an endpoint that has answered and whose abilities are known.

    Args:
        options: where, which model, and limits.
        adapters: name -> the endpoint's name for the model with that adapter, as vLLM
            serves LoRA adapters.
        observe: told the tokens of every request.

    Raises:
        DomainError: INVALID_ARGUMENT of ``remote_url`` or ``remote_key``; UNAVAILABLE or
            DEADLINE_EXCEEDED when the endpoint does not answer within the time-out;
            INTERNAL when it refuses the key, or is no chat endpoint.
    """
    endpoint = Endpoint(
        options.url,
        options.key,
        concurrency=options.concurrency,
        timeout_seconds=options.timeout_seconds,
    )
    try:
        abilities = await probe(endpoint, options.model, options.prefill)
        with ThreadPoolExecutor(options.frame_threads, "remote-frames") as executor:
            yield ChatEngine(
                endpoint,
                options.model,
                adapters,
                abilities,
                ImageUrls(executor, URL_CACHE_BYTES),
                Admission(FixedPlaces(options.concurrency), options.queue),
                fingerprint([options.model, *adapters.values()], endpoint.host),
                observe,
            )
    finally:
        await endpoint.close()


def fingerprint(models: list[str], host: str) -> str:
    """The first model's name and 8 hex digits of all names and the host; not of weights."""
    digest = hashlib.blake2b("\0".join([*models, host]).encode(), digest_size=4)
    return f"{models[0]}@{digest.hexdigest()}"
