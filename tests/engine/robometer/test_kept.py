from __future__ import annotations

import asyncio

from lrm_server.engine.robometer.kept import KeptAnswers


def test_the_answers_that_were_not_used_for_longest_go() -> None:
    kept = KeptAnswers(2)
    kept.keep({b"a": (0.1, 0.0, 0.0), b"b": (0.2, 0.0, 0.0)})
    assert kept.get(b"a") == (0.1, 0.0, 0.0)
    kept.keep({b"c": (0.3, 0.0, 0.0)})
    assert kept.get(b"b") is None
    assert kept.get(b"a") is not None
    assert kept.get(b"c") is not None


async def test_waits_for_those_who_compute_an_answer_and_for_nobody_else() -> None:
    kept = KeptAnswers(8)
    order = []

    async def compute(key: bytes, go: asyncio.Event) -> None:
        with kept.computing([key]):
            await go.wait()
            order.append(key)

    mine, other = asyncio.Event(), asyncio.Event()
    tasks = [asyncio.create_task(compute(*each)) for each in ((b"mine", mine), (b"other", other))]
    await asyncio.sleep(0)
    waiting = asyncio.create_task(kept.settled([b"mine", b"nobody's"]))
    await asyncio.sleep(0)
    assert not waiting.done()
    mine.set()
    await waiting
    assert order == [b"mine"]
    other.set()
    await asyncio.gather(*tasks)


async def test_a_computation_that_fails_keeps_nobody_waiting() -> None:
    kept = KeptAnswers(8)

    async def fail() -> None:
        with kept.computing([b"a"]):
            await asyncio.sleep(0)
            raise RuntimeError

    task = asyncio.create_task(fail())
    await asyncio.sleep(0)
    await asyncio.wait_for(kept.settled([b"a"]), 5)
    await asyncio.wait([task])
    assert isinstance(task.exception(), RuntimeError)
