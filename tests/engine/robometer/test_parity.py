from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.engine.robometer.checkpoint import Published
from tests.engine.robometer.reader_host import (
    ReaderHost,
    comparison,
    pictures,
    reader_host,
    trajectory,
)
from tests.engine.robometer.reference import Reference

TASK = "Pick up the red cube and move it to the green goal position."
FULL = 1e-3
HALF = 0.02


def check(host: ReaderHost, reference: Reference, tolerance: float, seed: int) -> None:
    """Trajectories of several lengths and sizes in one batch against one at a time."""
    sets = [
        pictures(count, seed + count, size) for count, size in ((5, 64), (1, 64), (9, 96), (2, 128))
    ]
    answers = []
    for frames, read in zip(
        sets, host.read_all([trajectory(TASK, each) for each in sets]), strict=True
    ):
        progress, success = reference.trajectory(TASK, frames)
        np.testing.assert_allclose(read.progress, progress, atol=tolerance, rtol=0)
        np.testing.assert_allclose(read.success, success, atol=tolerance, rtol=0)
        assert read.preference is None
        answers += zip(progress, success, strict=True)
    # Answers that do not depend on the frames would not pass.
    assert (np.ptp(answers, axis=0) > 3 * tolerance).all()


def test_progress_and_success_are_those_of_transformers_in_float32(
    exact: ReaderHost, reference: Reference
) -> None:
    check(exact, reference, FULL, seed=1)


def test_preference_is_that_of_transformers_for_trajectories_of_different_lengths(
    exact: ReaderHost, reference: Reference
) -> None:
    first, second = pictures(3, seed=21), pictures(5, seed=22)
    preferred = []
    for one, other in ((first, second), (second, first)):
        read = exact.read(comparison(TASK, one, other))
        preference, progress = reference.preference(TASK, one, other)
        assert read.preference == pytest.approx(preference, abs=FULL)
        np.testing.assert_allclose(read.progress, progress, atol=FULL, rtol=0)
        preferred.append(preference)
    assert abs(preferred[0] - preferred[1]) > 10 * FULL


def test_answers_are_those_of_transformers_in_bfloat16(published: Published) -> None:
    reference = Reference(published, torch.bfloat16)
    with reader_host(published, "bfloat16") as half:
        check(half, reference, HALF, seed=1)
        first, second = pictures(3, seed=21), pictures(5, seed=22)
        read = half.read(comparison(TASK, first, second))
        preference, _ = reference.preference(TASK, first, second)
        assert read.preference == pytest.approx(preference, abs=HALF)
