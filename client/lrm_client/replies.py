"""From the wire's replies to what callers read."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lrm_client.clock import Source
from lrm_client.errors import LrmError, ServerError
from lrm_client.problems import error_from_problem
from lrm_client.types import (
    HeadAnswer,
    HeadInfo,
    Limits,
    ModelInfo,
    OpenedEpisode,
    Readout,
    Reply,
    ServedModels,
    StepReply,
    Timings,
    Tokens,
    WindowInfo,
)
from lrm_client.wire import reward_pb2 as pb
from lrm_client.wire_enums import from_wire


def score_results(response: pb.ScoreResponse, count: int) -> list[Reply | LrmError]:
    """One reply or error per query, in order.

    Raises:
        ServerError: the number of results is not the number of queries.
    """
    _check_count(len(response.results), count, "queries")
    results: list[Reply | LrmError] = []
    for result in response.results:
        if result.WhichOneof("outcome") == "reply":
            reply = reply_from_wire(result.reply)
            finite = math.isfinite(reply.value)
            results.append(
                reply if finite else ServerError(f"the server gave the value {reply.value}")
            )
        else:
            results.append(error_from_problem(result.error))
    return results


def open_results(
    response: pb.OpenEpisodesResponse, ids: Sequence[str]
) -> list[OpenedEpisode | LrmError]:
    """One opened episode or error per specification, in order.

    Raises:
        ServerError: the results are not those of the specifications.
    """
    _check_count(len(response.results), len(ids), "specifications")
    results: list[OpenedEpisode | LrmError] = []
    for episode, result in zip(ids, response.results, strict=True):
        if result.WhichOneof("outcome") != "episode":
            results.append(error_from_problem(result.error))
            continue
        opened = result.episode
        if opened.id != episode:
            raise ServerError(f"the server opened episode {opened.id} instead of {episode}")
        results.append(OpenedEpisode(opened.id, opened.next_query_step, dict(opened.neutral)))
    return results


def step_results(
    response: pb.StepEpisodesResponse, steps: Sequence[tuple[str, int]]
) -> list[StepReply | LrmError]:
    """One reply or error per (episode, step), in order.

    Raises:
        ServerError: the results are not those of the steps.
    """
    _check_count(len(response.results), len(steps), "steps")
    results: list[StepReply | LrmError] = []
    for asked, result in zip(steps, response.results, strict=True):
        if (result.episode, result.step) != asked:
            raise ServerError(
                f"the server answered step {result.step} of episode {result.episode} where "
                f"step {asked[1]} of {asked[0]} was asked"
            )
        if result.WhichOneof("outcome") != "reply":
            results.append(error_from_problem(result.error))
            continue
        reply = result.reply
        answers = [_head_answer(reward) for reward in reply.rewards]
        results.append(
            StepReply(
                result.episode,
                result.step,
                {answer.head: answer for answer in answers},
                reply.next_query_step if reply.HasField("next_query_step") else None,
                _timings(reply.timings),
            )
        )
    return results


def close_results(response: pb.CloseEpisodesResponse) -> dict[str, bool]:
    """Whether each episode was open, by id."""
    return {result.episode: result.was_open for result in response.results}


def served_models(response: pb.ListModelsResponse) -> ServedModels:
    """What is served."""
    limits = response.limits
    return ServedModels(
        models=tuple(
            ModelInfo(
                model.id,
                model.fingerprint,
                model.description,
                {head.name: _head_info(head) for head in model.heads},
            )
            for model in response.models
        ),
        limits=Limits(
            limits.max_message_bytes,
            limits.max_frame_bytes,
            limits.max_frame_pixels,
            limits.max_batch,
            limits.max_labels,
            limits.max_trajectory_bytes,
            limits.max_trajectory_frames,
        ),
        version=response.version,
    )


def reply_from_wire(reply: pb.Reply) -> Reply:
    """A head's answer, with those of its parts."""
    return Reply(
        head=reply.head,
        value=reply.value,
        label=reply.label,
        probabilities={entry.label: entry.probability for entry in reply.probabilities},
        label_mass=reply.label_mass if reply.HasField("label_mass") else None,
        expected=reply.expected if reply.HasField("expected") else None,
        confidence=reply.confidence if reply.HasField("confidence") else None,
        components={part.head: reply_from_wire(part) for part in reply.components},
        series={
            series.name: tuple(None if math.isnan(value) else value for value in series.values)
            for series in reply.series
        },
        log_probability=reply.log_probability if reply.HasField("log_probability") else None,
        text=reply.text if reply.HasField("text") else None,
        readout=_readout(reply.readout),
        model=reply.model,
        profile=reply.profile,
        timings=_timings(reply.timings),
        tokens=_tokens(reply.tokens) if reply.HasField("tokens") else None,
    )


def _head_answer(reward: pb.HeadReward) -> HeadAnswer:
    source = from_wire(pb.Source, reward.source)
    if source is None:
        raise ServerError(f"the server named no source for the reward of {reward.head}")
    failed = source == Source.FAILED.value
    if failed == (reward.HasField("reward") and reward.HasField("value")):
        raise ServerError(
            f"the server's answer for {reward.head} is {source} and has "
            f"{'a' if failed else 'no'} reward"
        )
    return HeadAnswer(
        head=reward.head,
        source=Source(source),
        reward=reward.reward if reward.HasField("reward") else None,
        value=reward.value if reward.HasField("value") else None,
        age=reward.age if reward.HasField("age") else None,
        reply=reply_from_wire(reward.reply) if reward.HasField("reply") else None,
        error=error_from_problem(reward.error) if failed else None,
    )


def _head_info(head: pb.Head) -> HeadInfo:
    return HeadInfo(
        name=head.name,
        profile=head.profile,
        profile_digest=head.profile_digest,
        default_readout=_readout(head.default_readout),
        labels={entry.label: entry.value for entry in head.labels},
        required_frames=tuple(head.required_frames),
        optional_frames=tuple(head.optional_frames),
        neutral=head.neutral,
        adapter=head.adapter,
        window=_window(head.window) if head.HasField("window") else None,
    )


def _window(window: pb.HeadWindow) -> WindowInfo:
    return WindowInfo(window.media, window.min_frames, window.max_frames, window.views)


def _readout(number: int) -> Readout | None:
    word = from_wire(pb.Readout, number)
    return None if word is None else Readout(word)


def _timings(timings: pb.Timings) -> Timings:
    return Timings(timings.decode_ms, timings.queue_ms, timings.engine_ms, timings.total_ms)


def _tokens(tokens: pb.Tokens) -> Tokens:
    return Tokens(tokens.prompt, tokens.cached, tokens.written)


def _check_count(got: int, asked: int, what: str) -> None:
    if got != asked:
        raise ServerError(f"the server gave {got} results for {asked} {what}")
