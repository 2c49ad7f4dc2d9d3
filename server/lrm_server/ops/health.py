"""Whether the server can answer: its own state, and what the engine says of itself."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum

import structlog

from lrm_server.engine.protocol import EngineStatus
from lrm_server.heads.scorer import Scorer

STATUS_TIMEOUT_SECONDS = 5.0
"""An engine that does not say within this time how it is, is not well."""

_log = structlog.get_logger(__name__)


class Phase(str, Enum):
    """Where a server stands between its start and its end."""

    STARTING = "starting"
    SERVING = "serving"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether requests can be answered now.

    Attributes:
        ready: the server serves and the engine says that it can answer.
        phase: where the server stands.
        reason: why it is not ready, or "".
        engine: what the engine said; None when it was not or could not be asked.
    """

    ready: bool
    phase: Phase
    reason: str
    engine: EngineStatus | None = None


class Health:
    """The server's state. It starts without an engine, gets one, and stops.

    Attributes:
        stopping: set once the server stops; what waits for a caller's next message
            waits for this as well.
    """

    def __init__(self) -> None:
        self._scorer: Scorer | None = None
        self.stopping = asyncio.Event()

    @property
    def phase(self) -> Phase:
        """Where the server stands."""
        if self.stopping.is_set():
            return Phase.STOPPING
        return Phase.STARTING if self._scorer is None else Phase.SERVING

    def serve(self, scorer: Scorer) -> None:
        """The engine is there; from now on it is asked."""
        self._scorer = scorer

    def stop(self) -> None:
        """The server takes no new work; never ready again."""
        self.stopping.set()

    async def readiness(self) -> Readiness:
        """Asks the engine itself. Never raises."""
        phase = self.phase
        engine: EngineStatus | None = None
        if self._scorer is None:
            return Readiness(False, phase, "the engine is loading")
        try:
            engine = await asyncio.wait_for(self._scorer.status(), STATUS_TIMEOUT_SECONDS)
        except asyncio.TimeoutError:
            reason = f"the engine did not answer within {STATUS_TIMEOUT_SECONDS:g} seconds"
            return Readiness(False, phase, reason)
        except Exception:
            # Readiness is asked for when things are broken: it must not break as well.
            _log.exception("the engine could not be asked how it is")
            return Readiness(False, phase, "the engine could not be asked; see the server's log")
        if phase is Phase.STOPPING:
            return Readiness(False, phase, "the server is stopping", engine)
        return Readiness(engine.ready, phase, "" if engine.ready else engine.reason, engine)
