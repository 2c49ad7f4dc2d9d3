"""What vLLM's own server is asked in lrm's place."""

from __future__ import annotations

import pytest

from bench.openai_requests import Node, label_logprobs, request_body
from lrm_server.heads.profile import Role


def test_frames_stand_where_the_turn_has_them() -> None:
    turn = ("First: ", Role.INITIAL, "\nNow: ", Role.CURRENT)
    body = request_body(turn, Node('{ "x": ', (5, 6)), {Role.INITIAL: "aa", Role.CURRENT: "bb"})
    user, assistant = body["messages"]
    assert [each["type"] for each in user["content"]] == ["text", "image_url", "text", "image_url"]
    assert [each["image_url"]["url"] for each in user["content"][1::2]] == [
        "data:image/jpeg;base64,aa",
        "data:image/jpeg;base64,bb",
    ]
    assert assistant == {"role": "assistant", "content": '{ "x": '}
    assert body["continue_final_message"] is True
    assert body["logprob_token_ids"] == [5, 6]


def test_the_labels_are_read_by_their_tokens() -> None:
    given = [{"token": f"token_id:{token}", "logprob": -token / 10} for token in (7, 6, 5)]
    answer = {"choices": [{"logprobs": {"content": [{"top_logprobs": given}]}}]}
    assert label_logprobs(answer, (5, 6)) == {5: -0.5, 6: -0.6}
    with pytest.raises(KeyError):
        label_logprobs(answer, (5, 8))
