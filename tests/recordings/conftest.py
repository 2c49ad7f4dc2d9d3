"""A stand-in for Gymnasium, of which these tests need little."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace

import pytest

from tests.recordings.corridor import Corridor


class GymnasiumError(Exception):
    pass


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Corridor]]:
    """A Gymnasium that makes corridors, and those that it has made."""
    corridors: list[Corridor] = []

    def make(name: str, *, render_mode: str, **options: object) -> Corridor:
        if name != "Corridor-v0":
            raise GymnasiumError(f"{name} is not registered")
        assert render_mode == "rgb_array"
        corridors.append(Corridor(**options))  # type: ignore[arg-type]
        return corridors[-1]

    gymnasium = ModuleType("gymnasium")
    gymnasium.make = make  # type: ignore[attr-defined]
    gymnasium.error = SimpleNamespace(Error=GymnasiumError)  # type: ignore[attr-defined]
    gymnasium.__spec__ = importlib.util.spec_from_loader("gymnasium", None)
    monkeypatch.setitem(sys.modules, "gymnasium", gymnasium)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield corridors
    assert all(env.closed for env in corridors)
