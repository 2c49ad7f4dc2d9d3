"""Calls about many episodes, in as many requests as the limits of one ask for."""

# A request that fails leaves the others to be sent.
# ruff: noqa: PERF203

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final

from lrm_client import calls
from lrm_client.chunks import MAX_ITEMS, Chunks
from lrm_client.errors import LrmError
from lrm_client.flows import AsyncSender, Flow, Sender
from lrm_client.requests import new_id
from lrm_client.types import EpisodeSpec, EpisodeStep, OpenedEpisode, StepReply

logger = logging.getLogger(__name__)

_WRAPPING_BYTES: Final = 128
"""What a step, a frame or a specification takes at most beside its text and its pixels."""
_ID_BYTES: Final = len(new_id())


class EpisodeCalls:
    """Opens, steps and closes episodes; a request that fails does so for its own alone.

    Args:
        client: whose encoder and whose limit of a message are kept to.
    """

    def __init__(self, client: Sender | AsyncSender) -> None:
        self.encoder = client.encoder
        self._max_bytes = client.max_message_bytes

    def open(self, specs: Sequence[EpisodeSpec]) -> Flow[list[OpenedEpisode | LrmError]]:
        """Opens episodes; one that is not open gives its error in its place."""
        results: list[OpenedEpisode | LrmError] = []
        sized = [[(spec, _spec_parts(spec))] for spec in specs]
        for chosen in Chunks[EpisodeSpec](self._max_bytes).cut(sized):
            try:
                results += yield calls.open_episodes(chosen)
            except LrmError as error:
                results += [error] * len(chosen)
        return results

    def step(self, steps: Sequence[EpisodeStep]) -> Flow[list[StepReply | LrmError]]:
        """Steps episodes; a step that was not taken gives its error in its place.

        The steps of one episode travel in one request if they fit. If they do not, those
        that follow a request that failed are not sent: they would go past what it brought.
        """
        by_episode: dict[str, list[tuple[int, Mapping[object, int]]]] = {}
        for place, step in enumerate(steps):
            by_episode.setdefault(step.episode, []).append((place, self._step_parts(step)))
        results: dict[int, StepReply | LrmError] = {}
        broken: dict[str, LrmError] = {}
        for places in Chunks[int](self._max_bytes).cut(list(by_episode.values())):
            for place in places:
                if steps[place].episode in broken:
                    results[place] = broken[steps[place].episode]
            chosen = [place for place in places if place not in results]
            if not chosen:
                continue
            batch = [steps[place] for place in chosen]
            answers: list[StepReply | LrmError]
            try:
                answers = yield calls.step_episodes(batch, self.encoder)
            except LrmError as error:
                answers = [error] * len(batch)
                broken.update({step.episode: error for step in batch})
            results.update(zip(chosen, answers, strict=True))
        return [results[place] for place in range(len(steps))]

    def close(self, episodes: Sequence[str]) -> Flow[list[str]]:
        """Closes episodes; those of requests that failed, which may still be open."""
        left: list[str] = []
        for start in range(0, len(episodes), MAX_ITEMS):
            chosen = episodes[start : start + MAX_ITEMS]
            try:
                yield calls.close_episodes(chosen)
            except LrmError as error:
                logger.warning("%d episodes are not closed yet: %s", len(chosen), error)
                left += chosen
        return left

    def _step_parts(self, step: EpisodeStep) -> Mapping[object, int]:
        """The bytes that a step sends, its frame apart, which other steps may share."""
        text = len(step.episode.encode()) + max(_ID_BYTES, len(step.request_id.encode()))
        parts: dict[object, int] = {(id(step), "step"): text + _WRAPPING_BYTES}
        if step.frame is not None:
            size = len(self.encoder.encode(step.frame).data)
            parts[id(step.frame), "frame"] = size + _WRAPPING_BYTES
        return parts


def _spec_parts(spec: EpisodeSpec) -> Mapping[object, int]:
    texts = (spec.id or " " * _ID_BYTES, spec.task, *spec.heads)
    return {id(spec): sum(len(text.encode()) + _WRAPPING_BYTES for text in texts)}
