"""The metrics of several engines in one process, told apart."""

from __future__ import annotations

from prometheus_client import REGISTRY, Counter
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from lrm_server.engine import engine_metrics

Seen = dict[tuple[str, ...], float]


def seen() -> tuple[int, Seen]:
    """How often the family is declared, and its samples by their labels."""
    text = generate_latest(REGISTRY).decode()
    samples = {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "vllm:tests_total"
    }
    return text.count("# TYPE vllm:tests_total "), samples


def test_both_engines_are_shown_as_one_family_and_those_that_ended_are_not() -> None:
    engines = engine_metrics._ENGINES
    registries = [engine_metrics.CollectorRegistry() for _ in range(3)]
    for registry, name in zip(registries, ("merged", "base", ""), strict=True):
        counter = Counter("vllm:tests", "Of one engine.", ("engine",), registry=registry)
        counter.labels("0").inc(len(name))
        engines.show(registry, name)
    try:
        assert seen() == (1, {("0", "merged"): 6.0, ("0", "base"): 4.0, ("0",): 0.0})
        engines.hide(registries[0])
        assert seen() == (1, {("0", "base"): 4.0, ("0",): 0.0})
    finally:
        for registry in registries:
            engines.hide(registry)
    assert seen() == (0, {})
