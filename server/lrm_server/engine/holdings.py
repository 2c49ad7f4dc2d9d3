"""How much the questions that are in weigh, together and by client, and the bounds on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Final

from lrm_server.callers import URGENT_SHARE
from lrm_server.frames import Frame

MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLimits:
    """How much may be in at once: waiting, and being answered.

    A learner of 320 environments that asks three heads, contrastive in both orders, has 1,280
    questions in for each of its steps. With raw frames of 128x128 these are 47 MiB, with
    256x256 190 MiB. A client may have half of everything, so that none keeps out the others.

    Attributes:
        max_queue: questions of all clients.
        max_queue_mib: MiB of their frames as they came, each counted once.
        max_client_queue: questions of one client.
        max_client_queue_mib: MiB of its frames.
    """

    max_queue: int = 8192
    max_queue_mib: int = 1024
    max_client_queue: int = 4096
    max_client_queue_mib: int = 512

    @classmethod
    def of(cls, settings: object) -> QueueLimits:
        """The limits that settings of the same names set."""
        return cls(**{each.name: getattr(settings, each.name) for each in fields(cls)})


DEFAULT_LIMITS: Final = QueueLimits()


@dataclass(frozen=True, slots=True)
class Excess:
    """Why a question is refused.

    Attributes:
        reason: what is full, and what to change.
        ahead: questions whose answers make room.
    """

    reason: str
    ahead: int


@dataclass(slots=True)
class _Held:
    """What is in of one client."""

    questions: int = 0
    nbytes: int = 0
    frames: Counter[Frame] = field(default_factory=Counter)


class Holdings:
    """What is in. Only clients with a question in are remembered."""

    def __init__(self, limits: QueueLimits) -> None:
        self._limits = limits
        self._clients: dict[str, _Held] = {}
        self._questions = 0
        self._nbytes = 0

    @property
    def questions(self) -> int:
        """That are in, of all clients."""
        return self._questions

    @property
    def nbytes(self) -> int:
        """Of the frames that are in, as they came."""
        return self._nbytes

    @property
    def clients(self) -> int:
        """How many have a question in."""
        return len(self._clients)

    def excess(
        self, client: str, frames: Sequence[Frame], *, urgent: bool = False
    ) -> Excess | None:
        """Why one more question of a client is too much; None where there is room for it.

        A question whose frames are over a bound by themselves is let in alone. For urgent
        questions the server's bounds are an eighth wider: learners that fill it keep no
        robot out.
        """
        limits, held = self._limits, self._clients.get(client, _Held())
        wider = 1 + URGENT_SHARE if urgent else 1
        if held.questions >= limits.max_client_queue:
            return self._of_client(held, f"{held.questions} questions", "max_client_queue")
        if self._questions >= limits.max_queue * wider:
            return self._of_all(f"{self._questions} questions", "max_queue")
        more = sum(frame.nbytes for frame in set(frames) if frame not in held.frames)
        if held.nbytes and held.nbytes + more > limits.max_client_queue_mib * MIB:
            return self._of_client(held, f"frames of {held.nbytes} bytes", "max_client_queue_mib")
        if self._nbytes and self._nbytes + more > limits.max_queue_mib * MIB * wider:
            return self._of_all(f"frames of {self._nbytes} bytes", "max_queue_mib")
        return None

    def add(self, client: str, frames: Sequence[Frame]) -> None:
        """A question comes in."""
        held = self._clients.setdefault(client, _Held())
        held.questions += 1
        self._questions += 1
        for frame in frames:
            if not held.frames[frame]:
                held.nbytes += frame.nbytes
                self._nbytes += frame.nbytes
            held.frames[frame] += 1

    def remove(self, client: str, frames: Sequence[Frame]) -> None:
        """A question that came in is answered or given up."""
        held = self._clients[client]
        held.questions -= 1
        self._questions -= 1
        for frame in frames:
            held.frames[frame] -= 1
            if not held.frames[frame]:
                del held.frames[frame]
                held.nbytes -= frame.nbytes
                self._nbytes -= frame.nbytes
        if not held.questions:
            del self._clients[client]

    def _of_client(self, held: _Held, what: str, setting: str) -> Excess:
        # Others take turns with it: its own are answered that much slower.
        return Excess(
            f"{what} of this client are in, which is its share: send fewer at once, wait, or raise "
            f"{setting} on the server.",
            held.questions * self.clients,
        )

    def _of_all(self, what: str, setting: str) -> Excess:
        return Excess(
            f"{what} are in, which is all that the server takes: send fewer at once, wait, or "
            f"raise {setting} on the server.",
            self._questions,
        )
