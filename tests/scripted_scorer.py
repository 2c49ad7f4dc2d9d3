"""A scorer without an engine: it answers as it is told, and remembers what it was asked.

Heads, checks and composite heads are real, from the built-in profiles; only the value of
each label head is scripted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from lrm_server.engine.protocol import Conversation, EngineStatus, TokenCounts, Written
from lrm_server.errors import DomainError, ErrorCode, invalid
from lrm_server.heads.answer import combine
from lrm_server.heads.catalogue import HeadCatalogue, ModelCard, ServedHead
from lrm_server.heads.checks import check_window
from lrm_server.heads.library import load_profile
from lrm_server.heads.profile import CompositeProfile, LabelProfile, Readout, Role, Use
from lrm_server.heads.query import Query, Reply, Timings

PROFILES = ("lrm_contrastive", "lrm_progress", "lrm_completion", "lrm_tri")
TOKENS = TokenCounts(prompt=180, cached=96, written=7)
TIMINGS = Timings(decode_ms=1.0, queue_ms=2.0, engine_ms=3.0, total_ms=6.0)

Answers = Callable[[Query], float | DomainError]


class ScriptedScorer:
    """Implements the Scorer protocol.

    Attributes:
        catalogue: contrastive, progress, completion and tri of the built-in profiles.
        answers: the value of a label head's query, or the error that it fails with; asked
            once for each part of a composite head. May raise as well.
        pause: awaited before a query is answered, to hold it up; None to answer at once.
        queries: every query that reached ``score``, in order; a composite head's is one.
        running: queries that are being answered now.
        most_running: the most that were being answered at once.
        cancelled: queries that were cancelled while they were being answered.
    """

    def __init__(self, answers: Answers = lambda query: 0.5) -> None:
        self.catalogue = built_in_catalogue()
        self.answers = answers
        self.pause: Callable[[Query], Awaitable[None]] | None = None
        self.queries: list[Query] = []
        self.running = 0
        self.most_running = 0
        self.cancelled = 0
        self.engine = EngineStatus(ready=True, reason="", running=0, waiting=0)

    def check(self, query: Query) -> None:
        """Refuses what the profiles refuse, without looking at pixels."""
        head = self.catalogue[query.head]
        if not query.task.strip():
            raise invalid("task", "the task is empty: say in words what is to be done.")
        for role in head.required_frames:
            if role not in query.frames:
                raise invalid(role.value, f"head {head.name} needs the frame {role.value}.")
        for role in query.frames:
            if role not in head.required_frames + head.optional_frames:
                raise invalid(role.value, f"head {head.name} takes no frame {role.value}.")
        if query.margin is not None and not 0 <= query.margin <= 0.5:
            raise invalid("margin", f"margin {query.margin} is outside [0, 0.5].")
        check_window(head, query)
        for name in head.parts or (head.name,):
            profile = self.catalogue[name].profile
            if isinstance(profile, LabelProfile) and profile.pair is not None:
                first, second = (query.frames[role] for role in profile.pair)
                if (first.height, first.width) != (second.height, second.width):
                    raise invalid(
                        profile.pair[1].value,
                        f"{profile.pair[0].value} is {first.height}x{first.width} and "
                        f"{profile.pair[1].value} is {second.height}x{second.width}: send frames "
                        "of one size.",
                    )

    async def score(self, query: Query) -> Reply:
        """The scripted answer, after ``pause``."""
        self.check(query)
        self.queries.append(query)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            if self.pause is not None:
                await self.pause(query)
            return self._reply(query)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1

    async def converse(self, conversation: Conversation) -> Written:
        """Writes nothing: no test asks it to."""
        raise AssertionError("no conversation is scripted")

    async def status(self) -> EngineStatus:
        """What ``engine`` says."""
        return self.engine

    def asked(self, head: str) -> list[Query]:
        """The queries of one head, in order."""
        return [query for query in self.queries if query.head == head]

    def _reply(self, query: Query) -> Reply:
        head = self.catalogue[query.head]
        model = self.catalogue.model.fingerprint
        readout = query.readout or head.readout
        if isinstance(head.profile, CompositeProfile):
            parts = {name: self._part(query, name) for name in head.parts}
            value, expected = combine(head.profile, parts, use=query.use or Use.LABEL)
            return Reply(
                head=head.name,
                value=value,
                expected=expected,
                components=parts,
                readout=readout,
                model=model,
                profile=head.profile.digest,
                timings=TIMINGS,
            )
        answer = self.answers(query)
        if isinstance(answer, DomainError):
            raise answer
        value = float(answer)
        label = min(head.labels, key=lambda name: abs(head.labels[name] - value))
        return Reply(
            head=head.name,
            probabilities={name: float(name == label) for name in head.labels},
            label_mass=0.9,
            label=label,
            expected=value,
            value=value,
            confidence=1.0,
            text="scripted" if query.return_text else None,
            readout=readout,
            model=model,
            profile=head.profile.digest,
            timings=TIMINGS,
            tokens=TOKENS,
        )

    def _part(self, query: Query, name: str) -> Reply:
        part = self.catalogue[name]
        roles = part.required_frames + part.optional_frames
        frames = {role: frame for role, frame in query.frames.items() if role in roles}
        try:
            return self._reply(replace(query, head=name, frames=frames))
        except DomainError as error:
            raise DomainError(
                ErrorCode.COMPONENT_FAILED, f"part {name} failed: {error.message}"
            ) from error


def built_in_catalogue() -> HeadCatalogue:
    """The four built-in heads, as a checkpoint that answers directly serves them."""
    heads: dict[str, ServedHead] = {}
    for name in PROFILES:
        profile = load_profile(name)
        if isinstance(profile, CompositeProfile):
            heads[profile.head] = _composite(profile, heads)
        else:
            assert isinstance(profile, LabelProfile)
            heads[profile.head] = served_label_head(profile)
    card = ModelCard(id="scripted", description="answers as a test tells it", fingerprint="s0")
    return HeadCatalogue(heads.values(), card)


def served_label_head(profile: LabelProfile) -> ServedHead:
    """A label head with its profile's own readout."""
    return ServedHead(
        name=profile.head,
        profile=profile,
        readout=profile.default_readout,
        neutral=profile.neutral,
        required_frames=profile.required_frames,
        optional_frames=profile.optional_frames,
        labels=profile.values,
    )


def _composite(profile: CompositeProfile, heads: dict[str, ServedHead]) -> ServedHead:
    parts = [heads[part.head] for part in profile.components]
    required = {role for part in parts for role in part.required_frames}
    optional = {role for part in parts for role in part.optional_frames} - required
    return ServedHead(
        name=profile.head,
        profile=profile,
        readout=Readout.LIKELIHOOD,
        neutral=sum(
            part.weight * part.rescaled(heads[part.head].neutral) for part in profile.components
        ),
        required_frames=tuple(role for role in Role if role in required),
        optional_frames=tuple(role for role in Role if role in optional),
    )
