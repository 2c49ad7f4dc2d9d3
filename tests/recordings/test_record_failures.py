"""``lrm record`` where something fails: what was recorded is kept, and said where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lrm_server.recordings.data_set import open_data_set
from lrm_server.recordings.episode import RecordingError
from tests.recordings.command import POLICIES, TASK, run
from tests.recordings.corridor import Corridor


def picture(monkeypatch: pytest.MonkeyPatch, sizes: dict[int, tuple[int, int]]) -> None:
    """Makes corridors show pictures of a size from the number of a picture on."""
    shown = 0

    def render(self: Corridor) -> object:
        nonlocal shown
        size = next(sizes[first] for first in sorted(sizes, reverse=True) if first <= shown)
        shown += 1
        return np.zeros((*size, 3), np.uint8)

    monkeypatch.setattr(Corridor, "render", render)


def test_frames_that_are_no_video_are_refused_at_the_first(
    tmp_path: Path, made: list[Corridor], monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(monkeypatch, {0: (31, 48)})
    stepped = []
    monkeypatch.setattr(Corridor, "step", lambda self, action: stepped.append(action))
    result = run("Corridor-v0", tmp_path / "set", *TASK, "--layout", "lerobot")
    assert result.exit_code == 2
    assert "31 x 48" in result.stderr
    assert not stepped


def test_a_frame_of_another_size_keeps_the_episodes_before_it(
    tmp_path: Path, made: list[Corridor], monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(monkeypatch, {0: (32, 48), 8: (16, 16)})
    policy = ("--policy", f"{POLICIES}:walk")
    result = run("Corridor-v0", tmp_path / "set", *TASK, *policy, "--layout", "lerobot")
    assert result.exit_code == 2
    assert "(16, 16, 3)" in result.stderr
    assert len(open_data_set(tmp_path / "set")) == 1


@pytest.mark.parametrize(
    ("error", "status"),
    [(OSError(28, "No space left on device"), 1), (RecordingError("they do not fit"), 2)],
)
def test_what_cannot_be_converted_is_kept_and_named(
    tmp_path: Path,
    made: list[Corridor],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: int,
) -> None:
    def fail(episodes: object, to: Path, **options: object) -> None:
        (to / "half").write_text("written")
        raise error

    monkeypatch.setattr("lrm_server.commands.recording.write_lerobot", fail)
    result = run(
        "Corridor-v0", tmp_path / "set", *TASK, "--episodes", 3, "--layout", "lerobot-images"
    )
    assert result.exit_code == status
    assert str(error) in result.stderr
    (kept,) = tmp_path.iterdir()
    assert str(kept) in result.stderr
    assert len(open_data_set(kept)) == 3


def test_a_failed_conversion_does_not_hide_what_failed_first(
    tmp_path: Path, made: list[Corridor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise RecordingError("it cannot be converted")

    monkeypatch.setattr("lrm_server.commands.recording.write_lerobot", fail)
    picture(monkeypatch, {0: (32, 48), 8: (16, 16)})
    policy = ("--policy", f"{POLICIES}:walk")
    result = run("Corridor-v0", tmp_path / "set", *TASK, *policy, "--layout", "lerobot")
    assert result.exit_code == 2
    assert "(16, 16, 3)" in result.stderr
    assert "it cannot be converted" in result.stderr
    (kept,) = tmp_path.iterdir()
    assert len(open_data_set(kept)) == 1
