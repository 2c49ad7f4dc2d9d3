"""Stateless scoring, the same over gRPC and over HTTP."""

from __future__ import annotations

import numpy as np
import pytest

from lrm_client import (
    InvalidRequest,
    ModelError,
    Query,
    Readout,
    Reply,
    RewardClient,
    UnknownHead,
    Use,
    WindowFrame,
)
from lrm_client.wire import reward_pb2 as pb
from tests.client.scripted import Asked, ScriptedCore, frames_of, problem

BEFORE = np.zeros((4, 6, 3), np.uint8)
AFTER = np.full((4, 6, 3), 200, np.uint8)
TASK = "put the cube on the plate"


def test_a_reply_carries_every_field(client: RewardClient) -> None:
    reply = client.contrastive(BEFORE, AFTER, TASK, return_text=True)
    assert reply.head == "contrastive"
    assert reply.value == 0.5
    assert reply.probabilities == {"no": 0.25, "yes": 0.75}
    assert (reply.label, reply.confidence, reply.expected) == ("yes", 0.75, 0.75)
    assert reply.label_mass == 0.9
    assert reply.text == "thinking"
    assert reply.readout is Readout.LIKELIHOOD
    assert (reply.model, reply.profile) == ("f1", "d1")
    assert (reply.timings.queue_ms, reply.timings.total_ms) == (2.0, 6.0)


def test_a_composite_head_carries_the_replies_of_its_parts(client: RewardClient) -> None:
    reply = client.score(Query("tri", TASK, current=AFTER, previous=BEFORE))
    assert (reply.label, reply.probabilities, reply.label_mass) == ("", {}, None)
    assert list(reply.components) == ["contrastive", "progress", "completion"]
    assert reply.components["progress"].probabilities == {"no": 0.25, "yes": 0.75}


def test_a_query_says_on_the_wire_what_was_asked(client: RewardClient, core: ScriptedCore) -> None:
    client.score(
        Query(
            "contrastive",
            TASK,
            current=AFTER,
            previous=BEFORE,
            initial=BEFORE,
            goal=AFTER,
            readout=Readout.REASON_THEN_READ,
            use="expected",
            swap=True,
            margin=0.125,
            return_text=True,
        )
    )
    request = core.last("Score")
    (query,) = request.queries
    frames = frames_of(request.frames)
    assert (query.head, query.task) == ("contrastive", TASK)
    assert frames[query.current] == frames[query.goal] == AFTER.tobytes()
    assert frames[query.previous] == frames[query.initial] == BEFORE.tobytes()
    assert (query.readout, query.use) == (pb.READOUT_REASON_THEN_READ, pb.USE_EXPECTED)
    assert (query.swap, query.margin, query.return_text) == (True, 0.125, True)


def test_what_is_not_said_is_left_to_the_server(client: RewardClient, core: ScriptedCore) -> None:
    client.progress(AFTER, TASK)
    (query,) = core.last("Score").queries
    assert (query.readout, query.use, query.swap) == (0, 0, False)
    assert not query.HasField("margin")
    assert not query.HasField("fps")
    assert not query.HasField("previous")


def test_a_window_travels_in_order_with_its_cameras(
    client: RewardClient, core: ScriptedCore
) -> None:
    window = [WindowFrame(BEFORE, "wrist"), WindowFrame(AFTER, "front"), AFTER]
    client.score(Query("progress", TASK, current=AFTER, window=window, fps=5.0))
    request = core.last("Score")
    (query,) = request.queries
    frames = frames_of(request.frames)
    assert [frames[entry.frame] for entry in query.window] == [
        BEFORE.tobytes(),
        AFTER.tobytes(),
        AFTER.tobytes(),
    ]
    assert [entry.view for entry in query.window] == ["wrist", "front", ""]
    assert query.fps == 5.0


def test_a_batch_gives_an_error_in_the_place_of_the_query_that_failed(
    client: RewardClient, core: ScriptedCore
) -> None:
    def answer(asked: Asked) -> float | pb.Problem:
        return problem("label_mass_low", "0.01") if asked.head == "progress" else 1.0

    core.answer = answer
    queries = [
        Query(head, TASK, current=AFTER) for head in ("contrastive", "progress", "completion")
    ]
    first, second, third = client.score_batch(queries)
    assert isinstance(first, Reply)
    assert isinstance(third, Reply)
    assert isinstance(second, ModelError)
    assert (second.code, second.message) == ("label_mass_low", "0.01")
    assert core.count("Score") == 1


def test_a_single_query_that_failed_raises(client: RewardClient, core: ScriptedCore) -> None:
    core.answer = lambda asked: problem("unknown_head", "heads: progress")
    with pytest.raises(UnknownHead, match="heads: progress"):
        client.completion(AFTER, TASK)


def test_the_shorthands_name_their_heads_and_roles(
    client: RewardClient, core: ScriptedCore
) -> None:
    client.contrastive(BEFORE, AFTER, TASK)
    client.progress(AFTER, TASK, initial=BEFORE)
    client.completion(AFTER, TASK, use=Use.EXPECTED)
    queries = [request.queries[0] for _, request in core.requests]
    assert [query.head for query in queries] == ["contrastive", "progress", "completion"]
    assert queries[0].HasField("previous")
    assert queries[1].HasField("initial")
    assert queries[2].use == pb.USE_EXPECTED


def test_a_frame_of_several_queries_travels_once(
    grpc_client: RewardClient, core: ScriptedCore
) -> None:
    grpc_client.score_batch(
        [
            Query("contrastive", TASK, current=AFTER, previous=BEFORE),
            Query("progress", TASK, current=AFTER, initial=BEFORE),
            Query("completion", TASK, current=AFTER),
        ]
    )
    request = core.last("Score")
    assert len(frames_of(request.frames)) == 2
    assert len({query.current for query in request.queries}) == 1


@pytest.mark.parametrize(
    ("query", "field"),
    [
        (Query("", TASK, current=AFTER), "head"),
        (Query("progress", "  ", current=AFTER), "task"),
        (Query("progress", TASK, current=AFTER, readout="guess"), "readout"),
        (Query("progress", TASK, current=AFTER, use="best"), "use"),
        (Query("progress", TASK, current=AFTER.astype(np.float32)), "frame"),
    ],
    ids=["no head", "no task", "readout", "use", "float frame"],
)
def test_a_query_that_no_server_could_take_is_not_sent(
    client: RewardClient, core: ScriptedCore, query: Query, field: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        client.score(query)
    assert refused.value.field == field
    assert core.requests == []


def test_an_empty_batch_is_refused(client: RewardClient) -> None:
    with pytest.raises(InvalidRequest):
        client.score_batch([])


def test_the_models_are_read_whole(client: RewardClient) -> None:
    served = client.models()
    (model,) = served.models
    head = model.heads["progress"]
    assert (served.version, model.id, model.fingerprint) == ("0.1.0", "lrm-tiny", "f1")
    assert served.limits.max_batch == 512
    assert head.labels == {"0.0": 0.0, "1.0": 1.0}
    assert (head.required_frames, head.optional_frames) == (("current",), ("initial",))
    assert (head.default_readout, head.adapter) == (Readout.LIKELIHOOD, "progress")
