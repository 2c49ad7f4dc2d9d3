"""The evaluation asks the server's engine what the server would ask it."""

from __future__ import annotations

import asyncio
import math

import numpy as np
import pytest

pytest.importorskip("simplejpeg")

from lrm_server.engine.protocol import EngineTimings, FrameSlot, LabelReading
from training.rollouts.store import encode_jpeg
from training.scoring import Query
from training.scoring_engine import EngineScorer, question_of


def frame(value):
    return encode_jpeg(np.full((128, 128, 3), value, dtype=np.uint8))


class Scripted:
    """An engine that puts half of its probability on the labels, most of it on the last one."""

    async def read_forced(self, question):
        count = len(question.form.labels)
        shares = [0.1 / (count - 1)] * (count - 1) + [0.4]
        return LabelReading(tuple(math.log(share) for share in shares), "", EngineTimings())


def test_a_question_is_the_servers_rendering():
    query = Query("contrastive", "Lift it", {"previous": frame(10), "current": frame(200)})
    asked = question_of(query)
    slots = [part for part in asked.parts if isinstance(part, FrameSlot)]
    assert [int(slot.frame.pixels().mean()) for slot in slots] == [10, 200]
    assert "The task is: Lift it." in "".join(p for p in asked.parts if isinstance(p, str))
    assert asked.form.labels == ("ImageA", "ImageB")


def test_probabilities_are_normalised_and_named():
    loop = asyncio.new_event_loop()
    try:
        scorer = EngineScorer(Scripted(), loop)
        queries = [
            Query("progress", "Lift it", {"current": frame(50)}),
            Query("completion", "Lift it", {"current": frame(50)}),
        ]
        progress, completion = scorer(queries)
    finally:
        loop.close()
    assert sum(progress.values()) == pytest.approx(1.0)
    assert completion == pytest.approx({"no": 0.2, "yes": 0.8})
    assert progress["1.0"] == pytest.approx(0.8)
