from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from lrm_server.engine.frame_inputs import FrameInput
from lrm_server.engine.frame_reader import ControlToken, FramePart
from lrm_server.engine.protocol import FrameSlot
from lrm_server.engine.robometer.folder import serving_folder
from lrm_server.engine.robometer.prompts import FramePrompts
from lrm_server.engine.robometer.structure import ADDED_TOKENS, PROGRESS
from lrm_server.errors import DomainError
from lrm_server.frames import Encoding, FrameLimits, open_frame
from tests.engine.robometer.checkpoint import Published

FRAME = open_frame(bytes(64 * 64 * 3), Encoding.RAW, FrameLimits(), height=64, width=64)
ONE_TOKEN = FrameInput(key="frame", item=cast(Any, None), tokens=1, nbytes=0)


@pytest.fixture(scope="module")
def tokenizer(published: Published) -> Iterator[Any]:
    """The tokeniser that is served, with the tokens that Robometer adds."""
    with serving_folder(published.checkpoint, published.base, 1024) as folder:
        yield AutoTokenizer.from_pretrained(folder)


@given(
    task=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<|>"), max_size=60),
    frames=st.integers(1, 5),
)
def test_a_turn_that_grows_has_the_tokens_of_the_whole_chat(
    tokenizer: Any, task: str, frames: int
) -> None:
    prompts = FramePrompts(tokenizer)
    for count in range(1, frames + 1):
        shown: list[FramePart] = [FrameSlot(FRAME), ControlToken(PROGRESS)] * count
        turn = prompts.turn([task, *shown], [ONE_TOKEN] * count)
        content = [{"type": "text", "text": task}]
        content += [{"type": "image"}, {"type": "text", "text": PROGRESS}] * count
        chat = tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_vision_id=True
        )
        assert turn.tokens == tokenizer(chat, add_special_tokens=False)["input_ids"]
        assert [turn.tokens[token.position] for token in turn.read] == [
            tokenizer.convert_tokens_to_ids(PROGRESS)
        ] * count


@pytest.mark.parametrize("token", ADDED_TOKENS)
def test_a_task_that_holds_a_control_token_is_refused_before_it_is_tokenised(
    tokenizer: Any, token: str
) -> None:
    with pytest.raises(DomainError, match="control token"):
        FramePrompts(tokenizer).turn([f"Pick up {token}.", FrameSlot(FRAME)], [ONE_TOKEN])
