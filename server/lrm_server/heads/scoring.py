"""Answers queries: checks them, asks the engine, turns what it read into a reply."""

from __future__ import annotations

from lrm_server.engine.embedder import Embedder
from lrm_server.engine.frame_reader import FrameReader
from lrm_server.engine.protocol import Conversation, Engine, EngineStatus, Written
from lrm_server.errors import DomainError, invalid
from lrm_server.heads.asking import ask_for_label, ask_for_percentages
from lrm_server.heads.catalogue import HeadCatalogue, ServedHead
from lrm_server.heads.checks import check_all, check_other_window, check_window, check_words
from lrm_server.heads.composite import of_component, score_composite
from lrm_server.heads.decomposer import Decomposer, Decomposition
from lrm_server.heads.frame_heads import ask_at_frames, ask_for_preference
from lrm_server.heads.frame_profile import FrameProfile
from lrm_server.heads.profile import CompositeProfile, LabelProfile, SequenceProfile
from lrm_server.heads.query import Query, Reply
from lrm_server.heads.similarity import ask_for_similarity
from lrm_server.heads.similarity_profile import SimilarityProfile
from lrm_server.heads.subtask_heads import ask_about_subtasks
from lrm_server.heads.subtask_profile import SubtaskProfile


class HeadScorer:
    """Implements ``heads.scorer.Scorer`` on an engine.

    Attributes:
        engine: who is asked in words.
        decomposer: who makes the subtasks of a task.
    """

    def __init__(
        self,
        engine: Engine,
        catalogue: HeadCatalogue,
        decomposer: Decomposer | None = None,
        *,
        reader: FrameReader | None = None,
        embedder: Embedder | None = None,
    ) -> None:
        self.engine = engine
        self._reader = reader
        self._embedder = embedder
        self.decomposer = decomposer or Decomposer(engine)
        self._catalogue = catalogue

    @property
    def catalogue(self) -> HeadCatalogue:
        """The heads that are served."""
        return self._catalogue

    async def status(self) -> EngineStatus:
        """Asks the engine itself whether it can answer."""
        return await self.engine.status()

    def check(self, query: Query) -> None:
        """Everything that is wrong with a query and can be known without the engine.

        Raises:
            DomainError: UNKNOWN_HEAD, or INVALID_ARGUMENT of the task, the frames
                by role, their sizes, the window, the readout or the margin.
        """
        check_all(self._catalogue, query)

    async def score(self, query: Query) -> Reply:
        """The reply to one query; cancelling aborts the work.

        Raises:
            DomainError: the query failed; its field is relative to the query.
        """
        self.check(query)
        head = self._catalogue[query.head]
        profile = head.profile
        match profile:
            case CompositeProfile():
                return await score_composite(self.score, self._catalogue, head, query)
            case LabelProfile():
                window = check_window(head, query)
                return await ask_for_label(self.engine, head, profile, query, window)
            case SequenceProfile():
                shown = check_window(head, query)
                if shown is None:
                    raise AssertionError("a sequence is asked about a window")
                return await ask_for_percentages(self.engine, head, profile, query, shown)
            case FrameProfile():
                return await self._read_frames(head, profile, query)
            case SimilarityProfile():
                if self._embedder is None:
                    raise _not_of_this_model(head)
                return await ask_for_similarity(self._embedder, head.name, profile, query)
            case SubtaskProfile():
                current = self._catalogue[profile.current]
                return await ask_about_subtasks(
                    self.engine, self.decomposer, head, profile, query, current, self._score_part
                )

    async def decompose(
        self, head: str, task: str, scene: str = "", deadline: float | None = None
    ) -> Decomposition:
        """The subtasks that a head would ask about.

        Raises:
            DomainError: UNKNOWN_HEAD, INVALID_ARGUMENT, or as ``Decomposer.decompose``.
        """
        profile = self._catalogue[head].profile
        if not isinstance(profile, SubtaskProfile):
            raise invalid("head", f"head {head} asks about no subtasks.")
        query = Query(head=head, task=task, scene=scene)
        check_words(query)
        return await self.decomposer.decompose(profile, task, scene, deadline)

    async def converse(self, conversation: Conversation) -> Written:
        """The next turn of a conversation, which is no head's; cancelling aborts the work.

        Raises:
            DomainError: the engine cannot answer, or a message is wrong.
        """
        return await self.engine.converse(conversation)

    async def _read_frames(self, head: ServedHead, profile: FrameProfile, query: Query) -> Reply:
        window, other = check_window(head, query), check_other_window(head, query)
        if window is None:
            raise AssertionError("a model's heads are read at the frames of a window")
        if self._reader is None:
            raise _not_of_this_model(head)
        if other is None:
            return await ask_at_frames(self._reader, head, profile, query, window)
        return await ask_for_preference(self._reader, head, profile, query, window, other)

    async def _score_part(self, head: ServedHead, query: Query) -> Reply:
        try:
            return await self.score(query)
        except DomainError as error:
            raise of_component(head.name, query.head, error) from error


def _not_of_this_model(head: ServedHead) -> DomainError:
    return invalid(
        "head",
        f"head {head.name} is read from a model that has such heads of its own, and the one that "
        "is served here has not: serve another checkpoint.",
    )
