"""What ``python -m bench`` runs."""

from __future__ import annotations

from pathlib import Path

from bench.__main__ import ALL, Benchmark, chosen
from tests.project.layers import ROOT


def test_every_benchmark_that_is_run_exists() -> None:
    assert [each.name for each in ALL if not (ROOT / "bench" / f"{each.name}.py").is_file()] == []


def test_a_quick_run_leaves_out_what_takes_long_unless_it_is_named() -> None:
    assert {each.name for each in ALL} - {each.name for each in chosen([], quick=True)} == {
        each.name for each in ALL if each.quick is None
    }
    assert [each.name for each in chosen(["growth"], quick=True)] == ["growth"]


def test_figures_and_plots_go_to_the_named_folder() -> None:
    each = Benchmark("growth", usual=("--rounds=2",), quick=("--rounds=1",), draws=True)
    assert each.command(Path("out"), quick=False)[2:] == [
        "bench.growth",
        "--json=out/growth.json",
        "--plots=out/plots",
        "--rounds=2",
    ]
    assert each.command(Path("out"), quick=True)[-1] == "--rounds=1"
