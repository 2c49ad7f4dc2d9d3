"""Heads that are made of others: what they look at, and how their parts are asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from lrm_server.engine.protocol import NO_TOKENS
from lrm_server.errors import DomainError, ErrorCode, invalid
from lrm_server.heads.answer import combine
from lrm_server.heads.catalogue import HeadCatalogue, ServedHead
from lrm_server.heads.library import Profile
from lrm_server.heads.profile import CompositeProfile, LabelProfile, Readout, Role, Use
from lrm_server.heads.query import Query, Reply, Timings

# Of a composite head's part: what the caller did or must wait for keeps its name.
_MODEL_ERRORS = frozenset(
    {
        ErrorCode.LABEL_MASS_LOW,
        ErrorCode.ANSWER_UNPARSABLE,
        ErrorCode.ANSWER_NOT_REACHED,
        ErrorCode.INTERNAL,
    }
)


def composite_head(
    name: str,
    profile: CompositeProfile,
    loaded: Mapping[str, Profile],
    readout: Readout | None = None,
) -> ServedHead:
    """A head made of others, as it is served.

    Args:
        name: by which it is asked.
        profile: of which heads it is made.
        loaded: profiles of the heads that are served, by their names.
        readout: what it calls its own; that of its first part when None.

    Raises:
        DomainError: INVALID_ARGUMENT of ``manifest`` for a part that is not served.
    """
    required: list[Role] = []
    optional: list[Role] = []
    neutral = 0.0
    for part in profile.components:
        inner = loaded.get(part.head)
        if not isinstance(inner, LabelProfile):
            raise invalid(
                "manifest", f"head {name} is made of {part.head}, which is no label head here."
            )
        required += [role for role in inner.required_frames if role not in required]
        optional += [role for role in inner.optional_frames if role not in optional]
        neutral += part.weight * part.rescaled(inner.neutral)
        readout = readout or inner.default_readout
    return ServedHead(
        name=name,
        profile=profile,
        readout=readout or Readout.LIKELIHOOD,
        neutral=neutral,
        required_frames=tuple(required),
        optional_frames=tuple(role for role in optional if role not in required),
    )


async def score_composite(
    score: Callable[[Query], Awaitable[Reply]],
    catalogue: HeadCatalogue,
    head: ServedHead,
    query: Query,
) -> Reply:
    """Asks the parts of a head and weighs what they say.

    ``model`` is the fingerprint of the parts' model, or of each of their models with a + in
    between.

    Args:
        score: answers the query of a part.
        catalogue: the parts among others.
        head: which is asked; its profile weighs the parts.
        query: to the head.

    Raises:
        DomainError: a part failed.
    """
    profile = head.profile
    if not isinstance(profile, CompositeProfile):
        raise TypeError(f"head {head.name} is made of no others")
    parts = [catalogue[part.head] for part in profile.components]
    outcomes = await asyncio.gather(
        *(score(_part_query(query, part)) for part in parts), return_exceptions=True
    )
    replies: dict[str, Reply] = {}
    for part, outcome in zip(parts, outcomes, strict=True):
        if isinstance(outcome, DomainError):
            raise of_component(head.name, part.name, outcome) from outcome
        if isinstance(outcome, BaseException):
            raise outcome
        replies[part.name] = outcome
    value, expected = combine(profile, replies, use=query.use or Use.LABEL)
    timings = [reply.timings for reply in replies.values()]
    return Reply(
        head=head.name,
        expected=expected,
        value=value,
        components=replies,
        readout=query.readout or head.readout,
        model="+".join(dict.fromkeys(reply.model for reply in replies.values())),
        profile=profile.digest,
        timings=Timings(
            decode_ms=max(each.decode_ms for each in timings),
            queue_ms=max(each.queue_ms for each in timings),
            engine_ms=max(each.engine_ms for each in timings),
        ),
        tokens=sum((reply.tokens for reply in replies.values()), NO_TOKENS),
    )


def _part_query(query: Query, part: ServedHead) -> Query:
    """The query of one part of a composite head: the frames that it looks at."""
    looks = {*part.required_frames, *part.optional_frames}
    return replace(
        query,
        head=part.name,
        frames={role: frame for role, frame in query.frames.items() if role in looks},
        # The composite weighs labels or expectations itself.
        use=None,
    )


def of_component(head: str, part: str, error: DomainError) -> DomainError:
    """How a head fails whose part failed: what the model did wrong is the part's."""
    if error.code not in _MODEL_ERRORS:
        return error
    return DomainError(
        ErrorCode.COMPONENT_FAILED,
        f"head {head}: its part {part} failed ({error.code.value}): {error.message}",
        field=error.field,
    )
