"""From the wire's requests to those of the HTTP interface."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias
from urllib.parse import quote

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
from lrm_client.wire import reward_pb2 as pb
from lrm_client.wire_enums import from_wire

Json: TypeAlias = dict[str, Any]


class Exchange(NamedTuple):
    """One HTTP request."""

    method: Literal["GET", "POST", "DELETE"]
    path: str
    body: Json | None = None
    content_type: str = "application/json"


def exchanges(method: Method[Any, Any], request: Any) -> list[Exchange]:
    """The HTTP requests that a call is made of: one, or one for each episode."""
    return _EXCHANGES[method.name](request)


def lanes(planned: Sequence[Exchange]) -> list[list[int]]:
    """Indices of the requests that must follow one another; the lanes may run at once.

    Steps of one episode are taken in the order of the batch.
    """
    lanes: dict[str | int, list[int]] = {}
    for index, exchange in enumerate(planned):
        key = exchange.path if exchange.path.endswith("/steps") else index
        lanes.setdefault(key, []).append(index)
    return list(lanes.values())


def _score_exchanges(request: pb.ScoreRequest) -> list[Exchange]:
    frames = _frames_json(request.frames)
    return [
        Exchange(
            "POST", "/v1/score", {"queries": [_query_json(q, frames) for q in request.queries]}
        )
    ]


def _query_json(query: pb.Query, frames: list[Json]) -> Json:
    body: Json = {"head": query.head, "task": query.task}
    for role in ("initial", "previous", "current", "goal"):
        if query.HasField(role):
            body[role] = frames[getattr(query, role)]
    for field, entries in (("window", query.window), ("other_window", query.other_window)):
        if entries:
            body[field] = [
                {
                    **frames[entry.frame],
                    **({"view": entry.view} if entry.view else {}),
                    **({"index": entry.index} if entry.HasField("index") else {}),
                }
                for entry in entries
            ]
    for name in ("fps", "margin"):
        if query.HasField(name):
            body[name] = getattr(query, name)
    _put_words(body, query, {"readout": pb.Readout, "use": pb.Use})
    _put_flags(body, query, "swap", "return_text")
    put_plan(body, query)
    return body


def _open_exchanges(request: pb.OpenEpisodesRequest) -> list[Exchange]:
    return [Exchange("POST", "/v1/episodes", _spec_json(spec)) for spec in request.episodes]


def _spec_json(spec: pb.EpisodeSpec) -> Json:
    body: Json = {"id": spec.id, "task": spec.task, "heads": list(spec.heads)}
    for name in ("interval", "scale", "margin", "fps"):
        if spec.HasField(name):
            body[name] = getattr(spec, name)
    if spec.offset:
        body["offset"] = spec.offset
    kinds = {"hold": pb.Hold, "phase": pb.Phase, "use": pb.Use, "readout": pb.Readout}
    _put_words(body, spec, kinds)
    _put_flags(body, spec, "swap")
    put_plan(body, spec)
    return body


def _step_exchanges(request: pb.StepEpisodesRequest) -> list[Exchange]:
    frames = _frames_json(request.frames)
    return [
        Exchange("POST", f"{_episode_path(step.episode)}/steps", _step_json(step, frames))
        for step in request.steps
    ]


def _step_json(step: pb.EpisodeStep, frames: list[Json]) -> Json:
    body: Json = {"step": step.step}
    if step.HasField("frame"):
        body["frame"] = frames[step.frame]
    _put_flags(body, step, "final", "force")
    if step.request_id:
        body["request_id"] = step.request_id
    return body


def _close_exchanges(request: pb.CloseEpisodesRequest) -> list[Exchange]:
    return [Exchange("DELETE", _episode_path(episode)) for episode in request.episodes]


def _models_exchanges(request: pb.ListModelsRequest) -> list[Exchange]:
    return [Exchange("GET", "/v1/models")]


def _open_run_exchanges(request: pb.OpenRunRequest) -> list[Exchange]:
    return [Exchange("POST", "/v1/runs", {"id": request.id, "queries": request.queries})]


def _run_path(run: str) -> str:
    return f"/v1/runs/{quote(run, safe='')}"


def _episode_path(episode: str) -> str:
    return f"/v1/episodes/{quote(episode, safe='')}"


def _frames_json(batch: pb.FrameBatch) -> list[Json]:
    if batch.WhichOneof("layout") == "tensor":
        tensor = batch.tensor
        # Each reading of the field copies all of it.
        data, size = tensor.data, tensor.height * tensor.width * 3
        shape = [tensor.height, tensor.width, 3]
        return [
            _frame_json(data[at * size : (at + 1) * size], "raw", shape)
            for at in range(tensor.count)
        ]
    return [
        _frame_json(
            frame.data,
            from_wire(pb.Encoding, frame.encoding) or "raw",
            [frame.height, frame.width, 3] if frame.encoding == pb.ENCODING_RAW else None,
        )
        for frame in batch.list.frames
    ]


def _frame_json(data: bytes, encoding: str, shape: list[int] | None) -> Json:
    body: Json = {"data": base64.b64encode(data).decode("ascii"), "encoding": encoding}
    if shape is not None:
        body["shape"] = shape
    return body


def put_plan(body: Json, message: pb.Query | pb.EpisodeSpec | pb.TrajectorySpec) -> None:
    """Adds scene and subtasks, where there are any."""
    if message.scene:
        body["scene"] = message.scene
    if message.subtasks:
        body["subtasks"] = [
            {"subtask": each.subtask, "done_when": each.done_when} for each in message.subtasks
        ]


def _put_words(body: Json, message: Message, kinds: Mapping[str, Any]) -> None:
    """Adds enums that are not at their default, as words."""
    for name, kind in kinds.items():
        word = from_wire(kind, getattr(message, name))
        if word is not None:
            body[name] = word


def _put_flags(body: Json, message: Message, *names: str) -> None:
    """Adds booleans that are set."""
    for name in names:
        if getattr(message, name):
            body[name] = True


_EXCHANGES: Final[Mapping[str, Callable[[Any], list[Exchange]]]] = {
    SCORE.name: _score_exchanges,
    OPEN.name: _open_exchanges,
    STEP.name: _step_exchanges,
    CLOSE.name: _close_exchanges,
    MODELS.name: _models_exchanges,
    OPEN_RUN.name: _open_run_exchanges,
    GET_RUN.name: lambda request: [Exchange("GET", _run_path(request.id))],
    CLOSE_RUN.name: lambda request: [Exchange("DELETE", _run_path(request.id))],
}
