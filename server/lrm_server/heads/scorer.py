"""What episodes and transports ask of the heads."""

from __future__ import annotations

from typing import Protocol

from lrm_server.engine.protocol import Conversation, EngineStatus, Written
from lrm_server.heads.catalogue import HeadCatalogue
from lrm_server.heads.decomposer import Decomposition
from lrm_server.heads.query import Query, Reply


class Scorer(Protocol):
    """Answers queries; safe to call from many tasks at once."""

    @property
    def catalogue(self) -> HeadCatalogue:
        """The heads that are served."""
        ...

    def check(self, query: Query) -> None:
        """Everything that is wrong with a query and can be known without the engine.

        Raises:
            DomainError: UNKNOWN_HEAD, or INVALID_ARGUMENT of the task, the frames
                by role, their sizes, the readout or the margin.
        """
        ...

    async def score(self, query: Query) -> Reply:
        """The reply to one query; cancelling aborts the work.

        Raises:
            DomainError: the query failed; its field is relative to the query
                (``task``, ``previous``).
        """
        ...

    async def converse(self, conversation: Conversation) -> Written:
        """The next turn of a conversation, which is no head's; cancelling aborts the work.

        Raises:
            DomainError: the engine cannot answer, or a message is wrong.
        """
        ...

    async def decompose(
        self, head: str, task: str, scene: str = "", deadline: float | None = None
    ) -> Decomposition:
        """The subtasks of a task that a head would ask about; no frame is looked at.

        Args:
            head: one that measures progress over subtasks.
            task: in words.
            scene: what stands around the robot, in words; "" where it is not described.
            deadline: time.monotonic() seconds after which the caller waits no more.

        Raises:
            DomainError: UNKNOWN_HEAD, INVALID_ARGUMENT, TASK_NOT_DECOMPOSED, or what the
                engine raises.
        """
        ...

    async def status(self) -> EngineStatus:
        """Asks the engine itself whether it can answer."""
        ...
