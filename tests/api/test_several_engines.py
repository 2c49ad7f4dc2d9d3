"""A server with several engines, as its callers see it."""

from __future__ import annotations

import pytest

from lrm_client import LrmError
from lrm_server.engine.protocol import EngineStatus
from lrm_server.heads.catalogue import HeadCatalogue, ModelCard
from lrm_server.heads.routing import RoutingScorer
from tests.api.conftest import Serve
from tests.api.frames import pixels
from tests.scripted_scorer import ScriptedScorer, built_in_catalogue

TASK = "pick up the cube"


def scripted(name: str, *heads: str) -> ScriptedScorer:
    scorer = ScriptedScorer()
    built_in = built_in_catalogue()
    card = ModelCard(name, f"about {name}", f"fingerprint-of-{name}")
    scorer.catalogue = HeadCatalogue([built_in[head] for head in heads], card)
    return scorer


@pytest.mark.parametrize("transport", ["grpc", "http"])
async def test_all_models_are_listed_and_replies_name_the_one_that_answered(
    serve: Serve, transport: str
) -> None:
    merged, base = scripted("merged", "progress"), scripted("base", "completion")
    served = await serve(attach=False)
    served.server.attach(RoutingScorer({"merged": merged, "base": base}, {}))
    client = await served.client(transport)
    models = (await client.models()).models
    assert {model.id: (model.fingerprint, list(model.heads)) for model in models} == {
        "merged": ("fingerprint-of-merged", ["progress"]),
        "base": ("fingerprint-of-base", ["completion"]),
    }
    assert (await client.progress(pixels(), TASK)).model == "fingerprint-of-merged"
    assert (await client.completion(pixels(), TASK)).model == "fingerprint-of-base"
    with pytest.raises(LrmError, match="progress, completion"):
        await client.contrastive(pixels(), pixels(), TASK)


async def test_an_engine_that_is_down_is_named_and_the_others_answer(serve: Serve) -> None:
    merged, base = scripted("merged", "progress"), scripted("base", "completion")
    served = await serve(attach=False)
    served.server.attach(RoutingScorer({"merged": merged, "base": base}, {}))
    http = await served.http()
    assert (await http.get("/readyz")).status_code == 200
    base.engine = EngineStatus(False, "it died", 0, 0)
    answer = await http.get("/readyz")
    assert answer.status_code == 503
    assert "engine base: it died" in answer.json()["detail"]
    client = await served.client("grpc")
    assert (await client.progress(pixels(), TASK)).head == "progress"
    metrics = (await http.get("/metrics")).text
    assert "lrm_engine_ready 0.0" in metrics
    assert 'lrm_engine_up{engine_name="merged"} 1.0' in metrics
    assert 'lrm_engine_up{engine_name="base"} 0.0' in metrics
