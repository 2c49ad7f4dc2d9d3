"""The heads through vLLM's own OpenAI server, against the engine in this process.

Both run the embedded checkpoint in bfloat16. The ways differ in how a JPEG is decoded
and in what shares a batch, which moves a probability by hundredths.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from lrm_server.engine.chat.chat_engine import ChatEngine
from lrm_server.engine.chat.start import ChatOptions, open_chat_engine
from lrm_server.engine.checkpoint_files import locate
from lrm_server.engine.protocol import Conversation, FrameSlot, Message
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.heads.catalogue import HeadCatalogue, ModelCard
from lrm_server.heads.manifest import MANIFEST_NAME, read_manifest, served_heads
from lrm_server.heads.profile import Readout
from lrm_server.heads.query import Query, Reply
from lrm_server.heads.scoring import HeadScorer
from tests.engine.chat.vllm_server import MODEL, vllm_server
from tests.engine_host import EngineHost
from tests.rollout_frames import episodes, frame, queries

TOLERANCE = 0.05
HEADS = ("contrastive", "progress", "completion")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """vLLM's OpenAI server, once for all these tests."""
    with vllm_server(tmp_path_factory.mktemp("vllm") / "log") as found:
        yield found


@pytest.fixture(scope="module")
async def remote(url: str) -> AsyncIterator[ChatEngine]:
    """An engine on it, which found out what it can."""
    async with open_chat_engine(ChatOptions(url=url, model=MODEL), {}) as engine:
        yield engine


def scorer_on(engine: ChatEngine) -> HeadScorer:
    heads = served_heads(read_manifest(locate("embedded") / MANIFEST_NAME), {})
    return HeadScorer(engine, HeadCatalogue(heads, ModelCard(MODEL, "", engine.fingerprint)))


async def asked_of(engine: ChatEngine, asked: list[Query]) -> list[Reply]:
    scorer = scorer_on(engine)
    return [await scorer.score(query) for query in asked]


async def test_it_is_found_out_that_it_continues_messages_and_lists_tokens(
    remote: ChatEngine,
) -> None:
    assert remote._abilities.prefill
    assert remote._abilities.top == 20
    assert (await remote.status()).ready


@pytest.mark.parametrize("head", [*HEADS, "tri"])
async def test_the_likelihood_is_the_one_of_our_own_engine(
    served: EngineHost, remote: ChatEngine, head: str
) -> None:
    asked = queries(head, 6)
    ours = served.score_all(asked)
    for there, here in zip(await asked_of(remote, asked), ours, strict=True):
        assert there.readout is Readout.LIKELIHOOD
        assert there.expected == pytest.approx(here.expected, abs=TOLERANCE)
        assert there.probabilities.keys() == here.probabilities.keys()
        for label, probability in here.probabilities.items():
            assert there.probabilities[label] == pytest.approx(probability, abs=TOLERANCE)
        if here.label_mass is not None:
            assert there.label_mass == pytest.approx(here.label_mass, abs=TOLERANCE)
            assert there.label_mass <= 1.0


@pytest.mark.parametrize("head", HEADS)
async def test_labels_read_after_reasoning_are_those_of_our_own_engine(
    served: EngineHost, remote: ChatEngine, head: str
) -> None:
    asked = [replace(query, readout=Readout.REASON_THEN_READ) for query in queries(head, 4)]
    ours = served.score_all(asked)
    for there, here in zip(await asked_of(remote, asked), ours, strict=True):
        for label, probability in here.probabilities.items():
            assert there.probabilities[label] == pytest.approx(probability, abs=TOLERANCE)


@pytest.mark.parametrize("head", HEADS)
async def test_it_writes_the_published_json_as_our_own_engine_does(
    served: EngineHost, remote: ChatEngine, head: str
) -> None:
    asked = [
        replace(query, readout=Readout.GENERATE, return_text=True) for query in queries(head, 4)
    ]
    ours = served.score_all(asked)
    theirs = await asked_of(remote, asked)
    assert all(reply.text and "{" in reply.text for reply in theirs)
    agreed = sum(there.label == here.label for there, here in zip(theirs, ours, strict=True))
    assert agreed >= 3


@pytest.mark.parametrize("head", HEADS)
async def test_without_forcing_the_label_that_it_wrote_is_the_most_probable(
    url: str, remote: ChatEngine, head: str
) -> None:
    asked = queries(head, 4)
    written = await asked_of(remote, [replace(q, readout=Readout.GENERATE) for q in asked])
    options = ChatOptions(url=url, model=MODEL, prefill="no")
    async with open_chat_engine(options, {}) as listing:
        assert not listing._abilities.prefill
        read = await asked_of(listing, asked)
    assert [reply.label for reply in read] == [reply.label for reply in written]
    assert all(reply.label_mass is not None and 0.5 < reply.label_mass <= 1.0 for reply in read)


async def test_a_conversation_is_answered_and_counted(remote: ChatEngine) -> None:
    shown = frame(episodes()[0], 0)
    question = "What is this? Output your answer in the following JSON format:"
    conversation = Conversation(
        messages=(Message("user", (FrameSlot(shown), question)),), max_tokens=4, temperature=0.0
    )
    written = await remote.converse(conversation)
    assert 0 < written.completion_tokens <= 4
    # The frame takes 16 of them.
    assert written.prompt_tokens > 16


async def test_a_model_that_it_does_not_serve_is_told_at_the_start(url: str) -> None:
    with pytest.raises(DomainError) as error:
        async with open_chat_engine(ChatOptions(url=url, model="another"), {}):
            raise AssertionError
    assert error.value.code is ErrorCode.INTERNAL
    assert "another" in error.value.message


async def test_a_question_that_is_too_long_is_refused_in_the_servers_words(
    remote: ChatEngine,
) -> None:
    conversation = Conversation(
        messages=(Message("user", ("Move the cube. " * 3000,)),), max_tokens=4
    )
    with pytest.raises(DomainError) as error:
        await remote.converse(conversation)
    assert error.value.code is ErrorCode.INVALID_ARGUMENT
    assert "4096" in error.value.message
