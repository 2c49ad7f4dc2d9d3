"""How vectors of frames and texts become a value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from lrm_server.engine.embedder import Embeddings
from lrm_server.engine.protocol import EngineStatus, EngineTimings, FrameSlot
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.heads.profile import Role
from lrm_server.heads.query import Query
from lrm_server.heads.similarity import ask_for_similarity, similarity
from lrm_server.heads.similarity_profile import SimilarityProfile, UnitRange
from tests.heads.scripted_engine import grey


def unit(*numbers: float) -> np.ndarray:
    vector = np.asarray(numbers, dtype=np.float32)
    return vector / np.linalg.norm(vector)


S, G, B = unit(1, 2, 3), unit(1, 2, -1), unit(3, 0, 1)


class Vectors:
    """Gives frames their shade's vector and texts theirs."""

    fingerprint = "vectors"

    def __init__(self, frames: dict[bytes, np.ndarray], texts: dict[str, np.ndarray]) -> None:
        self._frames = frames
        self._texts = texts

    async def embed(
        self, frames: Sequence[FrameSlot], texts: Sequence[str], deadline: float | None
    ) -> Embeddings:
        return Embeddings(
            np.stack([self._frames[slot.frame.digest] for slot in frames]),
            np.stack([self._texts[text] for text in texts]),
            EngineTimings(engine_ms=3),
        )

    async def status(self) -> EngineStatus:
        return EngineStatus(True, "", 0, 0)


def profile(**fields: Any) -> SimilarityProfile:
    return SimilarityProfile(**{"name": "s", "head": "s", "reads": "similarity", **fields})


def test_without_a_baseline_it_is_the_cosine() -> None:
    assert similarity(S, G, None, 0.0) == pytest.approx(float(S @ G))


def test_a_baseline_without_strength_changes_nothing() -> None:
    assert similarity(S, G, B, 0.0) == pytest.approx(float(S @ G), abs=1e-6)


@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_a_baseline_takes_out_what_does_not_lie_between_it_and_the_goal(alpha: float) -> None:
    # As the paper writes it: the frame's projection onto the line through both, mixed in.
    along = (G - B) / np.linalg.norm(G - B)
    projected = B + ((S - B) @ along) * along
    mixed = alpha * projected + (1 - alpha) * S
    expected = 1 - np.sum((mixed - G) ** 2) / 2
    assert similarity(S, G, B, alpha) == pytest.approx(float(expected), abs=1e-6)
    assert similarity(G, G, B, alpha) == pytest.approx(1.0)


def test_what_is_beside_the_line_does_not_count_at_full_strength() -> None:
    beside = np.cross(G - B, S).astype(np.float32)
    assert similarity(S + beside, G, B, 1.0) == pytest.approx(similarity(S, G, B, 1.0), abs=1e-5)


def test_a_task_that_says_no_more_than_the_baseline_is_refused() -> None:
    with pytest.raises(DomainError) as error:
        similarity(S, G, G, 0.5)
    assert (error.value.code, error.value.field) == (ErrorCode.INVALID_ARGUMENT, "task")


async def test_the_gain_over_the_initial_frame_is_mapped_as_the_profile_says() -> None:
    current, initial = grey(shade=1), grey(shade=2)
    vectors = Vectors(
        {current.digest: S, initial.digest: B}, {"a photo of {this}": G, "a scene": B}
    )
    made = profile(
        required_frames=[Role.INITIAL, Role.CURRENT],
        goal="a photo of {task}",
        baseline="a scene",
        alpha=0.5,
        since_initial=True,
        unit={"low": -1.0, "high": 1.0},
    )
    query = Query(head="s", task="{this}", frames={Role.CURRENT: current, Role.INITIAL: initial})
    reply = await ask_for_similarity(vectors, "s", made, query)
    gain = similarity(S, G, B, 0.5) - similarity(B, G, B, 0.5)
    assert reply.value == pytest.approx((gain + 1) / 2)
    assert reply.expected == reply.value
    assert reply.timings.engine_ms == 3
    assert (reply.model, reply.profile) == ("vectors", made.digest)


def test_the_unit_range_cuts_what_lies_beyond_it() -> None:
    span = UnitRange(low=0.1, high=0.3)
    assert [span.value(x) for x in (0.0, 0.2, 0.9)] == pytest.approx([0.0, 0.5, 1.0])


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"goal": "a cube"}, "{task}"),
        ({"alpha": 0.5}, "baseline"),
        ({"baseline": "a table"}, "alpha"),
        ({"alpha": 2.0, "baseline": "a table"}, "alpha"),
        ({"since_initial": True}, "initial"),
        ({"required_frames": ["goal"]}, "current"),
        ({"unit": {"low": 1.0, "high": 0.0}}, "below high"),
        ({"default_readout": "generate"}, "likelihood"),
        ({"labels": []}, "labels"),
    ],
)
def test_a_profile_that_does_not_fit_together_is_refused(fields: Any, named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        profile(**fields)


def test_the_digest_changes_with_what_changes_an_answer() -> None:
    digests = {profile().digest, profile(unit={"low": 0, "high": 1}).digest}
    assert len(digests | {profile(goal="see {task}").digest}) == 3
