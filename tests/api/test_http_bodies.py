"""Bodies of HTTP requests: JSON, forms, what is refused, how much may come."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from lrm_server.heads.profile import Role
from tests.api.conftest import Serve, Served
from tests.api.frames import encoded, jpeg, pixels, png
from tests.scripted_scorer import ScriptedScorer

TASK = "pick up the cube"
FRAME = {"data": base64.b64encode(png()).decode(), "encoding": "png"}
QUERY = {"task": TASK, "current": FRAME}
MIB = 1024 * 1024


async def test_a_form_brings_frames_as_files(served: Served, scorer: ScriptedScorer) -> None:
    http = await served.http()
    previous, current = pixels(seed=1), pixels(seed=2)
    response = await http.post(
        "/v1/contrastive",
        data={"task": TASK, "margin": "0.25", "swap": "true", "use": "expected"},
        files={
            "previous": ("../../etc/passwd", encoded(previous, "PNG"), "image/jpeg"),
            "current": ("c.png", encoded(current, "PNG")),
        },
    )
    assert response.status_code == 200, response.text
    (query,) = scorer.queries
    assert (query.task, query.margin, query.swap, query.use) == (TASK, 0.25, True, "expected")
    assert np.array_equal(query.frames[Role.PREVIOUS].pixels(), previous)
    assert np.array_equal(query.frames[Role.CURRENT].pixels(), current)


@pytest.mark.parametrize(
    ("data", "files", "code", "at"),
    [
        ({"task": TASK, "margin": "much"}, {"current": png()}, "invalid_argument", "margin"),
        ({"task": TASK, "nosuch": "1"}, {"current": png()}, "invalid_argument", "nosuch"),
        ({}, {"current": png()}, "invalid_argument", "task"),
        ({"task": TASK}, {"current": b"GIF89a"}, "invalid_argument", "current"),
        ({"task": TASK}, {"current": png()[:-30] + b"x" * MIB}, "image_too_large", "current"),
        ({"task": TASK}, {"current": png()[:20]}, "image_undecodable", "current"),
        ({"task": TASK}, {"task": png()}, "invalid_argument", "task"),
        (
            {"task": TASK, "current": "http://x/a.png"},
            {"goal": png()},
            "invalid_argument",
            "current",
        ),
    ],
)
async def test_a_wrong_form_names_its_field(
    serve: Serve, data: dict[str, str], files: dict[str, bytes], code: str, at: str
) -> None:
    http = await (await serve(max_frame_mib=1)).http()
    response = await http.post("/v1/progress", data=data, files=files)
    assert response.status_code in (400, 413)
    assert (response.json()["code"], response.json()["field"]) == (code, at)


@pytest.mark.parametrize(
    "frame",
    [
        "http://example.com/a.png",
        "file:///etc/passwd",
        "/etc/passwd",
        "data:image/png;base64," + FRAME["data"],
        {"data": "http://example.com/a.png", "encoding": "png"},
        {"data": "data:image/png;base64," + FRAME["data"], "encoding": "png"},
    ],
)
async def test_a_url_or_path_is_refused_and_never_opened(
    served: Served, scorer: ScriptedScorer, frame: Any
) -> None:
    http = await served.http()
    response = await http.post("/v1/progress", json={"task": TASK, "current": frame})
    assert response.status_code == 400
    problem = response.json()
    assert problem["code"] == "invalid_argument"
    assert problem["field"] == ("current" if isinstance(frame, str) else "current.data")
    assert "never opened" in problem["detail"]
    assert scorer.queries == []


@pytest.mark.parametrize(
    ("change", "at"),
    [
        ({"data": FRAME["data"] + "\n"}, "current.data"),
        ({"data": FRAME["data"].rstrip("=") + "*"}, "current.data"),
        ({"data": 7}, "current.data"),
        ({"encoding": "gif"}, "current.encoding"),
        ({"encoding": "raw", "shape": [32, 32]}, "current"),
        ({"encoding": "raw", "shape": [32, 32, "3"]}, "current.shape[2]"),
        ({"url": "http://example.com"}, "current.url"),
    ],
)
async def test_a_malformed_frame_names_its_part(
    served: Served, change: dict[str, Any], at: str
) -> None:
    http = await served.http()
    body = {"task": TASK, "current": {**FRAME, **change}}
    response = await http.post("/v1/progress", json=body)
    assert response.status_code == 400
    assert response.json()["field"] == at
    batch = {"queries": [{"head": "progress", **QUERY}, {"head": "progress", **body}]}
    results = (await http.post("/v1/score", json=batch)).json()["results"]
    assert results[0]["head"] == "progress"
    assert results[1]["error"]["field"] == f"queries[1].{at}"


@pytest.mark.parametrize(
    ("path", "body", "at"),
    [
        ("/v1/score", {}, "queries"),
        ("/v1/score", {"queries": {}}, "queries"),
        ("/v1/progress", [], ""),
        ("/v1/progress", {**QUERY, "readout": "guess"}, "readout"),
        ("/v1/progress", {**QUERY, "swap": "yes"}, "swap"),
        ("/v1/progress", {**QUERY, "margin": "0.1"}, "margin"),
        ("/v1/episodes", {"task": TASK, "heads": "progress"}, "heads"),
        ("/v1/episodes", {"task": TASK, "heads": ["progress"], "hold": "tight"}, "hold"),
        ("/v1/episodes", {"task": TASK, "heads": ["progress"], "intervall": 3}, "intervall"),
        ("/v1/episodes/e/steps", {"step": -1}, "step"),
        ("/v1/episodes/e/steps", {"step": 2**32}, "step"),
        ("/v1/episodes/e/steps", {"step": 1.5}, "step"),
        ("/v1/episodes/e/steps", {}, "step"),
    ],
)
async def test_a_wrong_body_is_a_problem_that_names_the_field(
    served: Served, path: str, body: Any, at: str
) -> None:
    response = await (await served.http()).post(path, json=body)
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert (problem["code"], problem["status"]) == ("invalid_argument", 400)
    assert problem.get("field", "") == at


@pytest.mark.parametrize("path", ["/v1/progress", "/v1/score"])
async def test_a_body_that_is_no_json_is_a_problem(served: Served, path: str) -> None:
    http = await served.http()
    headers = {"content-type": "application/json"}
    response = await http.post(path, content=b'{"task": ', headers=headers)
    assert response.status_code == 400
    assert response.json()["code"] == "invalid_argument"
    assert "JSON" in response.json()["detail"]


async def test_a_body_of_another_type_is_a_problem(served: Served) -> None:
    response = await (await served.http()).post("/v1/progress", content=png())
    assert response.status_code == 400
    assert response.json()["field"] == "content-type"


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nosuch", 404), ("GET", "/v1/score", 405)]
)
async def test_a_path_that_is_not_served_is_a_problem(
    served: Served, method: str, path: str, status: int
) -> None:
    response = await (await served.http()).request(method, path)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == status


@pytest.mark.parametrize("path", ["/v1/progress", "/v1/score", "/v1/episodes/e/steps"])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_limit_is_refused_while_it_is_read(
    serve: Serve, path: str, chunked: bool
) -> None:
    http = await (await serve(max_message_mib=1)).http()
    body = json.dumps({**QUERY, "task": "x" * (MIB + MIB // 2)}).encode()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 65536):
            yield body[start : start + 65536]

    content = pieces() if chunked else body
    headers = {"content-type": "application/json"}
    response = await http.post(path, content=content, headers=headers)
    assert response.status_code == 413
    problem = response.json()
    assert (problem["code"], problem["field"]) == ("invalid_argument", "frames")
    assert str(MIB) in problem["detail"]


async def test_a_form_over_the_limit_is_refused(serve: Serve) -> None:
    http = await (await serve(max_message_mib=1)).http()
    files = {"current": png() + bytes(MIB + MIB // 2)}
    response = await http.post("/v1/progress", data={"task": TASK}, files=files)
    assert response.status_code == 413


async def test_a_window_of_files_keeps_its_order(served: Served, scorer: ScriptedScorer) -> None:
    scorer.check = lambda query: None  # no head of this catalogue looks at windows
    frames = [jpeg(seed=seed) for seed in range(3)]
    files = [("window", ("w", data)) for data in frames]
    http = await served.http()
    response = await http.post("/v1/progress", data={"task": TASK, "fps": "2.5"}, files=files)
    assert response.status_code == 200, response.text
    (query,) = scorer.queries
    assert query.fps == 2.5
    assert len({entry.frame.digest for entry in query.window}) == 3
