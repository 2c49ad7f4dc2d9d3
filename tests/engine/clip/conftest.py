from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.clip.tiny_clip import make_clip


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small CLIP's checkpoint."""
    return make_clip(tmp_path_factory.mktemp("clip") / "checkpoint")
