"""An engine of a model that writes nothing refuses whoever asks for words."""

from __future__ import annotations

import pytest

from lrm_server.engine.protocol import (
    AnswerForm,
    Conversation,
    EngineStatus,
    Message,
    Question,
)
from lrm_server.engine.wordless import WordlessEngine
from lrm_server.errors import DomainError, ErrorCode

QUESTION = Question(parts=("Is it done?",), form=AnswerForm("", ("yes", "no"), "", 8))


async def ready() -> EngineStatus:
    return EngineStatus(True, "", 2, 1)


@pytest.mark.parametrize("method", ["read_forced", "read_after_reasoning", "generate"])
async def test_questions_in_words_are_refused(method: str) -> None:
    engine = WordlessEngine("f0", ready)
    with pytest.raises(DomainError, match="writes no words") as caught:
        await getattr(engine, method)(QUESTION)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT


async def test_conversations_are_refused() -> None:
    with pytest.raises(DomainError, match="writes no words"):
        await WordlessEngine("f0", ready).converse(
            Conversation(messages=(Message("user", ("Hello",)),))
        )


async def test_the_model_itself_says_how_it_is() -> None:
    engine = WordlessEngine("f0", ready)
    assert engine.fingerprint == "f0"
    assert await engine.status() == EngineStatus(True, "", 2, 1)
