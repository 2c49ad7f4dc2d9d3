"""From a question to tokens: the chat template, the answer slot, the labels' paths.

Prefix and label are tokenised together with all that precedes them, as the
model would write them, because a space or a quote can merge into a label's
first token. The slot is where the labels' token sequences part from each other
and from the prefix alone.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cachetools import LRUCache

from lrm_server.engine.label_trie import LabelTrie, Path, build_trie
from lrm_server.engine.protocol import AnswerForm, FrameSlot, Message, TurnPart, VideoSlot
from lrm_server.errors import invalid

IMAGE_TOKEN = "<|image_pad|>"  # noqa: S105 - a token of text
VIDEO_TOKEN = "<|video_pad|>"  # noqa: S105 - a token of text
VISION_START = "<|vision_start|>"
VISION_END = "<|vision_end|>"
VISION = f"{VISION_START}{IMAGE_TOKEN}{VISION_END}"
VIDEO = f"{VISION_START}{VIDEO_TOKEN}{VISION_END}"


class Tokenizer(Protocol):
    """What is asked of a fast Hugging Face tokeniser."""

    is_fast: bool
    all_special_tokens: list[str]

    def __call__(self, text: str, **options: Any) -> Any:
        """Token ids, and with ``return_offsets_mapping`` their places in the text."""
        ...

    def apply_chat_template(self, conversation: list[dict[str, Any]], **options: Any) -> Any:
        """The conversation as the checkpoint's template writes it."""
        ...

    def convert_tokens_to_ids(self, tokens: str) -> Any:
        """The id of a token."""
        ...


@dataclass(frozen=True, slots=True)
class Prompt:
    """Tokens of a turn; each image or video is one token that stands for all of its own.

    Attributes:
        tokens: the ids.
        media: where in ``tokens`` the images and videos stand, in order.
    """

    tokens: tuple[int, ...]
    media: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ForcedAnswer:
    """A prompt up to the answer slot, and the labels that are read there."""

    prompt: Prompt
    trie: LabelTrie


