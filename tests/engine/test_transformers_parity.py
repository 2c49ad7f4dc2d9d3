"""Hugging Face transformers gives the same labels the same probabilities."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lrm_server.engine.checkpoint_files import locate
from lrm_server.frames import Encoding, FrameLimits, open_frame
from lrm_server.heads.profile import LabelProfile, Role
from lrm_server.heads.query import Query, Reply
from tests.engine.conftest import Exact
from tests.engine.reference import Reference, png
from tests.engine_host import EngineHost
from tests.rollout_frames import episodes, queries

HEADS = ("contrastive", "progress", "completion")
FULL, HALF = 1e-3, 0.05
BF16_STEP = 0.0625


def logprobs(reply: Reply) -> list[float]:
    """The model's own log-probabilities of the labels."""
    assert reply.label_mass is not None
    return [math.log(p * reply.label_mass) for p in reply.probabilities.values()]


def label_profile(host: EngineHost, head: str) -> LabelProfile:
    profile = host.scorer.catalogue[head].profile
    assert isinstance(profile, LabelProfile)
    return profile


def assert_same_label(reply: Reply, wanted: list[float], within: float) -> None:
    """The labels are equal wherever the margin between the best two exceeds the difference."""
    best, second = sorted(wanted, reverse=True)[:2]
    if best - second > within:
        assert list(reply.probabilities).index(reply.label) == wanted.index(best)


@pytest.mark.parametrize("head", HEADS)
def test_label_logprobs_equal_transformers_in_float32(exact: Exact, head: str) -> None:
    asked = queries(head, 6)
    for query, reply in zip(asked, exact.host.score_all(asked), strict=True):
        wanted = exact.reference.label_logprobs(label_profile(exact.host, head), query)
        assert logprobs(reply) == pytest.approx(wanted, abs=FULL)
        assert_same_label(reply, wanted, FULL)


def test_labels_of_several_tokens_are_read_along_their_paths(exact: Exact) -> None:
    query = Query(head="sides", task=episodes()[0].task, frames=queries("completion", 1)[0].frames)
    wanted = exact.reference.label_logprobs(label_profile(exact.host, "sides"), query)
    assert len(set(wanted)) == 5
    assert logprobs(exact.host.score(query)) == pytest.approx(wanted, abs=FULL)


@pytest.mark.parametrize("size", [(128, 128), (64, 96), (200, 300), (97, 61)])
def test_frames_that_need_resizing_are_scored_as_the_processor_prepares_them(
    exact: Exact, size: tuple[int, int]
) -> None:
    rng = np.random.default_rng(size[0])
    base = queries("completion", 1)[0].frames[Role.CURRENT].pixels()
    rows = np.linspace(0, base.shape[0] - 1, size[0]).astype(int)
    columns = np.linspace(0, base.shape[1] - 1, size[1]).astype(int)
    image = base[rows][:, columns] ^ rng.integers(0, 8, (*size, 3), dtype=np.uint8)
    frame = open_frame(png(image), Encoding.PNG, FrameLimits())
    for head in ("progress", "completion"):
        query = Query(head=head, task=episodes()[0].task, frames={Role.CURRENT: frame})
        wanted = exact.reference.label_logprobs(label_profile(exact.host, head), query)
        assert logprobs(exact.host.score(query)) == pytest.approx(wanted, abs=FULL)


@pytest.mark.parametrize("head", HEADS)
def test_label_logprobs_agree_with_transformers_in_bfloat16(served: EngineHost, head: str) -> None:
    """Within 0.05, but for roundings that fall to different sides.

    Logits of 8 to 16 lie 1/16 apart in bfloat16, so that one rounding more moves a
    log-probability by 0.0625.
    """
    reference = Reference(locate("embedded"), torch.bfloat16)
    asked = queries(head, 6)
    differences = []
    for query, reply in zip(asked, served.score_all(asked), strict=True):
        wanted = reference.label_logprobs(label_profile(served, head), query)
        pairs = zip(logprobs(reply), wanted, strict=True)
        differences += [abs(ours - theirs) for ours, theirs in pairs]
        assert_same_label(reply, wanted, 2 * BF16_STEP)
    assert np.mean(np.array(differences) <= HALF) >= 0.8
    assert max(differences) <= 2 * BF16_STEP
