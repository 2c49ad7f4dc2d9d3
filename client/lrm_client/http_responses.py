"""From the responses of the HTTP interface to those of the wire."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from google.protobuf.message import Message

from lrm_client.connection import (
    CLOSE,
    CLOSE_RUN,
    GET_RUN,
    MODELS,
    OPEN,
    OPEN_RUN,
    SCORE,
    STEP,
    Method,
)
from lrm_client.errors import ServerError
from lrm_client.problems import CALL_CODES, error_from_problem, problem_from_json
from lrm_client.wire import reward_pb2 as pb
from lrm_client.wire_enums import number_of

Outcome: TypeAlias = dict[str, Any] | pb.Problem
"""The JSON of a response, or the problem that stood in its place."""

_ITEMISED: Final = (OPEN.name, STEP.name, CLOSE.name)


def is_unanswered(outcome: Outcome) -> bool:
    """Whether nothing is known of what became of a request.

    What must come after it is then not sent, as it would go past what the request brought.
    """
    lost = ("deadline_exceeded", "unavailable")
    return isinstance(outcome, pb.Problem) and outcome.code in lost


def assemble(method: Method[Any, Any], request: Any, outcomes: Sequence[Outcome]) -> Any:
    """The call's response from what its HTTP requests brought.

    Raises:
        LrmError: the call failed as a whole: its one request did, or none of its
            requests got past the server's door.
    """
    problems = [outcome for outcome in outcomes if isinstance(outcome, pb.Problem)]
    whole = method.name not in _ITEMISED or all(p.code in CALL_CODES for p in problems)
    if outcomes and len(problems) == len(outcomes) and whole:
        raise error_from_problem(problems[0])
    for problem in problems:
        if problem.code == "unauthenticated":
            raise error_from_problem(problem)
    try:
        return _RESPONSES[method.name](request, outcomes)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ServerError(
            f"the server's answer to {method.name} is not the JSON of this protocol: {error!r}"
        ) from error


def _score_response(request: pb.ScoreRequest, outcomes: Sequence[Outcome]) -> pb.ScoreResponse:
    (body,) = outcomes
    response = pb.ScoreResponse()
    for result in _json(body)["results"]:
        if "error" in result:
            response.results.add(error=problem_from_json(result["error"]))
        else:
            response.results.add(reply=reply_message(result))
    return response


def reply_message(body: Mapping[str, Any], head: str = "") -> pb.Reply:
    """The wire's message of a reply's JSON; ``head`` where its place names the head."""
    reply = pb.Reply(
        head=body.get("head") or head,
        value=body["value"],
        label=body.get("label") or "",
        readout=number_of(pb.Readout, body.get("readout")),  # type: ignore[arg-type]
        model=body.get("model") or "",
        profile=body.get("profile") or "",
    )
    for label, probability in (body.get("probabilities") or {}).items():
        reply.probabilities.add(label=label, probability=probability)
    for name, values in (body.get("series") or {}).items():
        shown = [math.nan if value is None else value for value in values]
        reply.series.add(name=name, values=shown)
    for name in ("label_mass", "expected", "confidence", "log_probability", "text"):
        if body.get(name) is not None:
            setattr(reply, name, body[name])
    for name, part in (body.get("components") or {}).items():
        reply.components.append(reply_message(part, name))
    _put_timings(reply.timings, body)
    if tokens := body.get("tokens"):
        for name in ("prompt", "cached", "written"):
            setattr(reply.tokens, name, tokens.get(name) or 0)
    return reply


def _open_response(
    request: pb.OpenEpisodesRequest, outcomes: Sequence[Outcome]
) -> pb.OpenEpisodesResponse:
    response = pb.OpenEpisodesResponse()
    for outcome in outcomes:
        if isinstance(outcome, pb.Problem):
            response.results.add(error=outcome)
            continue
        episode = pb.OpenedEpisode(
            id=outcome["id"],
            next_query_step=outcome["next_query_step"],
            neutral=outcome["neutral"],
        )
        response.results.add(episode=episode)
    return response


def _step_response(
    request: pb.StepEpisodesRequest, outcomes: Sequence[Outcome]
) -> pb.StepEpisodesResponse:
    response = pb.StepEpisodesResponse()
    for step, outcome in zip(request.steps, outcomes, strict=True):
        result = response.results.add(episode=step.episode, step=step.step)
        if isinstance(outcome, pb.Problem):
            result.error.CopyFrom(outcome)
            continue
        result.step = outcome["step"]
        result.reply.SetInParent()
        for head, reward in (outcome.get("rewards") or {}).items():
            result.reply.rewards.append(_head_reward(head, reward))
        if outcome.get("next_query_step") is not None:
            result.reply.next_query_step = outcome["next_query_step"]
        _put_timings(result.reply.timings, outcome)
    return response


def _head_reward(head: str, body: Mapping[str, Any]) -> pb.HeadReward:
    reward = pb.HeadReward(
        head=head,
        source=number_of(pb.Source, body["source"]),  # type: ignore[arg-type]
    )
    for name in ("reward", "value", "age"):
        if body.get(name) is not None:
            setattr(reward, name, body[name])
    if body.get("reply") is not None:
        reward.reply.CopyFrom(reply_message(body["reply"], head))
    if body.get("error") is not None:
        reward.error.CopyFrom(problem_from_json(body["error"]))
    return reward


def _close_response(
    request: pb.CloseEpisodesRequest, outcomes: Sequence[Outcome]
) -> pb.CloseEpisodesResponse:
    response = pb.CloseEpisodesResponse()
    for episode, outcome in zip(request.episodes, outcomes, strict=True):
        if isinstance(outcome, pb.Problem):
            if outcome.code != "episode_not_found":
                raise error_from_problem(outcome)
            response.results.add(episode=episode, was_open=False)
        else:
            response.results.add(episode=episode, was_open=outcome["was_open"])
    return response


def _models_response(
    request: pb.ListModelsRequest, outcomes: Sequence[Outcome]
) -> pb.ListModelsResponse:
    (outcome,) = outcomes
    body = _json(outcome)
    response = pb.ListModelsResponse(version=body["version"])
    for name, number in (body.get("limits") or {}).items():
        # A newer server may name limits that are not known here.
        if name in pb.Limits.DESCRIPTOR.fields_by_name:
            setattr(response.limits, name, number)
    for entry in body["data"]:
        model = response.models.add(
            id=entry["id"],
            fingerprint=entry.get("fingerprint") or "",
            description=entry.get("description") or "",
        )
        for head in entry.get("heads") or []:
            model.heads.append(_head(head))
    return response


def _run_response(request: Message, outcomes: Sequence[Outcome]) -> pb.Run:
    body = _json(outcomes[0])
    return pb.Run(**{name: body[name] for name in ("id", "queries", "used", "over")})


def _close_run_response(
    request: pb.CloseRunRequest, outcomes: Sequence[Outcome]
) -> pb.CloseRunResponse:
    return pb.CloseRunResponse(was_open=_json(outcomes[0])["was_open"])


def _head(body: Mapping[str, Any]) -> pb.Head:
    window = body.get("window")
    return pb.Head(
        name=body["name"],
        profile=body.get("profile") or "",
        profile_digest=body.get("profile_digest") or "",
        default_readout=number_of(pb.Readout, body.get("default_readout")),  # type: ignore[arg-type]
        labels=[
            pb.LabelValue(label=label, value=value)
            for label, value in (body.get("labels") or {}).items()
        ],
        required_frames=body.get("required_frames") or [],
        optional_frames=body.get("optional_frames") or [],
        neutral=body["neutral"],
        adapter=body.get("adapter") or "",
        window=pb.HeadWindow(**window) if window else None,
    )


def _put_timings(timings: pb.Timings, body: Mapping[str, Any]) -> None:
    for name in ("decode", "queue", "engine", "total"):
        milliseconds = (body.get("timings_ms") or {}).get(name)
        if milliseconds is not None:
            setattr(timings, f"{name}_ms", milliseconds)


def _json(outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, pb.Problem):
        raise error_from_problem(outcome)
    return outcome


_RESPONSES: Final[Mapping[str, Callable[[Any, Sequence[Outcome]], Message]]] = {
    SCORE.name: _score_response,
    OPEN.name: _open_response,
    STEP.name: _step_response,
    CLOSE.name: _close_response,
    MODELS.name: _models_response,
    OPEN_RUN.name: _run_response,
    GET_RUN.name: _run_response,
    CLOSE_RUN.name: _close_run_response,
}
