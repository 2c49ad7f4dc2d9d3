"""A service for each test."""

from __future__ import annotations

import pytest

from tests.episodes.support import Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()
