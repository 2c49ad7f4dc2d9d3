"""The heads' engine on a chat endpoint: questions to chats, completions to label readings."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, TypeAlias

from lrm_server import deadlines
from lrm_server.engine.admission import Admission, Place
from lrm_server.engine.chat.abilities import Abilities
from lrm_server.engine.chat.branches import resolve, settled
from lrm_server.engine.chat.completions import Completion, parse_completion
from lrm_server.engine.chat.endpoint import Endpoint
from lrm_server.engine.chat.failures import broken_answer
from lrm_server.engine.chat.images import ImageUrls
from lrm_server.engine.chat.label_walk import LabelBytes, Walk, walk
from lrm_server.engine.chat.liveness import Liveness
from lrm_server.engine.chat.messages import ChatMessage, assistant_message, chat_message
from lrm_server.engine.chat.slot import find_slot
from lrm_server.engine.protocol import (
    AnswerForm,
    Conversation,
    EngineStatus,
    EngineTimings,
    Generation,
    LabelReading,
    Message,
    Question,
    Written,
    frames_of,
)
from lrm_server.errors import DomainError, ErrorCode, invalid

TokenObserver: TypeAlias = Callable[[str, int, int], None]
"""Told the model, the prompt's tokens and the written tokens of every request."""


@dataclass(slots=True)
class _Asked:
    """A question on its way, and where its time went so far."""

    model: str
    messages: list[ChatMessage]
    deadline: float | None
    decode_ms: float
    queued_ms: float
    began: float
    waited_ms: float = 0.0

    def timings(self) -> EngineTimings:
        spent_ms = 1000 * (time.monotonic() - self.began)
        waited_ms = min(self.waited_ms, spent_ms)
        return EngineTimings(self.decode_ms, self.queued_ms + waited_ms, spent_ms - waited_ms)


