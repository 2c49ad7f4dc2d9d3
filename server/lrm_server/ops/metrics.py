"""What a server counts and measures, for Prometheus.

Names have the prefix ``lrm_`` and end in their unit. Labels are bounded: heads are
those of the catalogue, methods those of the interface, codes those of the error list.
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from lrm_client.clock import Source
from lrm_server.callers import Priority
from lrm_server.engine.protocol import Written
from lrm_server.heads.query import Reply, Timings
from lrm_server.ops.health import Readiness

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
OK = "ok"
CANCELLED = "cancelled"
"""The code of a request whose caller went away."""

_SECONDS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
_MASS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)


class Metrics:
    """The metrics of one server, in a registry of their own.

    vLLM and the process's own metrics live in prometheus-client's default registry;
    ``render`` gives both.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._requests = Counter(
            "lrm_requests",
            "Requests by transport, method and outcome.",
            ("transport", "method", "code"),
            registry=registry,
        )
        self._request_seconds = Histogram(
            "lrm_request_duration_seconds",
            "Time from a request's arrival to its answer.",
            ("transport", "method"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._queries = Counter(
            "lrm_queries",
            "Questions asked of a head, by outcome.",
            ("head", "outcome"),
            registry=registry,
        )
        self._query_seconds = Histogram(
            "lrm_query_duration_seconds",
            "Time of one question to a head, waiting included.",
            ("head",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._stage_seconds = Histogram(
            "lrm_query_stage_seconds",
            "Where the time of an answered question went.",
            ("stage",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._query_tokens = Counter(
            "lrm_query_tokens",
            "Tokens of answered questions: of their prompts, of those not computed again, written.",
            ("head", "kind"),
            registry=registry,
        )
        self._conversations = Counter(
            "lrm_conversations",
            "Turns that the model was asked to write, by outcome.",
            ("outcome",),
            registry=registry,
        )
        self._conversation_seconds = Histogram(
            "lrm_conversation_duration_seconds",
            "Time of one turn that the model was asked to write, waiting included.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._conversation_tokens = Counter(
            "lrm_conversation_tokens",
            "Tokens of conversations: of their prompts, and written.",
            ("kind",),
            registry=registry,
        )
        self._remote_tokens = Counter(
            "lrm_remote_tokens",
            "Tokens of requests to a remote endpoint, by its model: of their prompts, and written.",
            ("model", "kind"),
            registry=registry,
        )
        self._rewards = Counter(
            "lrm_rewards",
            "Rewards handed out by episodes, by where they came from.",
            ("head", "source"),
            registry=registry,
        )
        self._label_mass = Histogram(
            "lrm_label_mass",
            "Share of the model's probability that fell on the labels.",
            ("head",),
            buckets=_MASS,
            registry=registry,
        )
        self._episodes = Gauge("lrm_episodes_open", "Episodes that are open.", registry=registry)
        self._ready = Gauge(
            "lrm_engine_ready", "1 when the engine can answer, else 0.", registry=registry
        )
        self._up = Gauge(
            "lrm_engine_up",
            "Of several engines: 1 for one that can answer, else 0.",
            ("engine_name",),
            registry=registry,
        )
        self._queued = Gauge(
            "lrm_queue_questions",
            "Questions that wait before the engine, by priority.",
            ("priority",),
            registry=registry,
        )
        self._wait_seconds = Histogram(
            "lrm_queue_wait_seconds",
            "Waiting of an answered question: before the engine, and in it.",
            ("priority",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._refused = Counter(
            "lrm_queue_refused",
            "Questions for which there was no room, by priority.",
            ("priority",),
            registry=registry,
        )
        self._running = Gauge(
            "lrm_engine_running", "Sequences that the engine is working on.", registry=registry
        )
        self._waiting = Gauge(
            "lrm_engine_waiting", "Sequences that wait for the engine.", registry=registry
        )
        self._build = Info("lrm_build", "Version and checkpoint of this server.", registry=registry)

    def build(self, **facts: str) -> None:
        """Says what is running: the version, and the model once there is one."""
        self._build.info(facts)

    def request(self, transport: str, method: str, code: str, seconds: float) -> None:
        """Counts a request that was answered, refused or given up."""
        self._requests.labels(transport, method, code).inc()
        self._request_seconds.labels(transport, method).observe(seconds)

    def answered(self, head: str, reply: Reply, seconds: float) -> None:
        """Counts a question that got its answer."""
        self._queries.labels(head, OK).inc()
        self._query_seconds.labels(head).observe(seconds)
        self._stages(reply.timings)
        self._query_tokens.labels(head, "prompt").inc(reply.tokens.prompt)
        self._query_tokens.labels(head, "cached").inc(reply.tokens.cached)
        self._query_tokens.labels(head, "written").inc(reply.tokens.written)
        for part in reply.components.values() if reply.components else (reply,):
            if part.label_mass is not None:
                self._label_mass.labels(part.head).observe(part.label_mass)

    def failed(self, head: str, outcome: str, seconds: float) -> None:
        """Counts a question that got none; ``outcome`` is an error's code."""
        self._queries.labels(head, outcome).inc()
        self._query_seconds.labels(head).observe(seconds)

    def waited(self, priority: Priority, seconds: float) -> None:
        """Takes down how long an answered question waited."""
        self._wait_seconds.labels(priority.value).observe(seconds)

    def refused(self, priority: Priority) -> None:
        """Counts a question for which there was no room."""
        self._refused.labels(priority.value).inc()

    def conversed(self, outcome: str, written: Written | None, seconds: float) -> None:
        """Counts a turn that was written, or failed: then ``outcome`` is an error's code."""
        self._conversations.labels(outcome).inc()
        self._conversation_seconds.observe(seconds)
        if written is not None:
            self._conversation_tokens.labels("prompt").inc(written.prompt_tokens)
            self._conversation_tokens.labels("completion").inc(written.completion_tokens)

    def remote_tokens(self, model: str, prompt: int, completion: int) -> None:
        """Counts the tokens of one request to a remote endpoint, as the endpoint counts them."""
        self._remote_tokens.labels(model, "prompt").inc(prompt)
        self._remote_tokens.labels(model, "completion").inc(completion)

    def rewards(self, given: Mapping[tuple[str, Source], int]) -> None:
        """Counts the rewards that episodes handed out, by (head, source)."""
        for (head, source), count in given.items():
            self._rewards.labels(head, source.value).inc(count)

    def state(self, readiness: Readiness, episodes: int) -> None:
        """Takes down how things are, before they are asked for."""
        self._ready.set(1 if readiness.engine is not None and readiness.engine.ready else 0)
        self._running.set(readiness.engine.running if readiness.engine is not None else 0)
        self._waiting.set(readiness.engine.waiting if readiness.engine is not None else 0)
        for name, engine in (readiness.engine.engines if readiness.engine else {}).items():
            self._up.labels(name).set(1 if engine.ready else 0)
        queued = readiness.engine.queued if readiness.engine else {}
        for priority in Priority:
            self._queued.labels(priority.value).set(queued.get(priority.value, 0))
        self._episodes.set(episodes)

    def render(self) -> bytes:
        """Everything in Prometheus' text format, the default registry's metrics included."""
        return generate_latest(self.registry) + generate_latest(REGISTRY)

    def _stages(self, timings: Timings) -> None:
        for stage, milliseconds in (
            ("decode", timings.decode_ms),
            ("queue", timings.queue_ms),
            ("engine", timings.engine_ms),
        ):
            self._stage_seconds.labels(stage).observe(milliseconds / 1000.0)
