"""Where a client connects to, and how long and how often it tries."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Generic,
    Literal,
    Protocol,
    TypeAlias,
    TypeVar,
    get_args,
)
from urllib.parse import urlsplit
from uuid import uuid4

from google.protobuf.message import Message

from lrm_client.shared_memory import Lease
from lrm_client.wire import reward_pb2 as pb

if TYPE_CHECKING:
    from lrm_client.trajectory_requests import SentTrajectory

DEFAULT_TIMEOUT: Final = 30.0
"""Seconds that a call may take, retries included."""
TRAJECTORY_TIMEOUT: Final = 600.0
"""Seconds that scoring a trajectory may take, which is many queries."""
DEFAULT_MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024

RequestT = TypeVar("RequestT", bound=Message)
ResponseT = TypeVar("ResponseT", bound=Message)
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a call is tried when the server is unavailable or full, and only then.

    The waits are drawn at random below initial, initial x multiplier, ... up to maximum
    seconds. Where the server says when to come back, they begin there, and are drawn below
    as long again: clients that were told the same do not come back together. All attempts
    share the call's one deadline. Requests can be repeated safely: they bring their own ids.

    Attributes:
        attempts: at least 1, the first included.
        initial_seconds: bound of the first wait.
        maximum_seconds: bound of every wait that the server says nothing of.
        multiplier: growth of the bound.

    Raises:
        ValueError: a number out of range.
    """

    attempts: int = 5
    initial_seconds: float = 0.1
    maximum_seconds: float = 2.0
    multiplier: float = 2.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts must be at least 1, not {self.attempts}")
        if not 0 < self.initial_seconds <= self.maximum_seconds < math.inf:
            raise ValueError("0 < initial_seconds <= maximum_seconds must hold")
        if not 1 <= self.multiplier < math.inf:
            raise ValueError(f"multiplier must be at least 1, not {self.multiplier}")

    def bound(self, failures: int) -> float:
        """The longest wait in seconds after so many failures, counted from 1."""
        try:
            grown = self.initial_seconds * self.multiplier ** (failures - 1)
        except OverflowError:
            return self.maximum_seconds
        return min(self.maximum_seconds, grown)


RUN_KEY: Final = "lrm-run"
"""Metadata and header that name the run that asks."""
CLIENT_KEY: Final = "lrm-client"
"""Metadata and header that name the client that asks."""
PRIORITY_KEY: Final = "lrm-priority"
"""Metadata and header that say how urgent a request is."""
MAX_NAME_LENGTH: Final = 100

Priority: TypeAlias = Literal["interactive", "batch"]
"""``interactive`` for who acts on the answer at once, such as a robot; it is answered first."""


def fresh_name() -> str:
    """A name that no other client has."""
    return uuid4().hex


@dataclass(frozen=True, slots=True)
class Target:
    """A server's address: ``host:port`` for gRPC, a base URL for HTTP."""

    protocol: Literal["grpc", "http"]
    address: str
    secure: bool

    @property
    def loopback(self) -> bool:
        """Whether the server is on this machine, where no proxy stands in between."""
        url = self.address if self.protocol == "http" else f"//{self.address}"
        host = urlsplit(url).hostname or ""
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return host == "localhost" or host.endswith(".localhost")


def parse_target(target: str) -> Target:
    """Reads ``host:port``, ``grpc://``, ``grpcs://`` (TLS), ``http://`` or ``https://``.

    Raises:
        ValueError: another scheme, or no port for gRPC.
    """
    scheme, separator, address = target.partition("://")
    if not separator:
        scheme, address = "grpc", target
    if scheme in ("http", "https"):
        if not urlsplit(target).hostname:
            raise ValueError(f"{target!r} names no host")
        return Target("http", target.rstrip("/"), scheme == "https")
    if scheme not in ("grpc", "grpcs"):
        raise ValueError(f"{target!r}: the scheme must be grpc, grpcs, http or https")
    host, _, port = address.rstrip("/").rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"{target!r} is not host:port")
    return Target("grpc", f"{host}:{port}", scheme == "grpcs")


