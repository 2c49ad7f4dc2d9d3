"""The vLLM engine's life: started, proved, watched, started again when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.lora.request import LoRARequest
from vllm.usage.usage_lib import UsageContext
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from lrm_server.engine.cores import Ranks
from lrm_server.engine.engine_metrics import EngineMetrics
from lrm_server.engine.environment import bound_to
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.threads import in_daemon_thread

logger = logging.getLogger(__name__)

T = TypeVar("T")

_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 60.0
_LOOK_EVERY_S = 1.0
_ANSWER_WITHIN_S = 5.0
"""For the question whether it is ready: it waits for the step that the core is in."""
_HUNG_AFTER_S = 300.0
"""No step of a core that works takes longer."""
_DIED = "the engine died and is being started again"
_STOP_WITHIN_S = 12.0
"""The core's process takes some seconds to end by itself; beyond this it is killed."""

_proving: contextvars.ContextVar[bool] = contextvars.ContextVar("proving", default=False)
"""Set while the proof runs, which must reach an engine that nobody else may use yet."""

Proof = Callable[[], Coroutine[Any, Any, None]]


class SupervisedLLM:
    """One ``AsyncLLM`` after another.

    The engine's core is a process of its own, or one for each copy of the model. When one
    dies, what is in flight fails as UNAVAILABLE, readiness is false, and all are started
    again after a pause that doubles with every failure. A new engine serves nobody before
    the proof (warm-up and canary) has passed on it.

    Args:
        args: how it is started.
        adapters: what is loaded into it.
        name: what logs and metrics call it.
        cores: that a CPU engine is bound to.
    """

    def __init__(
        self,
        args: AsyncEngineArgs,
        adapters: tuple[LoRARequest, ...],
        *,
        name: str = "",
        cores: Ranks = (),
    ) -> None:
        self._args = args
        self._adapters = adapters
        self._name = name
        self._cores = cores
        self._metrics = EngineMetrics(name)
        self._llm: AsyncLLM | None = None
        self._ready = False
        self._reason = "the engine is starting"
        self._proof: Proof | None = None

    @property
    def ready(self) -> bool:
        """Whether the proof has passed on an engine that lives."""
        return self._ready and self._llm is not None and not self._llm.errored

    @property
    def reason(self) -> str:
        """Why it is not ready."""
        return "" if self.ready else self._reason

    def current(self) -> AsyncLLM:
        """The engine, for one request.

        Raises:
            DomainError: UNAVAILABLE while there is none that may be used.
        """
        if self._llm is None or not (self.ready or _proving.get()):
            raise unavailable(self._reason)
        return self._llm

    async def load(self) -> AsyncLLM:
        """Starts the first engine; it is not ready before ``watch`` has proved it.

        Raises:
            Exception: whatever vLLM raises when the checkpoint cannot be served.
        """
        # The constructor blocks while the core loads the weights.
        llm = await in_daemon_thread(self._start)
        self._llm = llm
        try:
            for adapter in self._adapters:
                await _unless_dead(llm, llm.add_lora(adapter))
        except BaseException:
            await self._discard()
            raise
        return llm

    def _start(self) -> AsyncLLM:
        with bound_to(self._cores):
            llm = AsyncLLM.from_engine_args(
                self._args,
                usage_context=UsageContext.OPENAI_API_SERVER,
                stat_loggers=[self._metrics.stat_logger()],
            )
        self._metrics.started(llm.vllm_config)
        return llm

    async def prove(self, proof: Proof) -> None:
        """Runs the proof and opens the engine to everybody; keeps it for later engines.

        Raises:
            Exception: whatever the proof raises; the engine stays closed.
        """
        self._proof = proof
        token = _proving.set(True)
        try:
            await _unless_dead(self.current(), proof())
        finally:
            _proving.reset(token)
        # What keeps it from being ready from now on, until the watch looks.
        self._ready, self._reason = True, _DIED

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Watches and restarts the engine until the block ends, then stops it."""
        watcher = asyncio.create_task(self._watch(), name="engine-watch")
        try:
            yield
        finally:
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher
            await self.stop()

    async def stop(self) -> None:
        """Ends the engine's process."""
        self._ready, self._reason = False, "the engine is stopping"
        await self._discard()

    async def check(self) -> None:
        """Asks the engine's core and waits for its answer.

        Raises:
            DomainError: UNAVAILABLE when it is not ready, dead, or does not answer.
        """
        llm = self.current()
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                await _round_trip(llm)
        except EngineDeadError as error:
            raise unavailable(_DIED) from error
        except TimeoutError as error:
            raise unavailable("the engine does not answer") from error

    async def trouble(self) -> str:
        """Why the engine's core cannot answer, asked of itself; "" when it can."""
        try:
            await self.check()
        except DomainError as error:
            return self.reason or error.message
        return ""

    async def _watch(self) -> None:
        wait = _FIRST_WAIT_S
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            if self._llm is not None and not await self._hangs_or_died(self._llm):
                wait = _FIRST_WAIT_S
                continue
            self._ready, self._reason = False, _DIED
            logger.error("engine %s died; starting another in %.0f s", self._name, wait)
            await self._discard()
            await asyncio.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT_S)
            try:
                await self.load()
                if self._proof is not None:
                    await self.prove(self._proof)
                logger.warning("engine %s serves again", self._name)
            except Exception as error:
                self._reason = f"the engine could not be started again: {error}"
                logger.exception("engine %s could not be started again", self._name)
                await self._discard()

    @staticmethod
    async def _hangs_or_died(llm: AsyncLLM) -> bool:
        try:
            async with asyncio.timeout(_HUNG_AFTER_S):
                await _unless_dead(llm, _round_trip(llm))
        except (DomainError, EngineDeadError, TimeoutError):
            return True
        return False

    async def _discard(self) -> None:
        llm, self._llm = self._llm, None
        if llm is None:
            return
        self._metrics.ended()
        if llm.output_handler is not None:
            # It would take the end of the core's process for a crash and log one.
            llm.output_handler.cancel()
            llm.output_processor.propagate_error(EngineDeadError())
        with contextlib.suppress(Exception):
            await asyncio.to_thread(llm.shutdown, timeout=_STOP_WITHIN_S)


async def _round_trip(llm: AsyncLLM) -> None:
    """A question that the core answers between two steps, without touching the model."""
    if llm.errored:
        raise EngineDeadError
    await llm.is_sleeping()


async def _unless_dead(llm: AsyncLLM, work: Coroutine[Any, Any, T]) -> T:
    """Waits for work on an engine, but not for an answer that a dead one still owes.

    Raises:
        DomainError: UNAVAILABLE when the engine died meanwhile.
    """
    task = asyncio.create_task(work)
    try:
        while not (await asyncio.wait({task}, timeout=_LOOK_EVERY_S))[0]:
            if llm.errored:
                raise unavailable("the engine died")
        return task.result()
    finally:
        task.cancel()


def unavailable(reason: str) -> DomainError:
    """The error of a request that finds no engine."""
    return DomainError(ErrorCode.UNAVAILABLE, f"{reason}: try again shortly.")
