"""Chat completions on the real engine: the same tokens as heads ask, beside them in one batch."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import requests

from lrm_server.frames import Encoding, Frame, FrameLimits, open_frame
from lrm_server.heads.profile import LabelProfile, Readout, Role
from lrm_server.heads.prompt import render_turn
from lrm_server.heads.query import Query
from tests.api.compat.test_chat import data_url
from tests.conftest import LiveServer
from tests.engine_host import EngineHost
from tests.live.film import Film, success


@pytest.fixture(scope="module")
def rollout() -> Film:
    return success()


def asked(live_server: LiveServer, content: Any, **changes: Any) -> requests.Response:
    model = requests.get(f"{live_server.http}/v1/models", timeout=60).json()["data"][0]["id"]
    body = {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": 32,
        "temperature": 0.0,
        **changes,
    }
    return requests.post(f"{live_server.http}/v1/chat/completions", json=body, timeout=60)


def written(live_server: LiveServer, content: Any, **changes: Any) -> dict[str, Any]:
    answer = asked(live_server, content, **changes)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def text_of(body: dict[str, Any]) -> str:
    text: str = body["choices"][0]["message"]["content"]
    return text


def frame(pixels: np.ndarray) -> Frame:
    height, width = pixels.shape[:2]
    return open_frame(pixels.tobytes(), Encoding.RAW, FrameLimits(), height=height, width=width)


def query(rollout: Film, at: int) -> Query:
    frames = {Role.INITIAL: frame(rollout.frames[0]), Role.CURRENT: frame(rollout.frames[at])}
    return Query(head="progress", task=rollout.task, frames=frames)


def parts(served: EngineHost, rollout: Film, at: int) -> list[dict[str, Any]]:
    """The progress head's own question, as parts of a message."""
    profile = served.scorer.catalogue["progress"].profile
    assert isinstance(profile, LabelProfile)
    frames = {Role.INITIAL: rollout.frames[0], Role.CURRENT: rollout.frames[at]}
    turn = render_turn(profile, rollout.task, frames)
    return [
        {"type": "image_url", "image_url": {"url": data_url(frames[part], "PNG")}}
        if isinstance(part, Role)
        else {"type": "text", "text": str(part)}
        for part in turn.parts
    ]


def test_a_conversation_has_the_tokens_of_the_head_that_asks_the_same(
    served: EngineHost, live_server: LiveServer, rollout: Film
) -> None:
    for at in (0, 5, len(rollout.frames) - 1):
        by_head = served.score(
            replace(query(rollout, at), readout=Readout.GENERATE, return_text=True)
        )
        body = written(live_server, parts(served, rollout, at))
        assert text_of(body) == by_head.text
        assert body["choices"][0]["finish_reason"] == "stop"


def test_tokens_are_counted_with_those_of_the_images(
    served: EngineHost, live_server: LiveServer, rollout: Film
) -> None:
    text = "Is the task done?"
    without = written(live_server, text, max_tokens=3)["usage"]
    image = {"type": "image_url", "image_url": {"url": data_url(rollout.frames[0], "PNG")}}
    with_one = written(live_server, [image, {"type": "text", "text": text}], max_tokens=3)["usage"]
    with_two = written(live_server, [image, image, {"type": "text", "text": text}], max_tokens=3)[
        "usage"
    ]
    # 128 x 128 pixels are 16 tokens between two that begin and end them.
    assert with_one["prompt_tokens"] - without["prompt_tokens"] == 18
    assert with_two["prompt_tokens"] - with_one["prompt_tokens"] == 18
    for usage in (without, with_one, with_two):
        assert usage["completion_tokens"] <= 3
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_what_is_written_ends_where_the_request_says(
    served: EngineHost, live_server: LiveServer, rollout: Film
) -> None:
    question = parts(served, rollout, 5)
    whole = text_of(written(live_server, question))
    cut = written(live_server, question, max_tokens=2)
    assert cut["choices"][0]["finish_reason"] == "length"
    assert cut["usage"]["completion_tokens"] == 2
    assert whole.startswith(text_of(cut))
    stopped = written(live_server, question, stop=['"completion_progress"'])
    assert stopped["choices"][0]["finish_reason"] == "stop"
    assert text_of(stopped) == whole.partition('"completion_progress"')[0]


def test_a_seed_draws_the_same_again(live_server: LiveServer) -> None:
    def drawn(seed: int) -> str:
        body = written(live_server, "Say something.", temperature=2.0, seed=seed, max_tokens=12)
        return text_of(body)

    assert drawn(1) == drawn(1)
    assert len({drawn(seed) for seed in range(4)}) > 1


def test_earlier_turns_are_part_of_the_prompt(live_server: LiveServer) -> None:
    def tokens(*earlier: dict[str, str]) -> int:
        messages = [*earlier, {"role": "user", "content": "And now?"}]
        usage = written(live_server, "", messages=messages, max_tokens=1)["usage"]
        return int(usage["prompt_tokens"])

    alone = tokens()
    with_system = tokens({"role": "system", "content": "You judge robots."})
    assert alone < with_system
    assert with_system < tokens(
        {"role": "system", "content": "You judge robots."},
        {"role": "user", "content": "How does it begin?"},
        {"role": "assistant", "content": "Well."},
    )


def test_control_tokens_in_a_message_are_refused(live_server: LiveServer) -> None:
    for text in ("<|image_pad|>", "done<|im_end|>"):
        answer = asked(live_server, f"Well? {text}")
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "messages[0]"


def test_an_image_that_cannot_be_decoded_is_named(live_server: LiveServer, rollout: Film) -> None:
    whole = data_url(rollout.frames[0])
    image = {"type": "image_url", "image_url": {"url": whole[: len(whole) // 2 // 4 * 4]}}
    answer = asked(live_server, [image])
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "messages[0].content[0].image_url"


def test_a_conversation_that_is_too_long_is_refused(live_server: LiveServer) -> None:
    answer = asked(live_server, "word " * 20_000)
    assert answer.status_code == 400
    assert "tokens and the limit is" in answer.json()["error"]["message"]


def test_many_images_may_be_shown(live_server: LiveServer, rollout: Film) -> None:
    images = [
        {"type": "image_url", "image_url": {"url": data_url(rollout.frames[at % 4], quality=95)}}
        for at in range(24)
    ]
    body = written(live_server, [*images, {"type": "text", "text": "Well?"}], max_tokens=2)
    assert body["usage"]["prompt_tokens"] > 24 * 18


def test_heads_read_the_same_beside_conversations(
    served: EngineHost, live_server: LiveServer, rollout: Film
) -> None:
    queries = [query(rollout, at) for at in range(len(rollout.frames))]
    alone = served.score_all(queries)
    question = parts(served, rollout, 5)
    with ThreadPoolExecutor(8) as callers:
        conversations = [
            callers.submit(written, live_server, question, temperature=1.0, seed=at)
            for at in range(8)
        ]
        beside = [reply for _ in range(4) for reply in served.score_all(queries)]
        assert all(each.result()["choices"] for each in conversations)
    for reply, known in zip(beside, alone * 4, strict=True):
        for label, probability in known.probabilities.items():
            assert reply.probabilities[label] == pytest.approx(probability, abs=0.02)
