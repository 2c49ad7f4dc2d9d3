"""A trajectory over HTTP: a form with its frames or its video, and the JSON that is answered."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import httpx
import numpy as np
from PIL import Image

from lrm_client.connection import TRAJECTORY
from lrm_client.errors import ServerError
from lrm_client.frames import EncodedFrame
from lrm_client.http_requests import Exchange, put_plan
from lrm_client.http_responses import reply_message
from lrm_client.problems import problem_from_json
from lrm_client.trajectory_requests import SentTrajectory
from lrm_client.wire import reward_pb2 as pb
from lrm_client.wire_enums import from_wire

PATH: Final = "/v1/trajectories"


def trajectory_exchange(sent: SentTrajectory) -> tuple[Exchange, bytes]:
    """The HTTP request of a trajectory, and its body.

    Raises:
        InvalidRequest: a frame that is none.
    """
    files: list[tuple[str, tuple[str | None, bytes, str]]] = []
    times: list[float] = []
    if sent.video is not None:
        files.append(("video", ("video", sent.video, "application/octet-stream")))
    else:
        for frames, time in sent.moments():
            if time is not None:
                times.append(time)
            for frame in frames:
                kind, data = _as_file(frame)
                name = f"{len(files)}.{kind}"
                files.append(("frames", (name, data, f"image/{kind}")))
    asked = json.dumps(_spec_json(sent.spec, times)).encode()
    # httpx writes the form; sending it is the transport's.
    fields = [("request", (None, asked, "application/json")), *files]
    form = httpx.Request("POST", "http://form", files=fields)
    return Exchange("POST", PATH, content_type=form.headers["content-type"]), form.read()


def trajectory_responses(body: Mapping[str, Any]) -> Iterator[pb.ScoreTrajectoryResponse]:
    """The messages that the same answer is over gRPC.

    Raises:
        ServerError: it is not the JSON of this protocol.
    """
    try:
        for result in body["results"]:
            yield pb.ScoreTrajectoryResponse(point=_point(result))
        yield pb.ScoreTrajectoryResponse(summary=_summary(body))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ServerError(
            f"the server's answer to {TRAJECTORY.name} is not the JSON of this protocol: {error!r}"
        ) from error


def _as_file(frame: EncodedFrame) -> tuple[str, bytes]:
    """A frame as an image file; raw pixels become a PNG, which loses nothing either."""
    if frame.encoding != "raw":
        return frame.encoding, frame.data
    pixels = np.frombuffer(frame.data, np.uint8).reshape(frame.height, frame.width, 3)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=1)
    return "png", buffer.getvalue()


def _spec_json(spec: pb.TrajectorySpec, times: list[float]) -> dict[str, Any]:
    body: dict[str, Any] = {"task": spec.task, "heads": list(spec.heads)}
    for name in ("fps", "every", "margin"):
        if spec.HasField(name):
            body[name] = getattr(spec, name)
    kinds = {
        "windows": pb.Windows,
        "normalise": pb.Normalise,
        "readout": pb.Readout,
        "use": pb.Use,
    }
    for name, kind in kinds.items():
        word = from_wire(kind, getattr(spec, name))
        if word is not None:
            body[name] = word
    for name in ("swap", "return_text"):
        if getattr(spec, name):
            body[name] = True
    put_plan(body, spec)
    if spec.views:
        body["views"] = list(spec.views)
    if times:
        body["times"] = times
    return body


def _point(result: Mapping[str, Any]) -> pb.TrajectoryPoint:
    point = pb.TrajectoryPoint(index=result["index"], time=result["time_s"])
    for head, outcome in result["rewards"].items():
        if "error" in outcome:
            point.results.add(head=head, error=problem_from_json(outcome["error"]))
        else:
            point.results.add(head=head, reply=reply_message(outcome, head))
    return point


def _summary(body: Mapping[str, Any]) -> pb.TrajectorySummary:
    told = body["summary"]
    summary = pb.TrajectorySummary(frames=body["frames"], points=told["points"], fps=body["fps"])
    for name, head in told["heads"].items():
        figures = {
            figure: head.get(figure) for figure in ("first", "last", "mean", "minimum", "maximum")
        }
        entry = summary.heads.add(
            head=name, points=head["points"], failed=head["failed"], **figures
        )
        for value in head.get("normalised") or ():
            entry.normalised.add(value=value)
        if head.get("normalise_error") is not None:
            entry.normalise_error.CopyFrom(problem_from_json(head["normalise_error"]))
    return summary
