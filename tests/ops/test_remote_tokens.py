"""What a remote model's tokens look like in /metrics."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from lrm_server.ops.metrics import Metrics


def test_tokens_are_counted_by_model_and_kind() -> None:
    metrics = Metrics()
    metrics.remote_tokens("large", 100, 3)
    metrics.remote_tokens("large", 50, 0)
    metrics.remote_tokens("small", 7, 1)
    found = {
        (sample.labels["model"], sample.labels["kind"]): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
        if sample.name == "lrm_remote_tokens_total"
    }
    assert found == {
        ("large", "prompt"): 150,
        ("large", "completion"): 3,
        ("small", "prompt"): 7,
        ("small", "completion"): 1,
    }
