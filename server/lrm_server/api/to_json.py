"""From replies, episodes' answers and errors to the JSON of HTTP."""

from __future__ import annotations

from collections.abc import Sequence

from lrm_client.version import __version__
from lrm_server.api import http_replies as bodies
from lrm_server.api.calls import Limits, Outcome
from lrm_server.api.items import located, window_fields
from lrm_server.api.problems import problem_json
from lrm_server.engine.protocol import TokenCounts
from lrm_server.episodes.types import HeadAnswer, OpenedEpisode, StepAnswer
from lrm_server.errors import DomainError
from lrm_server.heads.catalogue import HeadCatalogue, ServedHead
from lrm_server.heads.query import Reply, Timings


def problem(error: DomainError) -> bodies.ProblemBody:
    """An error as it stands in a result."""
    return bodies.ProblemBody(**problem_json(error))


def scores(outcomes: Sequence[Outcome[Reply]]) -> bodies.ScoresBody:
    """One result per query; fields of errors are named from the request."""
    return bodies.ScoresBody(
        results=[
            bodies.FailedBody(error=problem(located(outcome, f"queries[{index}]")))
            if isinstance(outcome, DomainError)
            else reply(outcome)
            for index, outcome in enumerate(outcomes)
        ]
    )


def reply(answer: Reply) -> bodies.ReplyBody:
    """A reply and its parts."""
    return bodies.ReplyBody(
        head=answer.head,
        probabilities=dict(answer.probabilities),
        label_mass=answer.label_mass,
        label=answer.label,
        expected=answer.expected,
        value=answer.value,
        confidence=answer.confidence,
        components={name: reply(part) for name, part in answer.components.items()},
        series={name: list(values) for name, values in answer.series.items()},
        log_probability=answer.log_probability,
        text=answer.text,
        readout=answer.readout.value,
        model=answer.model,
        profile=answer.profile,
        timings_ms=_timings(answer.timings),
        tokens=_tokens(answer.tokens),
    )


def opened(episode: OpenedEpisode) -> bodies.OpenedBody:
    """An episode that is open."""
    return bodies.OpenedBody(
        id=episode.id, next_query_step=episode.next_query_step, neutral=dict(episode.neutral)
    )


def stepped(answer: StepAnswer) -> bodies.SteppedBody:
    """The answer to a step."""
    return bodies.SteppedBody(
        step=answer.step,
        rewards={reward.head: _reward(reward) for reward in answer.rewards},
        next_query_step=answer.next_query_step,
        timings_ms=_timings(answer.timings),
    )


def models(catalogue: HeadCatalogue, limits: Limits, created: int) -> bodies.ModelsBody:
    """What is served, and what requests are held to; ``created`` in seconds since 1970."""
    return bodies.ModelsBody(
        data=[
            bodies.ModelBody(
                id=each.model.id,
                created=created,
                owned_by="lrm",
                fingerprint=each.model.fingerprint,
                description=each.model.description,
                heads=[_head(head) for head in each.values()],
            )
            for each in catalogue.models
        ],
        limits=limits.named(),
        version=__version__,
    )


def _head(head: ServedHead) -> bodies.HeadBody:
    window = head.window
    return bodies.HeadBody(
        name=head.name,
        profile=head.profile.name,
        profile_digest=head.profile.digest,
        default_readout=head.readout.value,
        labels=dict(head.labels),
        required_frames=[role.value for role in head.required_frames],
        optional_frames=[role.value for role in head.optional_frames],
        neutral=head.neutral,
        adapter=head.adapter or "",
        window=None if window is None else bodies.HeadWindowBody(**window_fields(window)),
    )


def _reward(answer: HeadAnswer) -> bodies.RewardBody:
    return bodies.RewardBody(
        reward=answer.reward,
        value=answer.value,
        source=answer.source.value,
        age=answer.age,
        reply=reply(answer.reply) if answer.reply is not None else None,
        error=problem(answer.error) if answer.error is not None else None,
    )


def _tokens(tokens: TokenCounts) -> bodies.TokensBody | None:
    if not tokens.prompt:
        return None
    return bodies.TokensBody(prompt=tokens.prompt, cached=tokens.cached, written=tokens.written)


def _timings(timings: Timings) -> bodies.TimingsBody:
    return bodies.TimingsBody(
        decode=timings.decode_ms,
        queue=timings.queue_ms,
        engine=timings.engine_ms,
        total=timings.total_ms,
    )
