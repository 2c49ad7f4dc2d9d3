"""vLLM's metrics of every engine in this process, told apart by the engine's name.

vLLM keeps one set of metrics in a process: a second engine takes the first one's away. So each
engine here has a registry of its own, and one collector in prometheus-client's default registry
shows all of them, with the label ``engine_name``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import partial
from typing import Any, Final, cast

import torch
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from vllm.config import VllmConfig
from vllm.v1.metrics.loggers import PrometheusStatLogger

logger = logging.getLogger(__name__)

NAME_LABEL: Final = "engine_name"
GIB: Final = 1024**3


class EngineMetrics:
    """The metrics of one engine while it runs; those of its successor begin at zero.

    Args:
        name: the value of ``engine_name``; "" for metrics without that label.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._registry = CollectorRegistry()

    def stat_logger(self) -> type[PrometheusStatLogger]:
        """What vLLM is to write its metrics with when it starts an engine."""
        registry = self._registry = CollectorRegistry()

        class InRegistry(PrometheusStatLogger):
            _gauge_cls: Any = staticmethod(partial(Gauge, registry=registry))
            _counter_cls: Any = staticmethod(partial(Counter, registry=registry))
            _histogram_cls: Any = staticmethod(partial(Histogram, registry=registry))

        return InRegistry

    def started(self, config: VllmConfig) -> None:
        """The engine runs: shows its metrics, and says how much room it has for its cache."""
        tokens, size = kv_cache(config)
        for name, text, value in (
            ("tokens", "Tokens whose keys and values an engine can keep.", tokens),
            ("bytes", "Memory of an engine's keys and values, all its copies together.", size),
        ):
            Gauge(f"lrm_engine_kv_cache_{name}", text, registry=self._registry).set(value)
        logger.info(
            "engine %s keeps keys and values of %d tokens in %.2f GiB (copies of the model: %d)",
            self._name,
            tokens,
            size / GIB,
            config.parallel_config.data_parallel_size,
        )
        _ENGINES.show(self._registry, self._name)

    def ended(self) -> None:
        """The engine has ended, and so have its metrics."""
        _ENGINES.hide(self._registry)


def kv_cache(config: VllmConfig) -> tuple[int, int]:
    """Room for keys and values of an engine that runs, in tokens and bytes; all its copies."""
    model, parallel = config.model_config, config.parallel_config
    blocks = config.cache_config.num_gpu_blocks or 0
    tokens = blocks * config.cache_config.block_size
    as_weights = config.cache_config.cache_dtype == "auto"
    # Other number types of a cache have 8 bits.
    itemsize = cast(torch.dtype, model.dtype).itemsize if as_weights else 1
    heads = model.get_num_kv_heads(parallel) * parallel.tensor_parallel_size
    numbers = 2 * model.get_num_layers(parallel) * heads * model.get_head_size()
    return tokens, tokens * numbers * itemsize


class _Engines(Collector):
    """Joins registries: a metric of several engines is one family, as Prometheus wants it."""

    def __init__(self) -> None:
        self._names: dict[CollectorRegistry, str] = {}

    def show(self, registry: CollectorRegistry, name: str) -> None:
        if not self._names:
            REGISTRY.register(self)
        self._names[registry] = name

    def hide(self, registry: CollectorRegistry) -> None:
        if self._names.pop(registry, None) is not None and not self._names:
            REGISTRY.unregister(self)

    def describe(self) -> Iterable[Metric]:
        """Nothing: what there is changes with the engines."""
        return ()

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for registry, name in list(self._names.items()):
            for metric in registry.collect():
                family = families.setdefault(
                    metric.name, Metric(metric.name, metric.documentation, metric.type)
                )
                family.samples += [
                    sample._replace(labels={**sample.labels, NAME_LABEL: name}) if name else sample
                    for sample in metric.samples
                ]
        return families.values()


_ENGINES: Final = _Engines()
