"""Who a server says that it is, when it is judged."""

from __future__ import annotations

from typing import cast

import pytest

from lrm_client import RewardClient
from lrm_client.types import HeadInfo, Limits, ModelInfo, ServedModels
from lrm_server.evaluation.identity import identify


def model(name: str, fingerprint: str, *heads: str) -> ModelInfo:
    served = {
        head: HeadInfo(head, head, f"digest-of-{head}", None, {}, ("current",), (), 0.0, "")
        for head in heads
    }
    return ModelInfo(name, fingerprint, f"about {name}", served)


class Serving:
    """A client of a server with these models."""

    def __init__(self, *models: ModelInfo) -> None:
        self._models = models

    def models(self) -> ServedModels:
        return ServedModels(self._models, Limits(max_batch=3), "1")


def test_several_models_are_judged_as_one_with_the_heads_of_all() -> None:
    server = Serving(model("merged", "f1", "progress"), model("base", "f2", "completion"))
    found = identify(cast(RewardClient, server))
    assert (found.id, found.fingerprint, found.max_batch) == ("merged+base", "f1+f2", 3)
    assert list(found.heads) == ["progress", "completion"]
    assert found.heads["completion"].digest == "digest-of-completion"


@pytest.mark.parametrize(("second", "fingerprint"), [("f1", "f1"), ("", "")])
def test_a_fingerprint_tells_all_weights_or_nothing(second: str, fingerprint: str) -> None:
    server = Serving(model("merged", "f1", "progress"), model("base", second, "completion"))
    assert identify(cast(RewardClient, server)).fingerprint == fingerprint
