"""Servers that answer other projects' clients."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from tests.api.compat.service import CompatEngine, running


@pytest.fixture
def engine() -> CompatEngine:
    return CompatEngine()


@pytest_asyncio.fixture
async def http(engine: CompatEngine) -> AsyncIterator[httpx.AsyncClient]:
    """LRM's three heads, read by likelihood."""
    async with running(engine) as client:
        yield client


@pytest_asyncio.fixture(scope="module")
async def still() -> AsyncIterator[httpx.AsyncClient]:
    """The same, one for all tests of a file that change nothing about it."""
    async with running(CompatEngine()) as client:
        yield client
