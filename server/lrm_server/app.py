"""The one place where the parts are put together: engine, episodes, transports, signals."""

from __future__ import annotations

import asyncio
import gc
import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, NoReturn

import structlog
import uvicorn

from lrm_client.version import __version__
from lrm_server.api.calls import Calls, Core, Limits
from lrm_server.api.grpc_server import grpc_server
from lrm_server.api.http_app import http_app
from lrm_server.api.listening import PortTaken, Uvicorn, listen, taken
from lrm_server.config import Settings
from lrm_server.engine.label_trie import MAX_TOKENS_PER_NODE
from lrm_server.episodes.service import EpisodeService
from lrm_server.episodes.store import MemoryEpisodeStore
from lrm_server.errors import DomainError
from lrm_server.heads.scorer import Scorer
from lrm_server.ops.auth import TokenCheck
from lrm_server.ops.budgets import BudgetedScorer, RunBudgets
from lrm_server.ops.health import Health
from lrm_server.ops.metered import MeteredScorer
from lrm_server.ops.metrics import Metrics
from lrm_server.threads import FrameThreads
from lrm_server.trajectories.service import TrajectoryService

FAILED: Final = 1
"""Exit code of a server that could not start, or whose engine went away for good."""

_log = structlog.get_logger(__name__)


class Server:
    """Both transports on the running event loop.

    It listens as soon as it is entered and answers UNAVAILABLE until a scorer is
    attached, so that callers and load balancers can tell loading from absent::

        async with Server(settings) as server:
            server.attach(scorer)
            ...
            await server.stop(grace=20)

    Attributes:
        http_port: the port of HTTP, once entered.
        grpc_port: the port of gRPC, once entered.
        metrics: what this server counts.
        health: whether it can answer.

    Raises:
        OSError: the token's file cannot be read.
        ValueError: the token's file is empty.
    """

    def __init__(self, settings: Settings, scorer: Scorer | None = None) -> None:
        self._settings = settings
        self.metrics = Metrics()
        self.metrics.build(version=__version__)
        self.health = Health()
        runs = RunBudgets(most=settings.max_runs, idle_seconds=settings.run_idle_seconds)
        self._decoding = FrameThreads(settings.frame_threads, "frames")
        limits = Limits.of(settings, max_labels=MAX_TOKENS_PER_NODE)
        self._calls = Calls(limits, runs, self._decoding)
        check = TokenCheck(settings.secret())
        # A video takes long to decode: other frames do not queue behind it.
        self._trajectory_frames = ThreadPoolExecutor(settings.frame_threads, "trajectory-frames")
        most = settings.max_requests
        self._grpc = grpc_server(self._calls, self.health, self.metrics, check, max_requests=most)
        self._http = Uvicorn(
            uvicorn.Config(
                http_app(self._calls, self.health, self.metrics, check, max_requests=most),
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
            )
        )
        self._serving: asyncio.Task[None] | None = None
        self.http_port = 0
        self.grpc_port = 0
        if scorer is not None:
            self.attach(scorer)

    @property
    def attached(self) -> bool:
        """Whether there is an engine."""
        return self._calls.attached

    def attach(self, scorer: Scorer) -> None:
        """The engine is there: from now on calls are answered."""
        settings = self._settings
        metered = MeteredScorer(BudgetedScorer(scorer, self._calls.runs), self.metrics)
        store = MemoryEpisodeStore(
            max_episodes=settings.max_episodes,
            max_frame_mib=settings.max_episode_memory_mib,
            idle_seconds=settings.episode_idle_seconds,
        )
        episodes = EpisodeService(
            metered, store, executor=self._decoding, observer=self.metrics.rewards
        )
        models = [each.model for each in scorer.catalogue.models]
        self.metrics.build(
            version=__version__,
            model=",".join(model.id for model in models),
            fingerprint=",".join(model.fingerprint for model in models),
        )
        trajectories = TrajectoryService(
            metered, self._calls.limits.trajectory, executor=self._trajectory_frames
        )
        self._calls.attach(Core(metered, episodes, trajectories))
        self.health.serve(scorer)

    async def __aenter__(self) -> Server:
        """Listens.

        Raises:
            PortTaken: an address cannot be bound.
        """
        settings = self._settings
        listener = listen(settings.host, settings.http_port)
        try:
            self.grpc_port = self._bind_grpc()
            await self._grpc.start()
            self.http_port = listener.getsockname()[1]
            self._serving = asyncio.create_task(self._http.serve([listener]))
            await self._http.listening(self._serving)
        except BaseException:
            listener.close()
            await self._grpc.stop(None)
            raise
        _log.info("listening", host=settings.host, http=self.http_port, grpc=self.grpc_port)
        return self

    async def __aexit__(self, *error: object) -> None:
        """Stops at once, if it was not stopped before."""
        await self.stop(0.0)

    async def stop(self, grace: float) -> None:
        """Stops: not ready, no new requests, those in flight finished, closed.

        Args:
            grace: seconds that requests in flight get. Stopping twice is no error.
        """
        self.health.stop()
        if self._serving is None:
            return
        serving, self._serving = self._serving, None
        self._http.finish(grace)
        await asyncio.gather(self._grpc.stop(grace), serving)
        self._decoding.shutdown(wait=False)
        self._trajectory_frames.shutdown(wait=False)

    def _bind_grpc(self) -> int:
        host, port = self._settings.host, self._settings.grpc_port
        address = f"[{host}]" if ":" in host else host
        try:
            return self._grpc.add_insecure_port(f"{address}:{port}")
        except RuntimeError as error:
            raise taken("gRPC", host, port, "grpc_port", str(error)) from error


