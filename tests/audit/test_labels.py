"""What labels imply."""

from __future__ import annotations

import numpy as np

from lrm_server.audit.labels import truth_of
from tests.audit.builders import episode


def test_recorded_labels_are_taken_as_they_are() -> None:
    truth = truth_of(episode(progress=[0.0, 0.5, 1.0, 1.0], done=[False, False, True, True]))
    assert truth.success
    assert truth.done_at == 2
    assert truth.assumed == ()


def test_success_follows_from_done() -> None:
    assert truth_of(episode(success=None, done=[False] * 10 + [True])).success is True
    undone = truth_of(episode(progress=[0.0, 1.0, 0.2], success=None, done=[False, True, False]))
    assert undone.success is False
    assert undone.done_at == 1


def test_done_follows_from_progress_and_says_so() -> None:
    truth = truth_of(episode(progress=[0.0, 0.5, 1.0, 1.0]))
    assert truth.done is not None
    assert truth.done.tolist() == [False, False, True, True]
    assert any("its progress is 1" in note for note in truth.assumed)


def test_a_bare_success_is_done_at_its_end_and_linear_in_time() -> None:
    truth = truth_of(episode(progress=None, frames=5))
    assert truth.done_at == 4
    assert truth.progress is not None
    assert np.allclose(truth.progress, [0, 0.25, 0.5, 0.75, 1])
    assert len(truth.assumed) == 2


def test_progress_is_linear_up_to_the_first_success() -> None:
    truth = truth_of(episode(progress=None, frames=5, done=[False, False, True, True, True]))
    assert truth.progress is not None
    assert np.allclose(truth.progress, [0, 0.5, 1, 1, 1])


def test_a_bare_failure_has_no_progress() -> None:
    truth = truth_of(episode(progress=None, frames=5, success=False))
    assert truth.progress is None
    assert truth.done is not None
    assert not truth.done.any()


def test_without_labels_nothing_is_made_up() -> None:
    truth = truth_of(episode(progress=None, frames=5, success=None))
    assert (truth.success, truth.done, truth.progress, truth.done_at) == (None,) * 4
