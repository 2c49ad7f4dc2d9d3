"""The heads that a chat endpoint can serve."""

from __future__ import annotations

import pytest

from lrm_server.errors import DomainError, ErrorCode
from lrm_server.heads.manifest import HeadEntry, Manifest, default_manifest, served_heads
from lrm_server.heads.profile import Readout
from lrm_server.heads.remote import for_endpoint


def test_with_probabilities_heads_are_read_as_their_manifest_says() -> None:
    heads = served_heads(default_manifest("m"), {})
    assert for_endpoint(heads, reads_labels=True) == heads
    assert any(head.readout is not Readout.GENERATE for head in heads)


def test_without_probabilities_every_head_is_read_by_what_is_written() -> None:
    heads = for_endpoint(served_heads(default_manifest("m"), {}), reads_labels=False)
    assert {head.name for head in heads} >= {"contrastive", "progress", "completion", "tri"}
    assert {head.readout for head in heads} == {Readout.GENERATE}


@pytest.mark.parametrize("reads_labels", [True, False])
def test_a_head_in_the_users_turn_is_refused_at_the_start(reads_labels: bool) -> None:
    manifest = Manifest(id="m", heads={"topreward": HeadEntry(profile="topreward")})
    with pytest.raises(DomainError) as error:
        for_endpoint(served_heads(manifest, {}), reads_labels=reads_labels)
    assert (error.value.code, error.value.field) == (ErrorCode.INVALID_ARGUMENT, "heads")
    assert "topreward" in error.value.message
