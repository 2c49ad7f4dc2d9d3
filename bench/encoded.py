"""How many frames engines of this process encode, as vLLM's scheduler counts them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from lrm_server.engine.environment import prepare_environment


class Encoded:
    """Frames that vision towers encoded since counting began.

    Attributes:
        count: so far. A step is counted after its answers: ask something more before reading.
    """

    def __init__(self) -> None:
        self.count = 0

    def record(self, scheduler_stats: Any) -> None:
        """Takes down one step of an engine."""
        details = getattr(scheduler_stats, "iteration_details", None)
        if details is not None:
            self.count += details.num_encoder_inputs


@contextmanager
def counting_encoded() -> Iterator[Encoded]:
    """Engines that are started within the block count."""
    # vLLM reads its environment when it is imported.
    prepare_environment()
    from vllm.v1.metrics.loggers import StatLoggerManager

    from lrm_server.engine import start

    encoded = Encoded()
    arguments, record = start.engine_arguments, StatLoggerManager.record

    def detailed(*given: Any, **named: Any) -> Any:
        made = arguments(*given, **named)
        made.enable_logging_iteration_details = True
        return made

    def recorded(self: Any, scheduler_stats: Any, *given: Any, **named: Any) -> None:
        encoded.record(scheduler_stats)
        record(self, scheduler_stats, *given, **named)

    with (
        mock.patch.object(start, "engine_arguments", detailed),
        mock.patch.object(StatLoggerManager, "record", recorded),
    ):
        yield encoded