@dataclass(frozen=True, slots=True)
class Connection:
    """What a transport needs to know. The token is not shown.

    Attributes:
        name: of the client, by which the server shares its engine out; another one for each
            client unless it is given.
        priority: of its requests; None leaves it to the server.

    Raises:
        ValueError: a timeout that is not finite and positive, a token, a run or a name that
            no header can carry, no priority, or a limit below 1.
    """

    target: Target
    token: str | None = field(default=None, repr=False)
    timeout: float = DEFAULT_TIMEOUT
    retry: Retry = Retry()
    max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES
    run: str | None = None
    name: str = field(default_factory=fresh_name)
    priority: Priority | None = None

    def __post_init__(self) -> None:
        if not 0 < self.timeout < math.inf:
            raise ValueError(f"timeout must be finite and positive, not {self.timeout}")
        if self.token is not None and not (self.token.isascii() and self.token.isprintable()):
            raise ValueError("token must be printable ASCII")
        if self.run is not None and not (
            self.run.isascii() and self.run.isprintable() and self.run.strip()
        ):
            raise ValueError("run must be printable ASCII, and not empty")
        if not (self.name.isascii() and self.name.isprintable()) or " " in self.name:
            raise ValueError("name must be printable ASCII without spaces")
        if not 0 < len(self.name) <= MAX_NAME_LENGTH:
            raise ValueError(f"name must have 1 to {MAX_NAME_LENGTH} characters")
        if self.priority not in (None, *get_args(Priority)):
            raise ValueError(f"priority must be interactive or batch, not {self.priority!r}")
        if self.max_message_bytes < 1:
            raise ValueError(f"max_message_bytes must be positive, not {self.max_message_bytes}")

    def headers(self, priority: Priority | None = None) -> dict[str, str]:
        """What a call carries: the client's name, and token, run and priority if any.

        Args:
            priority: of the call, where the client has none of its own.
        """
        carried = {CLIENT_KEY: self.name}
        if self.token:
            carried["authorization"] = f"Bearer {self.token}"
        if self.run:
            carried[RUN_KEY] = self.run
        if chosen := self.priority or priority:
            carried[PRIORITY_KEY] = chosen
        return carried

    def deadline(self, timeout: float | None) -> float:
        """A call's timeout in seconds: its own, or the connection's.

        Raises:
            ValueError: it is not finite and positive.
        """
        if timeout is None:
            return self.timeout
        if not 0 < timeout < math.inf:
            raise ValueError(f"timeout must be finite and positive, not {timeout}")
        return timeout


@dataclass(frozen=True, slots=True)
class Method(Generic[RequestT, ResponseT]):
    """A method of the service, by its name there."""

    name: str
    request: type[RequestT]
    response: type[ResponseT]


SCORE: Final = Method("Score", pb.ScoreRequest, pb.ScoreResponse)
OPEN: Final = Method("OpenEpisodes", pb.OpenEpisodesRequest, pb.OpenEpisodesResponse)
STEP: Final = Method("StepEpisodes", pb.StepEpisodesRequest, pb.StepEpisodesResponse)
CLOSE: Final = Method("CloseEpisodes", pb.CloseEpisodesRequest, pb.CloseEpisodesResponse)
MODELS: Final = Method("ListModels", pb.ListModelsRequest, pb.ListModelsResponse)
OPEN_RUN: Final = Method("OpenRun", pb.OpenRunRequest, pb.Run)
GET_RUN: Final = Method("GetRun", pb.GetRunRequest, pb.Run)
CLOSE_RUN: Final = Method("CloseRun", pb.CloseRunRequest, pb.CloseRunResponse)

TRAJECTORY: Final = Method("ScoreTrajectory", pb.ScoreTrajectoryRequest, pb.ScoreTrajectoryResponse)
"""Streams of both; the other methods take one request and give one response."""


@dataclass(frozen=True, slots=True)
class Call(Generic[ResultT]):
    """A request that is ready to be sent, and how its response is read.

    Attributes:
        method: of the service.
        request: its message.
        read: makes the result of the response.
        timeout: seconds; None for the client's own.
        lease: of the shared memory that the request refers to, which is held until the
            response is there; None when it refers to none.
        priority: of a client that has none of its own.
    """

    method: Method[Any, Any]
    request: Message
    read: Callable[[Any], ResultT]
    timeout: float | None = None
    lease: Lease | None = None
    priority: Priority | None = None


class Transport(Protocol):
    """Carries requests to a server; whole-call failures raise ``LrmError``."""

    def call(
        self,
        method: Method[RequestT, ResponseT],
        request: RequestT,
        timeout: float,
        priority: Priority | None = None,
    ) -> ResponseT:
        """Sends a request and waits at most ``timeout`` seconds, retries included."""
        ...

    def trajectory(
        self, sent: SentTrajectory, timeout: float
    ) -> Iterator[pb.ScoreTrajectoryResponse]:
        """Sends a trajectory; what is answered, as it comes, within ``timeout`` seconds."""
        ...

    def close(self) -> None:
        """Drops the connection; calls after it fail."""
        ...


class AsyncTransport(Protocol):
    """As ``Transport``, on an event loop."""

    async def call(
        self,
        method: Method[RequestT, ResponseT],
        request: RequestT,
        timeout: float,
        priority: Priority | None = None,
    ) -> ResponseT:
        """Sends a request and waits at most ``timeout`` seconds, retries included."""
        ...

    def trajectory(
        self, sent: SentTrajectory, timeout: float
    ) -> AsyncIterator[pb.ScoreTrajectoryResponse]:
        """Sends a trajectory; what is answered, as it comes, within ``timeout`` seconds."""
        ...

    async def close(self) -> None:
        """Drops the connection; calls after it fail."""
        ...
