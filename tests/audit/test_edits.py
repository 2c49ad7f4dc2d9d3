"""Edits of pixels."""

from __future__ import annotations

import numpy as np
import pytest

from lrm_server.audit.edits import blurred, brightened, covered, shifted, standard_edits

RANDOM = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def test_a_shift_moves_the_scene_and_repeats_the_border() -> None:
    moved = shifted(RANDOM, right=0.05)
    assert np.array_equal(moved[:, 3:], RANDOM[:, :-3])
    assert np.array_equal(moved[:, :3], np.repeat(RANDOM[:, :1], 3, axis=1))
    assert np.array_equal(shifted(RANDOM, down=-0.05)[:-2], RANDOM[2:])


def test_brightness_is_clipped() -> None:
    grey = np.full((2, 2, 3), 200, np.uint8)
    assert brightened(grey, 1.3).max() == 255
    assert brightened(grey, 0.7).max() == 140


def test_blur_takes_detail_and_keeps_the_mean() -> None:
    soft = blurred(RANDOM, 0.05)
    assert soft.std() < 0.5 * RANDOM.std()
    assert soft.mean() == pytest.approx(RANDOM.mean(), abs=3)


def test_a_patch_covers_its_share_at_its_place() -> None:
    black = np.zeros((100, 200, 3), np.uint8)
    patched = covered(black, across=0.0, along=1.0)
    assert (patched > 0).mean() == pytest.approx(0.15, abs=0.005)
    assert patched[-1, 0].all()
    assert not patched[0, -1].any()
    assert not black.any()


def test_every_standard_edit_changes_a_frame_and_keeps_its_form() -> None:
    edits = [edit for variants in standard_edits(0, 4) for edit in variants]
    assert {edit.name for edit in edits} == {
        "shift left", "shift right", "shift up", "shift down",
        "darker", "brighter", "blur", "occlusion",
    }  # fmt: skip
    for edit in edits:
        changed = edit(RANDOM)
        assert changed.shape == RANDOM.shape
        assert changed.dtype == np.uint8
        assert not np.array_equal(changed, RANDOM)


def test_patches_lie_where_the_seed_puts_them() -> None:
    def places(seed: int) -> list[bytes]:
        return [edit(RANDOM).tobytes() for edit in standard_edits(seed, 4)[-1]]

    assert places(0) == places(0) != places(1)
    assert len(set(places(0))) == 4
