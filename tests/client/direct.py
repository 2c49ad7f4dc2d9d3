"""A client without a transport: its calls go straight to the scripted core."""

from __future__ import annotations

from lrm_client import FrameEncoder
from lrm_client.connection import DEFAULT_MAX_MESSAGE_BYTES, Call, ResultT
from lrm_client.problems import error_from_problem
from tests.client.scripted import ScriptedCore, ScriptedError, problem


class DirectClient:
    def __init__(self, core: ScriptedCore) -> None:
        self.core = core
        self.encoder = FrameEncoder("raw")
        self.max_message_bytes = DEFAULT_MAX_MESSAGE_BYTES

    def send(self, call: Call[ResultT]) -> ResultT:
        try:
            return call.read(self.core.handle(call.method.name, call.request))
        except ScriptedError as failure:
            raise error_from_problem(failure.problem or problem("unavailable")) from failure