class ChatEngine:
    """Implements ``engine.protocol.Engine`` on one endpoint.

    Where the endpoint continues a message that was begun for it (vLLM, SGLang), the
    readout ``likelihood`` forces the answer prefix as the engine in this process does.
    Where it only lists alternatives (OpenAI), the model writes its answer itself and
    the labels are read where it wrote one, given all that it wrote before. Where it
    lists none, only ``generate`` is left.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        model: str,
        adapters: Mapping[str, str],
        abilities: Abilities,
        images: ImageUrls,
        admission: Admission,
        fingerprint: str,
        observe: TokenObserver,
    ) -> None:
        self._endpoint = endpoint
        self._model = model
        self._adapters = dict(adapters)
        self._abilities = abilities
        self._images = images
        self._admission = admission
        self._fingerprint = fingerprint
        self._observe = observe
        self._liveness = Liveness(endpoint)

    @property
    def fingerprint(self) -> str:
        """The endpoint's name for the model, and a digest of its host.

        It tells endpoints and names apart, not weights: what stands behind a name can
        change without a sign.
        """
        return self._fingerprint

    @property
    def adapters(self) -> Mapping[str, str]:
        """Adapter name -> the endpoint's name for the model with it."""
        return self._adapters

    @property
    def reads_labels(self) -> bool:
        """Whether probabilities of labels can be had; else ``generate`` is the only readout."""
        return self._abilities.top > 0

    async def status(self) -> EngineStatus:
        """Asks the endpoint for its models, at most every few seconds."""
        return self._admission.status(await self._liveness.reason())

    async def read_forced(self, question: Question) -> LabelReading:
        """Reads the labels after the forced prefix, or where the model wrote its answer."""
        self._check_reads_labels(question)
        form = question.form
        if form.prefix and not self._abilities.prefill:
            return await self._read_written(question)
        async with self._enter(question) as place:
            asked = await self._ask(question, place)
            labels = LabelBytes(form)
            # One more, because the template may have cut the prefix's last space.
            most = min(labels.deciding_length + 1, form.max_tokens)
            completion = await self._complete(asked, form.prefix, most, listed=True)
            self._check_listed(completion)
            read = Walk([0.0] * len(labels))
            walk(labels, completion.positions, read)
            await self._resolve(asked, form, form.prefix, labels, read)
            return LabelReading(settled(read, self._abilities.top), "", asked.timings())

    async def read_after_reasoning(self, question: Question) -> LabelReading:
        """Lets the model write its whole answer and reads the labels at the slot in it."""
        self._check_reads_labels(question)
        return await self._read_written(question)

    async def generate(self, question: Question) -> Generation:
        """Lets the model write its whole answer."""
        self._check_turn(question.form)
        async with self._enter(question) as place:
            asked = await self._ask(question, place)
            completion = await self._complete(asked, "", question.form.max_tokens)
            if not completion.text:
                raise _nothing_written(completion)
            complete = completion.finish_reason == "stop"
            return Generation(completion.text, complete, asked.timings())

    async def converse(self, conversation: Conversation) -> Written:
        """Lets the model write the next turn of a conversation."""
        asking = conversation
        async with self._enter(asking) as place:
            asked = await self._ask(asking, place)
            how = self._abilities
            body = {
                **how.request(asked.model, asked.messages, asking.max_tokens),
                **how.sampled(asking.temperature, asking.top_p, asking.seed, asking.stop),
            }
            completion = await self._send(asked, body)
            if not completion.text and completion.refusal:
                raise _nothing_written(completion)
            return Written(
                text=completion.text,
                finish_reason="length" if completion.finish_reason == "length" else "stop",
                prompt_tokens=completion.prompt_tokens,
                completion_tokens=completion.completion_tokens,
                timings=asked.timings(),
            )

    async def _read_written(self, question: Question) -> LabelReading:
        form = question.form
        async with self._enter(question) as place:
            asked = await self._ask(question, place)
            completion = await self._complete(asked, "", form.max_tokens, listed=True)
            self._check_listed(completion)
            slot = find_slot([position.token for position in completion.positions], form)
            labels = LabelBytes(form)
            read = Walk([0.0] * len(labels))
            walk(labels, completion.positions[slot.token :], read, lead=slot.lead)
            if self._abilities.prefill:
                await self._resolve(asked, form, slot.before, labels, read)
            logprobs = settled(read, self._abilities.top)
            return LabelReading(logprobs, slot.reasoning, asked.timings())

    async def _resolve(
        self, asked: _Asked, form: AnswerForm, before: str, labels: LabelBytes, read: Walk
    ) -> None:
        most = min(labels.deciding_length, form.max_tokens)

        async def continued(text: str) -> Completion:
            return await self._complete(asked, before + text, most, listed=True)

        await resolve(labels, read, continued)

    def _enter(self, question: Question | Conversation) -> AbstractAsyncContextManager[Place]:
        return self._admission.enter(question.deadline, frames_of(question.parts))

    async def _ask(self, question: Question | Conversation, place: Place) -> _Asked:
        model = self._model
        if question.adapter is not None:
            if question.adapter not in self._adapters:
                raise invalid("head", f"adapter {question.adapter!r} is not served.")
            model = self._adapters[question.adapter]
        began = time.monotonic()
        turns = (
            question.messages
            if isinstance(question, Conversation)
            else (Message("user", question.parts),)
        )
        messages = await asyncio.gather(
            *(chat_message(turn.role, turn.parts, self._images.get) for turn in turns)
        )
        deadlines.check(question.deadline)
        now = time.monotonic()
        decode_ms = 1000 * (now - began)
        return _Asked(model, list(messages), question.deadline, decode_ms, place.waited_ms, now)

    async def _complete(
        self, asked: _Asked, begun: str, max_tokens: int, *, listed: bool = False
    ) -> Completion:
        """One request; ``begun`` is what stands in the assistant's turn already."""
        messages = [*asked.messages, assistant_message(begun)] if begun else asked.messages
        body = self._abilities.request(asked.model, messages, max_tokens, listed=listed)
        return await self._send(asked, body)

    async def _send(self, asked: _Asked, body: dict[str, Any]) -> Completion:
        answer = await self._endpoint.post("chat/completions", body, asked.deadline)
        asked.waited_ms += answer.waited_ms
        completion = parse_completion(answer.content, self._endpoint.host)
        self._observe(asked.model, completion.prompt_tokens, completion.completion_tokens)
        return completion

    def _check_reads_labels(self, question: Question) -> None:
        self._check_turn(question.form)
        if not self.reads_labels:
            raise invalid(
                "readout",
                f"the endpoint {self._endpoint.host} gives no log-probabilities for "
                f"{self._model}, so labels have no probabilities: use the readout generate.",
            )

    def _check_listed(self, completion: Completion) -> None:
        if completion.positions:
            return
        if completion.text:
            raise broken_answer(
                self._endpoint.host, "it holds no log-probabilities, though it did at the start"
            )
        raise _nothing_written(completion)

    def _check_turn(self, form: AnswerForm) -> None:
        if form.in_user_turn:
            raise invalid(
                "head",
                "this head reads its answer in the user's turn, which a chat endpoint always "
                "closes: serve it from a checkpoint in this process.",
            )


def _nothing_written(completion: Completion) -> DomainError:
    why = re.sub(r"\s+", " ", completion.refusal)[:200] or completion.finish_reason or "no reason"
    return DomainError(
        ErrorCode.ANSWER_NOT_REACHED, f"the model behind the endpoint wrote no answer ({why})."
    )
