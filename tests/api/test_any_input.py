"""Whatever is sent, the answer is an answer or a problem, and never the server's own failure."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from lrm_client.wire import reward_pb2 as pb
from lrm_server.app import Server
from tests.api.conftest import Served
from tests.api.conftest import settings as server_settings
from tests.api.frames import jpeg, png
from tests.scripted_scorer import ScriptedScorer

FRAME = {"data": base64.b64encode(png()).decode(), "encoding": "png"}
QUERY = {"head": "progress", "task": "pick up the cube", "current": FRAME}
BODIES = {
    "/v1/progress": {key: value for key, value in QUERY.items() if key != "head"},
    "/v1/score": {"queries": [QUERY, QUERY]},
    "/v1/episodes": {"task": "pick up the cube", "heads": ["progress"], "interval": 2},
    "/v1/episodes/e/steps": {"step": 0, "frame": FRAME},
}

letters = st.text(max_size=8) | st.sampled_from(["", "\ud800", "/etc/passwd", "http://x/y.png"])
scalars = st.none() | st.booleans() | st.integers() | st.floats() | letters
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(letters, inner, max_size=3),
    max_leaves=6,
)


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document where something stands."""
    found = [path]
    if isinstance(node, dict | list):
        for key, child in node.items() if isinstance(node, dict) else enumerate(node):
            found += places(child, (*path, key))
    return found


def replaced(node: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = dict(node) if isinstance(node, dict) else list(node)
    copy[path[0]] = replaced(node[path[0]], path[1:], value)
    return copy


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, bytes]:
    """A sound body of which one place holds something else, or a name is added."""
    path = draw(st.sampled_from(list(BODIES)))
    body = BODIES[path]
    place = draw(st.sampled_from(places(body)))
    changed = replaced(body, place, draw(anything))
    if isinstance(changed, dict) and draw(st.booleans()):
        changed = {**changed, draw(letters): draw(anything)}
    return path, json.dumps(changed).encode()


@pytest_asyncio.fixture(scope="module")
async def server() -> AsyncIterator[Served]:
    async with AsyncExitStack() as stack:
        started = Server(server_settings(), ScriptedScorer())
        yield Served(await stack.enter_async_context(started), stack)


@pytest_asyncio.fixture(scope="module")
async def http(server: Served) -> httpx.AsyncClient:
    return await server.http(headers={"content-type": "application/json"})


@pytest_asyncio.fixture(scope="module")
async def stub(server: Served) -> Any:
    return await server.stub()


@settings(max_examples=200, deadline=None)
@given(sent=bodies())
async def test_any_json_is_answered_or_refused(
    http: httpx.AsyncClient, sent: tuple[str, bytes]
) -> None:
    path, content = sent
    response = await http.post(path, content=content)
    assert response.status_code in (200, 400, 404, 409, 413), response.text
    if response.status_code != 200:
        assert response.json()["code"] not in ("internal", "unavailable")
        assert response.json()["detail"]
    elif path == "/v1/score":
        errors = [
            result["error"]["code"] for result in response.json()["results"] if "error" in result
        ]
        assert "internal" not in errors


@settings(max_examples=50, deadline=None)
@given(content=st.binary(max_size=64), path=st.sampled_from(list(BODIES)))
async def test_any_bytes_are_refused(http: httpx.AsyncClient, content: bytes, path: str) -> None:
    response = await http.post(path, content=content)
    assert response.status_code == 400
    assert response.json()["code"] == "invalid_argument"


frames = st.builds(
    pb.Frame,
    encoding=st.sampled_from([0, 1, 2, 3, 9]),
    data=st.binary(max_size=64) | st.sampled_from([png(), jpeg(), bytes(8 * 8 * 3), png()[:40]]),
    height=st.sampled_from([0, 1, 8, 2**32 - 1]),
    width=st.sampled_from([0, 1, 8, 2**32 - 1]),
)
indices = st.none() | st.sampled_from([0, 1, 2**32 - 1])
queries = st.builds(
    pb.Query,
    head=st.sampled_from(["progress", "contrastive", "tri", "", "nosuch"]),
    task=st.text(max_size=8),
    current=indices,
    previous=indices,
    initial=indices,
    window=st.lists(st.builds(pb.WindowFrame, frame=st.integers(0, 3)), max_size=2),
    fps=st.none() | st.floats(),
    margin=st.none() | st.floats(),
    readout=st.integers(0, 9),
    use=st.integers(0, 9),
    swap=st.booleans(),
)


@settings(max_examples=200, deadline=None)
@given(frames=st.lists(frames, max_size=2), queries=st.lists(queries, min_size=1, max_size=3))
async def test_any_query_is_answered_or_refused(
    stub: Any, frames: list[pb.Frame], queries: list[pb.Query]
) -> None:
    request = pb.ScoreRequest(queries=queries)
    request.frames.list.frames.extend(frames)
    response = await stub.Score(request)
    assert len(response.results) == len(queries)
    for result in response.results:
        assert result.WhichOneof("outcome")
        assert result.error.code != "internal", result.error.message


specs = st.builds(
    pb.EpisodeSpec,
    id=st.text(max_size=4),
    task=st.text(max_size=4),
    heads=st.lists(st.sampled_from(["progress", "tri", "nosuch", ""]), max_size=3),
    interval=st.none() | st.integers(0, 2**32 - 1),
    scale=st.none() | st.floats(),
    hold=st.integers(0, 9),
    phase=st.integers(0, 9),
    offset=st.integers(0, 2**32 - 1),
    margin=st.none() | st.floats(),
    swap=st.booleans(),
)
steps = st.builds(
    pb.EpisodeStep,
    step=st.sampled_from([0, 1, 2, 2**31 - 1, 2**31, 2**32 - 1]),
    frame=indices,
    final=st.booleans(),
    force=st.booleans(),
    request_id=st.text(max_size=2),
)


@settings(max_examples=100, deadline=None)
@given(spec=specs, steps=st.lists(steps, max_size=4), frames=st.lists(frames, max_size=2))
async def test_any_episode_is_run_or_refused(
    stub: Any, spec: pb.EpisodeSpec, steps: list[pb.EpisodeStep], frames: list[pb.Frame]
) -> None:
    opening = await stub.OpenEpisodes(pb.OpenEpisodesRequest(episodes=[spec]))
    (opened,) = opening.results
    assert opened.error.code != "internal", opened.error.message
    request = pb.StepEpisodesRequest(steps=steps)
    request.frames.list.frames.extend(frames)
    for step in request.steps:
        step.episode = opened.episode.id
    for result in (await stub.StepEpisodes(request)).results:
        assert result.WhichOneof("outcome")
        assert result.error.code != "internal", result.error.message
    await stub.CloseEpisodes(pb.CloseEpisodesRequest(episodes=[opened.episode.id]))
