"""Where data sets are written: nothing outside them, and a folder for each episode."""

from __future__ import annotations

from pathlib import Path

import pytest

from lrm_server.recordings.episode import RecordingError
from lrm_server.recordings.targets import check_folder_names, inside


@pytest.mark.parametrize("name", ["../a", "a/../../b", "/etc/a", "link/a"])
def test_a_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    root = tmp_path / "set"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(RecordingError, match="leads out"):
        inside(root, name)
    assert inside(root, "a/b") == root / "a/b"


def test_two_episodes_in_one_folder_are_named() -> None:
    check_folder_names(["a/b", "a_c"])
    with pytest.raises(RecordingError, match=r"'a/b' and 'a_b'.*a_b"):
        check_folder_names(["a/b", "c", "a_b"])