class PromptTokens:
    """Tokenises questions, each text once.

    Holds the prompts that were used last, up to ``capacity`` tokens (some 40 bytes
    each) of either kind, in caches that many threads may use.
    """

    def __init__(self, tokenizer: Tokenizer, capacity: int = 2**20) -> None:
        if not tokenizer.is_fast:
            raise invalid(
                "model", "the checkpoint's tokeniser gives no offsets: it needs a tokenizer.json."
            )
        self._tokenizer = tokenizer
        self._media = frozenset(
            int(tokenizer.convert_tokens_to_ids(token)) for token in (IMAGE_TOKEN, VIDEO_TOKEN)
        )
        self._reserved = tuple(sorted({*tokenizer.all_special_tokens, IMAGE_TOKEN, VIDEO_TOKEN}))
        self._forced: LRUCache[Any, ForcedAnswer] = LRUCache(
            capacity, getsizeof=lambda answer: len(answer.prompt.tokens)
        )
        self._open: LRUCache[Any, Prompt] = LRUCache(
            capacity, getsizeof=lambda prompt: len(prompt.tokens)
        )
        self._lock = threading.Lock()

    def forced(self, parts: Sequence[TurnPart], form: AnswerForm) -> ForcedAnswer:
        """The prompt up to the slot after the answer prefix.

        Raises:
            DomainError: INVALID_ARGUMENT of ``task`` when the text holds one of
                the tokeniser's special tokens; LABEL_SET_TOO_LARGE.
        """
        key = (_texts(parts), form)
        with self._lock:
            if (found := self._forced.get(key)) is not None:
                return found
        chat = self._chat(parts, closed=not form.in_user_turn)
        answer = self._read_at_slot(chat + form.prefix, form)
        with self._lock:
            self._forced[key] = answer
        return answer

    def open_ended(self, parts: Sequence[TurnPart]) -> Prompt:
        """The prompt at whose end the model begins to write. Raises as ``forced``."""
        key = _texts(parts)
        with self._lock:
            if (found := self._open.get(key)) is not None:
                return found
        prompt = self._prompt(self._encode(self._chat(parts))[0])
        with self._lock:
            self._open[key] = prompt
        return prompt

    def after(self, parts: Sequence[TurnPart], written: str, form: AnswerForm) -> ForcedAnswer:
        """The prompt up to the slot after what the model wrote, where it was stopped."""
        rest = form.prefix.partition(form.stop)[2]
        return self._read_at_slot(self._chat(parts) + written + form.stop + rest, form)

    def conversation(self, messages: Sequence[Message]) -> Prompt:
        """The prompt at whose end the model writes the next turn.

        Raises:
            DomainError: INVALID_ARGUMENT of ``messages[i]`` when a text holds one of the
                tokeniser's special tokens.
        """
        chat = self._templated(
            [
                (message.role, self._content(message.parts, f"messages[{at}]"))
                for at, message in enumerate(messages)
            ]
        )
        return self._prompt(self._encode(chat)[0])

    def _chat(self, parts: Sequence[TurnPart], *, closed: bool = True) -> str:
        """The conversation up to the assistant's turn; not closed, up to the user's last word."""
        content = self._content(parts, "task")
        chat = self._templated([("user", content)], answered=closed)
        return chat if closed else _open_end(chat, content)

    def _content(self, parts: Sequence[TurnPart], field: str) -> list[dict[str, str]]:
        """A turn as chat templates take it; ``field`` is where its texts came from."""
        content: list[dict[str, str]] = []
        for part in parts:
            if isinstance(part, FrameSlot):
                content.append({"type": "image"})
                continue
            if isinstance(part, VideoSlot):
                content.append({"type": "video"})
                continue
            for token in self._reserved:
                if token in part:
                    raise invalid(
                        field,
                        f"{field} holds {token}, which is a control token of the model: "
                        "leave it out.",
                    )
            content.append({"type": "text", "text": part})
        return content

    def _templated(
        self, turns: Sequence[tuple[str, list[dict[str, str]]]], *, answered: bool = True
    ) -> str:
        """Turns as the checkpoint's template writes them, and the begin of the assistant's."""
        chat = self._tokenizer.apply_chat_template(
            [{"role": role, "content": content} for role, content in turns],
            tokenize=False,
            add_generation_prompt=answered,
        )
        for kind, written in (("image", VISION), ("video", VIDEO)):
            wanted = sum(each["type"] == kind for _, content in turns for each in content)
            if not isinstance(chat, str) or chat.count(written) != wanted:
                raise invalid(
                    "model",
                    f"the checkpoint's chat template does not write an {kind} as {written}: "
                    "lrm reads Qwen-VL templates.",
                )
        return str(chat)

    def _encode(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return list(encoded["input_ids"]), list(encoded["offset_mapping"])

    def _prompt(self, tokens: Sequence[int]) -> Prompt:
        media = tuple(at for at, token in enumerate(tokens) if token in self._media)
        return Prompt(tuple(tokens), media)

    def _read_at_slot(self, base: str, form: AnswerForm) -> ForcedAnswer:
        sequences: list[list[int]] = []
        ends: list[int] = []
        for label in form.labels:
            tokens, offsets = self._encode(base + label + form.terminator)
            last = len(base) + len(label)
            ends.append(next(at for at, (_, stop) in enumerate(offsets, 1) if stop >= last))
            sequences.append(tokens)
        slot = _common_length([*sequences, self._encode(base)[0]])
        paths = _separate(sequences, slot, ends)
        return ForcedAnswer(self._prompt(sequences[0][:slot]), build_trie(paths))


def _open_end(chat: str, content: Sequence[Mapping[str, str]]) -> str:
    """A conversation without what closes the user's turn."""
    last = content[-1]["text"] if content and "text" in content[-1] else ""
    end = chat.rfind(last) + len(last) if last else -1
    # A frame can be last too: what the template writes after it is then unknown.
    if end < 0:
        raise invalid("profile", "a turn that stays open must end with words.")
    return chat[:end]


def _texts(parts: Sequence[TurnPart]) -> tuple[str | type, ...]:
    """What identifies a turn's tokens: its texts, and where frames and videos stand."""
    return tuple(part if isinstance(part, str) else type(part) for part in parts)


def _common_length(sequences: Sequence[Sequence[int]]) -> int:
    """How many tokens all sequences begin with in common."""
    length = 0
    for column in zip(*sequences, strict=False):
        if len(set(column)) > 1:
            break
        length += 1
    return length


def _separate(sequences: Sequence[Sequence[int]], slot: int, ends: Sequence[int]) -> list[Path]:
    """Token paths from the slot to the labels' ends, longer where one begins another.

    With a single label the sequences have all in common: its path is what lies
    between the prefix and its end.
    """
    ends = [max(end, slot + 1) for end in ends]
    paths = [tuple(tokens[slot:end]) for tokens, end in zip(sequences, ends, strict=True)]
    clash = True
    while clash:
        clash = False
        for at, path in enumerate(paths):
            others = paths[:at] + paths[at + 1 :]
            if any(other[: len(path)] == path for other in others):
                paths[at] = tuple(sequences[at][slot : slot + len(path) + 1])
                if paths[at] == path:
                    raise invalid(
                        "profile", "two labels are one to the tokeniser: give them a terminator."
                    )
                clash = True
    return paths
