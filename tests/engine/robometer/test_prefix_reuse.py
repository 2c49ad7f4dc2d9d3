from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lrm_server.engine.robometer.kept import KeptAnswers
from lrm_server.engine.start import CPU_BLOCK_TOKENS, CPU_STEP_TOKENS
from tests.engine.robometer.reader_host import ReaderHost, pictures, trajectory
from tests.engine.robometer.reference import Reference

FULL = 1e-3


def test_an_appended_frame_costs_its_own_tokens_and_at_most_a_block(exact: ReaderHost) -> None:
    frames = pictures(12, seed=31)
    before = exact.read(trajectory("Appended.", frames[:1]))
    for count in range(2, len(frames) + 1):
        read = exact.read(trajectory("Appended.", frames[:count]))
        added = read.prompt_tokens - before.prompt_tokens
        # What closes a turn moves behind the new frame; the rest of its block goes with it.
        closing = read.prompt_tokens - added - before.prompt_tokens + CPU_BLOCK_TOKENS
        assert read.computed_tokens <= added + closing
        before = read


def test_a_growing_trajectory_is_answered_as_if_it_were_asked_whole(
    exact: ReaderHost, reference: Reference
) -> None:
    # A frame takes a number of tokens that does not divide a block: hits end anywhere in it.
    frames = pictures(14, seed=32, size=96)
    task = "Grow."
    for count in range(1, len(frames) + 1):
        read = exact.read(trajectory(task, frames[:count]))
        assert len(read.progress) == len(read.success) == count
    progress, success = reference.trajectory(task, frames)
    np.testing.assert_allclose(read.progress, progress, atol=FULL, rtol=0)
    np.testing.assert_allclose(read.success, success, atol=FULL, rtol=0)
    assert read.computed_tokens < read.prompt_tokens / 4


def test_the_same_frames_under_another_task_or_after_another_frame_are_read_anew(
    exact: ReaderHost, reference: Reference
) -> None:
    frames = pictures(4, seed=33)
    for task, shown in (
        ("One task.", frames),
        ("Another task.", frames),
        ("One task.", [frames[1], *frames[1:]]),
        ("One task.", frames),
    ):
        read = exact.read(trajectory(task, shown))
        np.testing.assert_allclose(
            read.progress, reference.trajectory(task, shown)[0], atol=FULL, rtol=0
        )


def test_lengths_of_one_trajectory_asked_at_once_are_all_answered(
    exact: ReaderHost, reference: Reference
) -> None:
    frames = pictures(10, seed=34)
    task = "All at once."
    progress, _ = reference.trajectory(task, frames)
    asked = [trajectory(task, frames[:count]) for count in range(1, len(frames) + 1)]
    for count, read in enumerate(exact.read_all(asked), 1):
        np.testing.assert_allclose(read.progress, progress[:count], atol=FULL, rtol=0)


def test_prompts_longer_than_a_step_are_answered_in_a_batch(
    exact: ReaderHost, reference: Reference
) -> None:
    # More tokens than one step computes, so that prompts are cut anywhere.
    sets = [pictures(30, seed=35, size=256), pictures(7, seed=36, size=256)]
    task = "A long one."
    reads = exact.read_all([trajectory(task, each) for each in sets])
    assert reads[0].prompt_tokens > CPU_STEP_TOKENS
    for frames, read in zip(sets, reads, strict=True):
        progress, success = reference.trajectory(task, frames)
        np.testing.assert_allclose(read.progress, progress, atol=FULL, rtol=0)
        np.testing.assert_allclose(read.success, success, atol=FULL, rtol=0)


def test_a_window_that_was_read_is_not_computed_again(exact: ReaderHost) -> None:
    asked = trajectory("Read twice.", pictures(3, seed=38))
    first, second = exact.read_all([asked, asked])
    third = exact.read(asked)
    assert first.progress == second.progress == third.progress
    assert sorted([first.computed_tokens, second.computed_tokens])[0] == 0
    assert third.computed_tokens == 0


def test_answers_that_are_no_longer_kept_are_computed_again(
    exact: ReaderHost, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = pictures(6, seed=37)
    task = "Forgotten."
    first = exact.read(trajectory(task, frames))
    known = exact.reader._current()
    monkeypatch.setattr(exact.reader, "_engine", replace(known, kept=KeptAnswers(1024)))
    again = exact.read(trajectory(task, frames))
    assert again.computed_tokens >= again.prompt_tokens
    np.testing.assert_allclose(again.progress, first.progress, atol=FULL, rtol=0)
    np.testing.assert_allclose(
        again.progress, reference.trajectory(task, frames)[0], atol=FULL, rtol=0
    )


def test_patches_that_the_core_lost_are_sent_again(exact: ReaderHost, reference: Reference) -> None:
    frames = pictures(5, seed=39)
    task = "Lost."
    exact.read(trajectory(task, frames[:4]))
    exact.run(exact.reader._current().llm.reset_mm_cache())
    read = exact.read(trajectory(task, frames))
    np.testing.assert_allclose(
        read.progress, reference.trajectory(task, frames)[0], atol=FULL, rtol=0
    )
