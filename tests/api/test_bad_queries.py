"""Bad queries: the same code and field on both wires, and the rest of the batch answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from lrm_client.wire import reward_pb2 as pb
from tests.api.bad_input import BYTE_LIMIT, GOOD, TASK, Sent, limited
from tests.api.conftest import Served
from tests.api.frames import encoded, jpeg, pixels, png

__all__ = ["limited"]

RGBA = pixels().repeat(2, 2)[..., :4]


@dataclass(frozen=True)
class BadQuery:
    name: str
    code: str
    at: str
    head: str = "progress"
    task: str = TASK
    frames: Mapping[str, Sent] = field(default_factory=lambda: {"current": GOOD})
    options: Mapping[str, Any] = field(default_factory=dict)


def current(data: bytes, encoding: str, shape: tuple[int, ...] | None = None) -> dict[str, Sent]:
    return {"current": Sent(data, encoding, shape)}


BAD_QUERIES = [
    BadQuery("empty task", "invalid_argument", "task", task=" "),
    BadQuery("unknown head", "unknown_head", "head", head="nosuch"),
    BadQuery("empty frame", "invalid_argument", "current", frames=current(b"", "png")),
    BadQuery(
        "no image", "image_undecodable", "current", frames=current(b"not an image at all", "jpeg")
    ),
    BadQuery("truncated header", "image_undecodable", "current", frames=current(png()[:20], "png")),
    BadQuery(
        "truncated jpeg",
        "image_undecodable",
        "current",
        frames=current(jpeg(60, 60)[:-400], "jpeg"),
    ),
    BadQuery(
        "truncated png", "image_undecodable", "current", frames=current(png(60, 60)[:-400], "png")
    ),
    BadQuery("wrong encoding", "image_undecodable", "current", frames=current(png(), "jpeg")),
    BadQuery("too many pixels", "image_too_large", "current", frames=current(png(80, 80), "png")),
    BadQuery(
        "too many bytes",
        "image_too_large",
        "current",
        frames=current(png() + bytes(BYTE_LIMIT), "png"),
    ),
    BadQuery(
        "raw over the pixel limit",
        "image_too_large",
        "current",
        frames=current(bytes(80 * 80 * 3), "raw", (80, 80, 3)),
    ),
    BadQuery(
        "four channels raw",
        "invalid_argument",
        "current",
        frames=current(bytes(32 * 32 * 4), "raw", (32, 32, 4)),
    ),
    BadQuery(
        "one channel raw",
        "invalid_argument",
        "current",
        frames=current(bytes(32 * 32), "raw", (32, 32, 1)),
    ),
    BadQuery(
        "four channels png",
        "invalid_argument",
        "current",
        frames=current(encoded(RGBA, "PNG"), "png"),
    ),
    BadQuery(
        "grey jpeg",
        "invalid_argument",
        "current",
        frames=current(encoded(pixels()[..., 0], "JPEG"), "jpeg"),
    ),
    BadQuery("raw without size", "invalid_argument", "current", frames=current(b"123", "raw")),
    BadQuery(
        "raw of another size",
        "invalid_argument",
        "current",
        frames=current(bytes(100), "raw", (32, 32, 3)),
    ),
    BadQuery("tiny", "invalid_argument", "current", frames=current(png(4, 4), "png")),
    BadQuery("no frame", "invalid_argument", "current", frames={}),
    BadQuery("no pair", "invalid_argument", "previous", head="contrastive"),
    BadQuery(
        "pair of two sizes",
        "invalid_argument",
        "current",
        head="contrastive",
        frames={"previous": GOOD, "current": Sent(png(16, 16), "png")},
    ),
    BadQuery(
        "pair of two sizes in a composite",
        "invalid_argument",
        "current",
        head="tri",
        frames={"previous": GOOD, "current": Sent(png(16, 16), "png")},
    ),
    BadQuery(
        "undecodable previous",
        "image_undecodable",
        "previous",
        head="contrastive",
        frames={"previous": Sent(png()[:-30], "png"), "current": GOOD},
    ),
    BadQuery("margin", "invalid_argument", "margin", options={"margin": 0.75}),
    BadQuery("fps", "invalid_argument", "fps", options={"fps": -1.0}),
]


def wire_request(bad: BadQuery) -> pb.ScoreRequest:
    """The bad query between two good ones."""
    request = pb.ScoreRequest()
    request.frames.list.frames.append(GOOD.wire())
    request.queries.add(head="progress", task=TASK, current=0)
    query = request.queries.add(head=bad.head, task=bad.task, **bad.options)
    for role, frame in bad.frames.items():
        request.frames.list.frames.append(frame.wire())
        setattr(query, role, len(request.frames.list.frames) - 1)
    request.queries.add(head="completion", task=TASK, current=0)
    return request


def json_query(bad: BadQuery) -> dict[str, Any]:
    frames = {role: frame.json() for role, frame in bad.frames.items()}
    return {"head": bad.head, "task": bad.task, **frames, **bad.options}


def json_request(bad: BadQuery) -> dict[str, Any]:
    good = {"task": TASK, "current": GOOD.json()}
    return {
        "queries": [{"head": "progress", **good}, json_query(bad), {"head": "completion", **good}]
    }


@pytest.mark.parametrize("bad", BAD_QUERIES, ids=lambda bad: bad.name)
async def test_a_bad_query_fails_alone_and_alike_on_both_wires(
    limited: Served, bad: BadQuery
) -> None:
    stub, http = await limited.stub(), await limited.http()
    over_grpc = (await stub.Score(wire_request(bad))).results
    response = await http.post("/v1/score", json=json_request(bad))
    assert response.status_code == 200
    over_http = response.json()["results"]
    assert [result.WhichOneof("outcome") for result in over_grpc] == ["reply", "error", "reply"]
    assert ["error" in result for result in over_http] == [False, True, False]
    problem, body = over_grpc[1].error, over_http[1]["error"]
    assert (problem.code, problem.field) == (bad.code, f"queries[1].{bad.at}")
    assert (body["code"], body["field"]) == (problem.code, problem.field)
    assert len(problem.message) > 20
    assert "Traceback" not in problem.message + body["detail"]


@pytest.mark.parametrize(
    "bad",
    [bad for bad in BAD_QUERIES if bad.head in ("contrastive", "progress", "completion")],
    ids=lambda bad: bad.name,
)
async def test_a_bad_query_to_its_own_route_is_a_problem_with_its_status(
    limited: Served, bad: BadQuery
) -> None:
    http = await limited.http()
    body = json_query(bad)
    response = await http.post(f"/v1/{body.pop('head')}", json=body)
    assert response.status_code == (413 if bad.code == "image_too_large" else 400)
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert (problem["code"], problem["field"]) == (bad.code, bad.at)
    assert problem["status"] == response.status_code
