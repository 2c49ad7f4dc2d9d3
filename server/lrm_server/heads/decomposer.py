"""Makes the subtasks of a task: a text model writes them, is asked whether they are right."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from lrm_server.engine.protocol import Engine
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.heads.asking import ask_for_label
from lrm_server.heads.catalogue import ServedHead
from lrm_server.heads.profile import Readout
from lrm_server.heads.query import Query, Reply
from lrm_server.heads.question import question_of
from lrm_server.heads.subtask_profile import SubtaskProfile
from lrm_server.heads.subtasks import Subtask, not_decomposed, parse_subtasks

SECONDS: Final = 120.0
"""How long the text model may take for one task."""

_UNUSABLE = frozenset(
    {ErrorCode.LABEL_MASS_LOW, ErrorCode.ANSWER_UNPARSABLE, ErrorCode.ANSWER_NOT_REACHED}
)


@dataclass(frozen=True, slots=True)
class Decomposition:
    """The subtasks of a task.

    Attributes:
        subtasks: in order.
        profile: digest of the profile that asked for them.
        model: fingerprint of the model that wrote them.
    """

    subtasks: tuple[Subtask, ...]
    profile: str
    model: str


class _Key(NamedTuple):
    """What the subtasks of a task depend on."""

    task: str
    scene: str
    profile: str
    model: str


class Decomposer:
    """Asks a text model for subtasks, once for each task; used from one event loop.

    Those who ask for the same task at once wait for one answer. An answer is worked out even
    when all of them have left, as long as ``seconds`` allow: a text model may be slower than
    a robot waits, and whoever asks next then finds it. What failed is not kept.

    Args:
        engine: the text model; it may be another than the one that sees frames.
        most_kept: tasks whose subtasks are kept; the one not used for longest goes first.
        most_at_once: tasks that are worked on at once.
        seconds: how long one task may take.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        most_kept: int = 1024,
        most_at_once: int = 64,
        seconds: float = SECONDS,
    ) -> None:
        self._engine = engine
        self._most_kept = most_kept
        self._most_at_once = most_at_once
        self._seconds = seconds
        self._kept: OrderedDict[_Key, Decomposition] = OrderedDict()
        self._at_work: dict[_Key, asyncio.Task[Decomposition]] = {}

    async def decompose(
        self, profile: SubtaskProfile, task: str, scene: str = "", deadline: float | None = None
    ) -> Decomposition:
        """The subtasks of a task; cancelling stops the waiting, not the work.

        Args:
            profile: whose questions are asked.
            task: in words.
            scene: what stands around the robot, in words; "" where it is not described.
            deadline: time.monotonic() seconds after which the caller waits no more.

        Raises:
            DomainError: TASK_NOT_DECOMPOSED when the model wrote no subtasks or did not
                confirm them, DEADLINE_EXCEEDED, OVERLOADED when too many tasks are worked
                on, and what the engine raises.
        """
        key = _Key(task, scene, profile.digest, self._engine.fingerprint)
        if (known := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
            return known
        work = self._at_work.get(key) or self._begin(profile, key)
        limit = asyncio.timeout(None if deadline is None else deadline - time.monotonic())
        try:
            async with limit:
                return await asyncio.shield(work)
        except TimeoutError:
            if not limit.expired():
                raise
            raise DomainError(
                ErrorCode.DEADLINE_EXCEEDED,
                "the deadline passed while the subtasks of the task were being written: ask "
                "again, they may be there by then, or allow more time.",
            ) from None

    def _begin(self, profile: SubtaskProfile, key: _Key) -> asyncio.Task[Decomposition]:
        if len(self._at_work) >= self._most_at_once:
            raise DomainError(
                ErrorCode.OVERLOADED,
                f"the subtasks of {len(self._at_work)} tasks are being written and no more may "
                "be: wait, or bring the subtasks with the query.",
            )
        work = asyncio.ensure_future(self._make(profile, key))
        self._at_work[key] = work
        work.add_done_callback(lambda done: self._end(key, done))
        return work

    def _end(self, key: _Key, work: asyncio.Task[Decomposition]) -> None:
        del self._at_work[key]
        # Asking for the exception also tells asyncio that it was seen, if nobody waited.
        if work.cancelled() or work.exception() is not None:
            return
        self._kept[key] = work.result()
        if len(self._kept) > self._most_kept:
            self._kept.popitem(last=False)

    async def _make(self, profile: SubtaskProfile, key: _Key) -> Decomposition:
        deadline = time.monotonic() + self._seconds
        query = Query(
            head=profile.head,
            task=key.task,
            scene=key.scene or profile.without_scene,
            deadline=deadline,
        )
        asking = profile.decomposing
        question = question_of(_text_model(profile), asking, query, {}, None)
        written = await self._engine.generate(question)
        if not written.complete:
            raise not_decomposed(
                f"the model was cut off after {asking.max_answer_tokens} tokens and wrote "
                f"{written.text[:80]!r}."
            )
        subtasks = parse_subtasks(written.text, least=profile.least, most=profile.most)
        await self._verify(profile, replace(query, subtasks=subtasks))
        return Decomposition(subtasks, key.profile, key.model)

    async def _verify(self, profile: SubtaskProfile, query: Query) -> None:
        try:
            reply = await self._read_or_written(profile, query)
        except DomainError as error:
            if error.code not in _UNUSABLE:
                raise
            raise not_decomposed(f"the subtasks were not verified ({error.message})") from error
        share = reply.value if reply.expected is None else reply.expected
        if share < profile.confirmed_from:
            raise not_decomposed(
                "the model that wrote the subtasks says, when asked, that they do not complete "
                f"the task or cannot be seen in an image (yes {share:.2f}, wanted "
                f"{profile.confirmed_from:g})."
            )

    async def _read_or_written(self, profile: SubtaskProfile, query: Query) -> Reply:
        """The verification by likelihood, or written by a model that cannot be read so."""
        asking, head = profile.verifying, _text_model(profile)
        try:
            return await ask_for_label(self._engine, head, asking, query, None)
        except DomainError as error:
            if (error.code, error.field) != (ErrorCode.INVALID_ARGUMENT, "readout"):
                raise
        written = replace(query, readout=Readout.GENERATE)
        return await ask_for_label(self._engine, head, asking, written, None)


def _text_model(profile: SubtaskProfile) -> ServedHead:
    """The head as the text model answers for it: with its own weights, read at once."""
    return ServedHead(name=profile.head, profile=profile, readout=Readout.LIKELIHOOD)
