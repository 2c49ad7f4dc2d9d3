"""The engine: questions to vLLM requests, vLLM's answers to label readings."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import lru_cache

from vllm import SamplingParams
from vllm.inputs import MultiModalInput, TokensInput
from vllm.lora.request import LoRARequest
from vllm.outputs import RequestOutput
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.async_llm import AsyncLLM

from lrm_server import deadlines
from lrm_server.engine.admission import Admission, Place
from lrm_server.engine.label_trie import Node
from lrm_server.engine.media_inputs import MediaInput, MediaInputs, as_request
from lrm_server.engine.prompt_tokens import ForcedAnswer, Prompt, PromptTokens
from lrm_server.engine.protocol import (
    NO_TOKENS,
    Conversation,
    EngineStatus,
    EngineTimings,
    FrameSlot,
    Generation,
    LabelReading,
    Question,
    TokenCounts,
    VideoSlot,
    Written,
    frames_of,
)
from lrm_server.engine.sent_media import SentMedia
from lrm_server.engine.supervision import SupervisedLLM, unavailable
from lrm_server.engine.vllm_requests import VLLM_PRIORITY, last_of, sampling, token_counts
from lrm_server.errors import DomainError, ErrorCode, invalid
from lrm_server.together import together


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question on its way, and where its time went so far."""

    place: Place
    media: list[MediaInput]
    lora: LoRARequest | None
    decode_ms: float
    started: float

    def timings(self, outputs: Sequence[RequestOutput]) -> EngineTimings:
        """Waiting in the core counts from its own clock; the rest of the way is the engine's."""
        waits = [
            max(0.0, output.metrics.scheduled_ts - output.metrics.queued_ts)
            for output in outputs
            if output.metrics is not None and output.metrics.scheduled_ts
        ]
        queue_ms = 1000 * max(waits, default=0.0)
        spent_ms = 1000 * (time.monotonic() - self.started)
        engine_ms = max(0.0, spent_ms - queue_ms)
        return EngineTimings(self.decode_ms, self.place.waited_ms + queue_ms, engine_ms)


