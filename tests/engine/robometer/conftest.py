"""A small Robometer, served in full precision for the session, and in half for one module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.engine.robometer.checkpoint import Published, make_base, make_checkpoint
from tests.engine.robometer.reader_host import ReaderHost, reader_host
from tests.engine.robometer.reference import Reference


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """The checkpoint and its base."""
    folder = tmp_path_factory.mktemp("robometer")
    return make_checkpoint(folder / "weights", make_base(folder / "base"))


@pytest.fixture(scope="session")
def reference(published: Published) -> Reference:
    """Plain transformers in float32."""
    return Reference(published, torch.float32)


@pytest.fixture(scope="session")
def exact(published: Published) -> Iterator[ReaderHost]:
    """vLLM in float32."""
    with reader_host(published, "float32") as host:
        yield host
