"""vLLM's scheduler, whose steps are short while interactive questions come.

vLLM fills every step to the brim: a robot's question, which it takes first, would be answered
with the many of a learner that share its step. Which scheduler vLLM would run by itself is
known when it has put its settings together, so what ``engine.start`` names is ``scheduler``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final

from vllm.config import VllmConfig
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.request import Request, RequestStatus

from lrm_server.callers import Priority
from lrm_server.engine.places import INTERACTIVE_SHARE
from lrm_server.engine.vllm_requests import VLLM_PRIORITY

if TYPE_CHECKING:
    _Base = Scheduler
else:
    _Base = object

CALM_S: Final = 1.0
"""Without an interactive question, after which steps are full again: robots ask more often."""
LEAST_SHARE: Final = 32
"""So small a part of a full step costs little, and batch has it beside short questions: on a GPU
a step of a few tokens takes about as long as one of hundreds."""
_STARTS: Final = frozenset({RequestStatus.WAITING, RequestStatus.PREEMPTED})
"""What waits for nothing but a step."""


class UrgentSteps(_Base):
    """Bounds the tokens of steps while interactive questions come.

    A step that computes prompts of theirs has room for those, and for batch a third of that:
    as where questions pass the queue (``engine.places``), robots that never stop leave it a
    quarter of what is computed, and wait for their own share a third longer at most. vLLM
    schedules what runs already before anything that waits, so a batch prompt of which a part
    is computed gets no more of such a step than the longest interactive one.

    A question that comes meanwhile waits for the rest of a step. So those without one are half
    as long, until none has come for ``CALM_S``. Answers that are written, one token a step,
    shorten nothing: they hardly lengthen a step, and take many.

    Tokens are the decoder's. vLLM encodes a frame whole in the step that computes its first
    token, so batch's share is as long as one frame's encoding at least.
    """

    _came: float = -math.inf

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        """The next step."""
        config = self.scheduler_config
        most, longest = self.max_num_scheduled_tokens, config.long_prefill_token_threshold
        tokens, of_one = self._bounds(most)
        self.max_num_scheduled_tokens = min(most, tokens)
        config.long_prefill_token_threshold = of_one or longest
        try:
            return super().schedule(throttle_prefills)
        finally:
            self.max_num_scheduled_tokens = most
            config.long_prefill_token_threshold = longest

    def _bounds(self, most: int) -> tuple[int, int]:
        """Tokens of the next step, and of one prompt in it; 0 for as many as there are."""
        urgent, begun, written = [], [], 0
        for request in self.running:
            if not request.is_prefill_chunk:
                written += _left(request)
            elif _is_urgent(request):
                urgent.append(_left(request))
            else:
                begun.append(_left(request))
        urgent += map(self._uncached, self._urgent_waiting())
        if urgent:
            self._came = time.monotonic()
            share = max(round(sum(urgent) * (1 / INTERACTIVE_SHARE - 1)), most // LEAST_SHARE)
            of_one = min(max(*urgent, share), most // 2) if begun else 0
            beside = sum(min(left, of_one) for left in begun)
            return sum(urgent) + written + max(beside, share), of_one
        if time.monotonic() < self._came + CALM_S:
            return written + most // 2, 0
        return most, 0

    def _urgent_waiting(self) -> Iterator[Request]:
        # Both queues give the most urgent first.
        for queue in (self.kv_holding_waiting, self.waiting):
            for request in takewhile(_is_urgent, queue):
                if request.status in _STARTS:
                    yield request

    def _uncached(self, request: Request) -> int:
        """Tokens of a waiting request that are not known from others."""
        if request.num_computed_tokens:
            return _left(request)
        _, known, _ = self.kv_cache_manager.get_computed_blocks(request)
        return request.num_tokens - known


def _is_urgent(request: Request) -> bool:
    return request.priority <= VLLM_PRIORITY[Priority.INTERACTIVE]


def _left(request: Request) -> int:
    """Tokens that the next step may compute for it."""
    planned = request.num_tokens_with_spec + request.num_output_placeholders
    return planned - request.num_computed_tokens


class UrgentScheduler(UrgentSteps, Scheduler):
    """Plans a step when the one before is done, as a CPU's engine does."""


class UrgentAsyncScheduler(UrgentSteps, AsyncScheduler):
    """Plans the next step while one runs."""


def scheduler(vllm_config: VllmConfig, **how: Any) -> Scheduler:
    """The scheduler of an engine's core.

    Args:
        vllm_config: as vLLM has completed it.
        how: what else vLLM makes its own scheduler with.
    """
    ahead = vllm_config.scheduler_config.async_scheduling
    kind = UrgentAsyncScheduler if ahead else UrgentScheduler
    return kind(vllm_config=vllm_config, **how)


SCHEDULER: Final = f"{scheduler.__module__}.{scheduler.__qualname__}"
"""By name, since it is looked up in the core's process."""