class VllmEngine:
    """Implements ``engine.protocol.Engine`` on one supervised vLLM.

    Args:
        llm: the engine's process, started again when it ends.
        prompts: tokenises questions.
        media: prepares frames and videos.
        admission: the queue before it.
        adapters: name -> LoRA adapter that is loaded.
        fingerprint: of weights, adapters and preparation.
        max_model_len: tokens of a prompt and its answer, at most.
        core_bytes: of patches that the engine's process keeps; 0 for none.
    """

    def __init__(
        self,
        llm: SupervisedLLM,
        prompts: PromptTokens,
        media: MediaInputs,
        admission: Admission,
        adapters: Mapping[str, LoRARequest],
        fingerprint: str,
        max_model_len: int,
        core_bytes: int,
    ) -> None:
        self._llm = llm
        self._prompts = prompts
        self._media = media
        self._admission = admission
        self._adapters = adapters
        self._fingerprint = fingerprint
        self._max_model_len = max_model_len
        self._core_bytes = core_bytes
        self._sent: tuple[AsyncLLM, SentMedia] | None = None
        self._ids = itertools.count()

    @property
    def fingerprint(self) -> str:
        """Identifies the weights, adapters and preparation of frames."""
        return self._fingerprint

    @property
    def adapters(self) -> Mapping[str, str]:
        """Adapter name -> folder of those that are loaded."""
        return {name: request.lora_path for name, request in self._adapters.items()}

    async def status(self) -> EngineStatus:
        """Asks the engine's core, not a flag beside it."""
        return self._admission.status(await self._llm.trouble())

    async def read_forced(self, question: Question) -> LabelReading:
        """Forces the answer prefix and reads the labels at the slot."""
        async with self._enter(question) as place:
            forced = self._prompts.forced(question.parts, question.form)
            asked = await self._ask(question, place)
            return await self._read(forced, asked)

    async def read_after_reasoning(self, question: Question) -> LabelReading:
        """Lets the model write up to the prefix, then reads the labels at the slot."""
        form = question.form
        async with self._enter(question) as place:
            prompt = self._prompts.open_ended(question.parts)
            asked = await self._ask(question, place)
            output = await self._write(prompt, asked, self._writing(question, [form.stop]))
            written = output.outputs[0]
            if written.stop_reason != form.stop:
                raise DomainError(
                    ErrorCode.ANSWER_NOT_REACHED,
                    f"the model did not come to {form.stop!r} within {form.max_tokens} tokens; "
                    f"it ended with {written.text[-80:]!r}. Use a checkpoint that reasons in this "
                    "form, or the readout likelihood.",
                )
            forced = self._prompts.after(question.parts, written.text, form)
            text = written.text.rstrip("{ \n")
            return await self._read(forced, asked, text, token_counts([output], writing=True))

    async def generate(self, question: Question) -> Generation:
        """Lets the model write its whole answer."""
        async with self._enter(question) as place:
            prompt = self._prompts.open_ended(question.parts)
            asked = await self._ask(question, place)
            output = await self._write(prompt, asked, self._writing(question, []))
            written = output.outputs[0]
            return Generation(
                written.text,
                written.finish_reason == "stop",
                asked.timings([output]),
                token_counts([output], writing=True),
            )

    async def converse(self, conversation: Conversation) -> Written:
        """Lets the model write the next turn of a conversation."""
        async with self._enter(conversation) as place:
            prompt = self._prompts.conversation(conversation.messages)
            asked = await self._ask(conversation, place)
            output = await self._write(prompt, asked, sampling(conversation))
            written = output.outputs[0]
            return Written(
                text=written.text,
                finish_reason="length" if written.finish_reason == "length" else "stop",
                prompt_tokens=len(output.prompt_token_ids or ()),
                completion_tokens=len(written.token_ids),
                timings=asked.timings([output]),
            )

    def _enter(self, question: Question | Conversation) -> AbstractAsyncContextManager[Place]:
        return self._admission.enter(question.deadline, frames_of(question.parts))

    async def _ask(self, question: Question | Conversation, place: Place) -> _Asked:
        lora = None
        if question.adapter is not None:
            lora = self._adapters.get(question.adapter)
            if lora is None:
                raise invalid("head", f"adapter {question.adapter!r} is not loaded.")
        began = time.monotonic()
        slots = [part for part in question.parts if isinstance(part, FrameSlot | VideoSlot)]
        media = await self._media.get_all(slots)
        # Frames may have waited for threads: nothing that is too late goes further.
        deadlines.check(question.deadline)
        now = time.monotonic()
        return _Asked(place, media, lora, 1000 * (now - began), now)

    async def _read(
        self, forced: ForcedAnswer, asked: _Asked, text: str = "", before: TokenCounts = NO_TOKENS
    ) -> LabelReading:
        """The labels at the slot; ``before`` counts what was written on the way there."""
        outputs = await together(
            self._run(forced.prompt, node.before, asked, reading(node))
            for node in forced.trie.nodes
        )
        read = []
        for node, output in zip(forced.trie.nodes, outputs, strict=True):
            positions = output.outputs[0].logprobs
            if not positions:
                raise unavailable("the engine returned no log-probabilities")
            read.append({token: positions[0][token].logprob for token in node.children})
        tokens = token_counts(outputs)
        asked.place.took(tokens.computed)
        return LabelReading(
            forced.trie.combine(read), text, asked.timings(outputs), before + tokens
        )

    def _writing(self, question: Question, stop: list[str]) -> SamplingParams:
        return SamplingParams(
            max_tokens=question.form.max_tokens,
            temperature=0.0,
            stop=stop,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    async def _write(self, prompt: Prompt, asked: _Asked, params: SamplingParams) -> RequestOutput:
        """Lets the model write: a step of the engine for each token."""
        output = await self._run(prompt, (), asked, params)
        tokens = token_counts([output], writing=True)
        asked.place.took(tokens.computed + tokens.written, max(1, tokens.written))
        return output

    async def _run(
        self, prompt: Prompt, more: Sequence[int], asked: _Asked, params: SamplingParams
    ) -> RequestOutput:
        """Sends one request and waits for its end; cancelling aborts it in the engine."""
        placed = self._media.place(prompt, asked.media)
        length = len(placed.tokens) + len(more)
        if length >= self._max_model_len:
            raise invalid(
                "",
                f"the question takes {length} tokens and the limit is {self._max_model_len}: "
                "send smaller frames or a shorter task, or raise max_model_len.",
            )
        llm, sent = self._current()
        final = await sent.ask(
            asked.media,
            lambda items: self._send(
                llm, as_request(placed, more, asked.media, items), asked, params
            ),
            lambda output: output.outputs[0].finish_reason == "error",
        )
        if not final.finished or final.outputs[0].finish_reason in ("abort", "error"):
            raise unavailable("the engine dropped the question")
        return final

    def _current(self) -> tuple[AsyncLLM, SentMedia]:
        """The engine that runs, and what it was sent: one that is started again has nothing."""
        llm = self._llm.current()
        if self._sent is None or self._sent[0] is not llm:
            self._sent = llm, SentMedia(self._core_bytes)
        return self._sent

    async def _send(
        self,
        llm: AsyncLLM,
        request: MultiModalInput | TokensInput,
        asked: _Asked,
        params: SamplingParams,
    ) -> RequestOutput:
        return await last_of(
            llm.generate(
                request,
                params,
                f"lrm-{next(self._ids)}",
                lora_request=asked.lora,
                priority=VLLM_PRIORITY[asked.place.caller.priority],
            )
        )


@lru_cache(4096)
def reading(node: Node) -> SamplingParams:
    """Asks for the log-probabilities of a node's children, and no text.

    Made once for each node, because vLLM checks the parameters whenever they are
    made. It works on copies of them, and on what it writes there: shallow ones do.
    """
    return SamplingParams(
        max_tokens=1,
        temperature=0.0,
        logprob_token_ids=list(node.children),
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
        skip_clone=True,
    )
