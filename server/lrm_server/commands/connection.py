"""A client of the server that a command was told of, or of one that it starts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from rich.console import Console

from lrm_client import RewardClient, Unavailable
from lrm_server.commands.process import local_server
from lrm_server.config import WrongSettingsError, settings_from

DEFAULT_SERVER: Final = "grpc://127.0.0.1:50051"
TIMEOUT_SECONDS: Final = 120.0
PROBE_SECONDS: Final = 10.0


class NoServerError(Exception):
    """No server answers; says how to get one."""


@dataclass(frozen=True, slots=True)
class ServerChoice:
    """Which server a command talks to.

    Attributes:
        address: as ``RewardClient`` takes it.
        token: the bearer token, or None.
        local: start a server on free ports instead.
        checkpoint: what the local server serves; None for what its settings say.
    """

    address: str = DEFAULT_SERVER
    token: str | None = None
    local: bool = False
    checkpoint: str | None = None


@contextmanager
def connect(choice: ServerChoice) -> Iterator[RewardClient]:
    """A client whose server has answered.

    Raises:
        NoServerError: nobody answers at the address.
        LocalServerError: the server of ``local`` does not start.
        LrmError: the server refuses, for want of a token for instance.
        ValueError: the address is none.
    """
    if choice.local:
        with _local_client(choice.checkpoint) as client:
            yield client
        return
    with RewardClient(choice.address, token=choice.token, timeout=TIMEOUT_SECONDS) as client:
        try:
            client.models(timeout=PROBE_SECONDS)
        except Unavailable as error:
            raise NoServerError(
                f"no server answers at {choice.address}: start one with `lrm serve`, name another "
                "with --server, or let the command start its own (`lrm score --local`, "
                f"`lrm eval --checkpoint embedded`). ({error.message})"
            ) from error
        yield client


@contextmanager
def _local_client(checkpoint: str | None) -> Iterator[RewardClient]:
    flags = {} if checkpoint is None else {"model": checkpoint}
    try:
        token = settings_from({"host": "127.0.0.1", **flags}).secret()
    except (WrongSettingsError, OSError) as error:
        raise NoServerError(f"the settings of the local server are wrong: {error}") from error
    console = Console(stderr=True)
    with local_server([f"--{name}={value}" for name, value in flags.items()]) as server:
        with console.status("starting a server"):
            server.wait_until_ready()
        with RewardClient(server.grpc, token=token, timeout=TIMEOUT_SECONDS) as client:
            yield client
        server.stop()
