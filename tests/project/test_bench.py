"""Benchmarks are run by hand; that they still fit what they measure is seen here."""

from __future__ import annotations

import importlib

import pytest

from lrm_server.engine.broken_extensions import install
from tests.project.layers import ROOT

# As every benchmark does before it loads vLLM.
install()

MODULES = sorted(path.stem for path in (ROOT / "bench").glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("module", MODULES)
def test_a_benchmark_finds_all_that_it_imports(module: str) -> None:
    importlib.import_module(f"bench.{module}")
