"""A server process without an engine: each query's value follows from its frames.

``python -m tests.live.scripted_server --host=H --http-port=P --grpc-port=P``. As a server with an
engine does, it listens some time before it is ready.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib

from lrm_server.app import Server
from lrm_server.config import Settings
from lrm_server.heads.query import Query
from tests.scripted_scorer import ScriptedScorer, built_in_catalogue

LOADING_S = 2.0


def value(query: Query) -> float:
    """One of the head's values, by the content of the frames and their roles."""
    content = hashlib.blake2b(query.head.encode())
    for role, frame in sorted(query.frames.items()):
        content.update(role.value.encode() + frame.digest)
    values = sorted(built_in_catalogue()[query.head].labels.values())
    return values[int.from_bytes(content.digest()[:8], "big") % len(values)]


async def serve(settings: Settings) -> None:
    async with Server(settings) as server:
        await asyncio.sleep(LOADING_S)
        server.attach(ScriptedScorer(value))
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--host")
    parser.add_argument("--http-port", type=int)
    parser.add_argument("--grpc-port", type=int)
    asyncio.run(serve(Settings(**vars(parser.parse_args()))))
