"""A server that does not answer until it is told to."""

from __future__ import annotations

import threading
from typing import Any

from tests.client.scripted import ScriptedCore


class Gate:
    """Holds the server's answers to steps back until it is opened."""

    def __init__(self, core: ScriptedCore) -> None:
        self._opened = threading.Event()
        self.reached = threading.Event()
        self._handle, core.handle = core.handle, self._pass

    def _pass(self, method: str, request: Any) -> Any:
        if method == "StepEpisodes" and request.steps[0].step:
            self.reached.set()
            assert self._opened.wait(20)
        return self._handle(method, request)

    def open(self) -> None:
        self._opened.set()
