"""Work that is begun a few at a time."""

from __future__ import annotations

import asyncio

from lrm_server.turns import AT_ONCE, gently


async def test_others_have_a_turn_after_every_few_items() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.create_task(count())
    items = range(5 * AT_ONCE + 3)
    assert [item async for item in gently(items)] == list(items)
    assert turns >= 4
    counting.cancel()
