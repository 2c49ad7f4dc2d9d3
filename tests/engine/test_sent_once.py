"""Which patches travel to the engine's process."""

from __future__ import annotations

import numpy as np
import pytest

from bench.learner import TASK
from lrm_server.engine import vllm_engine
from lrm_server.engine.sent_media import SentMedia
from lrm_server.frames import Encoding, Frame
from lrm_server.heads.profile import Role
from lrm_server.heads.query import Query
from tests.engine_host import EngineHost

SIDE = 128


@pytest.fixture
def brought(monkeypatch: pytest.MonkeyPatch) -> list[list[bool]]:
    """Of each request, which frames' patches it brings."""
    requests: list[list[bool]] = []
    as_request = vllm_engine.as_request

    def noted(placed, more, media, items):
        requests.append([item is not None for item in items])
        return as_request(placed, more, media, items)

    monkeypatch.setattr(vllm_engine, "as_request", noted)
    return requests


def fresh(seed: int) -> Frame:
    image = np.random.default_rng([seed, 11]).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    return Frame(image.tobytes(), Encoding.RAW, SIDE, SIDE)


def compared(previous: Frame, current: Frame) -> Query:
    frames = {Role.PREVIOUS: previous, Role.CURRENT: current}
    return Query(head="contrastive", task=TASK, frames=frames)


def test_the_frame_of_the_query_before_is_not_sent_again(
    served: EngineHost, brought: list[list[bool]]
) -> None:
    first, second, third = map(fresh, (1, 2, 3))
    served.score(compared(first, second))
    served.score(compared(second, third))
    assert all(asked == [True, True] for asked in brought[: len(brought) // 2])
    assert all(asked == [False, True] for asked in brought[len(brought) // 2 :])


def test_an_engine_that_lacks_patches_is_sent_them(
    served: EngineHost, brought: list[list[bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    query = Query(head="completion", task=TASK, frames={Role.CURRENT: fresh(4)})
    items, told = SentMedia.items, []

    def mistaken(sent: SentMedia, media):
        told.append(True)
        found = items(sent, media)
        return [None] * len(found) if len(told) == 1 else found

    monkeypatch.setattr(SentMedia, "items", mistaken)
    reply = served.score(query)
    assert brought == [[False], [True]]
    assert reply.probabilities == pytest.approx(served.score(query).probabilities, abs=0.02)