def open_scorer(
    settings: Settings, observe: Callable[[str, int, int], None] = lambda *_: None
) -> AbstractAsyncContextManager[Scorer]:
    """The heads of a checkpoint on their engine, warmed up, for as long as the context lasts.

    Args:
        settings: what is served.
        observe: told the tokens of every request to a remote model.
    """
    # Imported late: it brings vLLM, which takes seconds and which tests do without.
    from lrm_server import checkpoint

    return checkpoint.open_scorer(settings, observe)


def freeze_heap() -> None:
    """Lets garbage collections pass over all that was loaded, which stays.

    Each full collection would look through it again, and nobody is answered in that half
    second. An engine that is started again adds little to it.
    """
    gc.collect()
    gc.freeze()


async def serve_forever(settings: Settings) -> bool:
    """Serves until SIGTERM or SIGINT, then finishes what is in flight.

    Returns:
        False when it was stopped while the engine was loading, which goes on in a
        thread that cannot be interrupted.

    Raises:
        PortTaken: an address cannot be bound.
        DomainError: the checkpoint cannot be served.
    """
    async with _until_signalled() as stopped, Server(settings) as server:
        answering = asyncio.create_task(_answer(settings, server, stopped))
        waiting = asyncio.create_task(stopped.wait())
        try:
            await asyncio.wait({answering, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done() and not server.attached:
                _log.info("stopping before the engine was ready")
                answering.cancel()
                return False
            await answering
        except asyncio.CancelledError:
            if not stopped.is_set():
                raise
        finally:
            waiting.cancel()
            answering.cancel()
    _log.info("stopped")
    return True


def serve(settings: Settings) -> int:
    """Runs a server until it is told to stop; the process's exit code."""
    try:
        loaded = asyncio.run(serve_forever(settings))
    except (PortTaken, DomainError) as error:
        _log.error("the server did not start", cause=str(error))
        return FAILED
    except Exception:
        _log.exception("the server failed")
        return FAILED
    if not loaded:
        _leave_loading()
    return 0


def _leave_loading() -> NoReturn:
    """Ends the process, and the engine's that is being started, without waiting for it."""
    for child in multiprocessing.active_children():
        child.kill()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


async def _answer(settings: Settings, server: Server, stopped: asyncio.Event) -> None:
    """Holds the engine open while requests are answered."""
    async with open_scorer(settings, server.metrics.remote_tokens) as scorer:
        freeze_heap()
        server.attach(scorer)
        for each in scorer.catalogue.models:
            _log.info("ready", model=each.model.id, heads=list(each))
        await stopped.wait()
        _log.info("stopping", grace_seconds=settings.shutdown_grace_seconds)
        await server.stop(settings.shutdown_grace_seconds)


@asynccontextmanager
async def _until_signalled() -> AsyncIterator[asyncio.Event]:
    """An event that the first SIGTERM or SIGINT sets; a second one ends the process at once."""
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    signals = (signal.SIGTERM, signal.SIGINT)

    def stop() -> None:
        stopped.set()
        restore()

    def restore() -> None:
        for number in signals:
            loop.remove_signal_handler(number)

    for number in signals:
        loop.add_signal_handler(number, stop)
    try:
        yield stopped
    finally:
        restore()
