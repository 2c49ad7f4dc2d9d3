"""The scripted core behind a real HTTP server on loopback, as the specification writes it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote

import grpc

from lrm_client.wire import reward_pb2 as pb
from lrm_client.wire_enums import from_wire, to_wire
from tests.client.scripted import ScriptedCore, ScriptedError

STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


def problem_json(problem: pb.Problem, status: int) -> dict[str, Any]:
    body: dict[str, Any] = {
        "type": f"urn:lrm:problem:{problem.code}",
        "title": problem.code.replace("_", " "),
        "status": status,
        "detail": problem.message,
        "code": problem.code,
    }
    if problem.field:
        body["field"] = problem.field
    for name in ("step", "retry_after_seconds"):
        if problem.HasField(name):
            body[name] = getattr(problem, name)
    return body


def reply_json(reply: pb.Reply) -> dict[str, Any]:
    def optional(name: str) -> Any:
        return getattr(reply, name) if reply.HasField(name) else None

    return {
        "head": reply.head,
        "probabilities": {entry.label: entry.probability for entry in reply.probabilities},
        "label_mass": optional("label_mass"),
        "label": reply.label,
        "expected": optional("expected"),
        "value": reply.value,
        "confidence": optional("confidence"),
        "components": {part.head: reply_json(part) for part in reply.components},
        "text": optional("text"),
        "readout": from_wire(pb.Readout, reply.readout),
        "model": reply.model,
        "profile": reply.profile,
        "timings_ms": timings_json(reply.timings),
    }


def timings_json(timings: pb.Timings) -> dict[str, float]:
    return {
        "decode": timings.decode_ms,
        "queue": timings.queue_ms,
        "engine": timings.engine_ms,
        "total": timings.total_ms,
    }


def reward_json(reward: pb.HeadReward) -> dict[str, Any]:
    body: dict[str, Any] = {"source": from_wire(pb.Source, reward.source)}
    for name in ("reward", "value", "age"):
        body[name] = getattr(reward, name) if reward.HasField(name) else None
    if reward.HasField("reply"):
        body["reply"] = reply_json(reward.reply)
    if reward.HasField("error"):
        body["error"] = problem_json(reward.error, 422)
    return body


class Batch:
    """Collects the frames of a JSON request."""

    def __init__(self) -> None:
        self.frames = pb.FrameBatch(list=pb.FrameList())

    def add(self, frame: dict[str, Any]) -> int:
        height, width, _ = frame.get("shape", [0, 0, 3])
        self.frames.list.frames.add(
            encoding=to_wire(pb.Encoding, frame["encoding"]),
            data=base64.b64decode(frame["data"], validate=True),
            height=height,
            width=width,
        )
        return len(self.frames.list.frames) - 1


def score_request(body: dict[str, Any]) -> pb.ScoreRequest:
    batch, queries = Batch(), []
    for query in body["queries"]:
        wire = pb.Query(
            readout=to_wire(pb.Readout, query.pop("readout", None)),
            use=to_wire(pb.Use, query.pop("use", None)),
        )
        for entry in query.pop("window", []):
            view = entry.pop("view", "")
            wire.window.add(frame=batch.add(entry), view=view)
        for name, value in query.items():
            setattr(wire, name, batch.add(value) if isinstance(value, dict) else value)
        queries.append(wire)
    return pb.ScoreRequest(frames=batch.frames, queries=queries)


def spec_request(body: dict[str, Any]) -> pb.OpenEpisodesRequest:
    kinds = {"hold": pb.Hold, "phase": pb.Phase, "use": pb.Use, "readout": pb.Readout}
    words = {name: to_wire(kind, body.pop(name, None)) for name, kind in kinds.items()}
    return pb.OpenEpisodesRequest(episodes=[pb.EpisodeSpec(**words, **body)])


def step_request(episode: str, body: dict[str, Any]) -> pb.StepEpisodesRequest:
    batch = Batch()
    frame = body.pop("frame", None)
    step = pb.EpisodeStep(episode=episode, **body)
    if frame is not None:
        step.frame = batch.add(frame)
    return pb.StepEpisodesRequest(frames=batch.frames, steps=[step])


def models_json(models: pb.ListModelsResponse) -> dict[str, Any]:
    def head_json(head: pb.Head) -> dict[str, Any]:
        return {
            "name": head.name,
            "profile": head.profile,
            "profile_digest": head.profile_digest,
            "default_readout": from_wire(pb.Readout, head.default_readout),
            "labels": {entry.label: entry.value for entry in head.labels},
            "required_frames": list(head.required_frames),
            "optional_frames": list(head.optional_frames),
            "neutral": head.neutral,
            "adapter": head.adapter,
        }

    data = [
        {
            "id": model.id,
            "object": "model",
            "created": 0,
            "owned_by": "lrm",
            "fingerprint": model.fingerprint,
            "description": model.description,
            "heads": [head_json(head) for head in model.heads],
        }
        for model in models.models
    ]
    limits = {field.name: number for field, number in models.limits.ListFields()}
    return {"object": "list", "data": data, "limits": limits, "version": models.version}


def handler_of(core: ScriptedCore) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self, status: int, body: Any) -> None:
            data = json.dumps(body).encode()
            kind = "application/json" if status == 200 else "application/problem+json"
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _route(self) -> None:
            core.metadata.append({key.lower(): value for key, value in self.headers.items()})
            length = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            try:
                self._answer(*self._respond(self._path(), body))
            except ScriptedError as failure:
                status = STATUS[failure.status]
                if failure.problem is None:
                    self._answer(status, "scripted")
                else:
                    self._answer(status, problem_json(failure.problem, status))

        def _path(self) -> list[str]:
            """The path's parts below the version."""
            return [unquote(part) for part in self.path.strip("/").split("/")[1:]]

        def _respond(self, path: list[str], body: dict[str, Any]) -> tuple[int, Any]:
            match self.command, *path:
                case "POST", "score":
                    response = core.handle("Score", score_request(body))
                    results = [
                        {"error": problem_json(result.error, 422)}
                        if result.HasField("error")
                        else reply_json(result.reply)
                        for result in response.results
                    ]
                    return 200, {"results": results}
                case "POST", "episodes":
                    (result,) = core.handle("OpenEpisodes", spec_request(body)).results
                    if result.HasField("error"):
                        return 404, problem_json(result.error, 404)
                    opened = result.episode
                    return 200, {
                        "id": opened.id,
                        "next_query_step": opened.next_query_step,
                        "neutral": dict(opened.neutral),
                    }
                case "POST", "episodes", episode, "steps":
                    (result,) = core.handle("StepEpisodes", step_request(episode, body)).results
                    if result.HasField("error"):
                        return 409, problem_json(result.error, 409)
                    reply = result.reply
                    upcoming = reply.next_query_step if reply.HasField("next_query_step") else None
                    return 200, {
                        "step": result.step,
                        "rewards": {r.head: reward_json(r) for r in reply.rewards},
                        "next_query_step": upcoming,
                        "timings_ms": timings_json(reply.timings),
                    }
                case "DELETE", "episodes", episode:
                    request = pb.CloseEpisodesRequest(episodes=[episode])
                    (closed,) = core.handle("CloseEpisodes", request).results
                    return 200, {"id": closed.episode, "was_open": closed.was_open}
                case "GET", "models":
                    return 200, models_json(core.handle("ListModels", pb.ListModelsRequest()))
            return 404, {"detail": "Not Found"}

        do_GET = do_POST = do_DELETE = _route  # noqa: N815

        def log_message(self, *args: Any) -> None:
            pass

    return Handler


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up is no news."""


@contextmanager
def serve_http(core: ScriptedCore) -> Iterator[str]:
    """The URL of a server that runs while the context lasts."""
    server = QuietServer(("127.0.0.1", 0), handler_of(core))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
