"""From a question about frames to tokens, and to what identifies each token that is read."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from cachetools import LRUCache

from lrm_server.engine.frame_inputs import FrameInput
from lrm_server.engine.frame_reader import ControlToken, FramePart
from lrm_server.engine.prompt_tokens import IMAGE_TOKEN, VISION, Tokenizer
from lrm_server.engine.protocol import FrameSlot
from lrm_server.engine.robometer.structure import ADDED_TOKENS, PREFERENCE, PROGRESS
from lrm_server.errors import invalid

_NUMBERED: Final = "Picture 1: "


@dataclass(frozen=True, slots=True)
class ReadToken:
    """A token at which heads are read.

    Attributes:
        text: which one.
        position: its place in the prompt, images expanded.
        key: digest of all that it sees: the tokens up to it and the frames among
            them. Attention is causal: equal keys have equal answers.
    """

    text: str
    position: int
    key: bytes


@dataclass(frozen=True, slots=True)
class Turn:
    """A question with its frames, as vLLM takes it.

    Attributes:
        tokens: the ids, each image's token as often as the image has tokens.
        images: where each frame's tokens begin.
        frames: in order.
        read: the tokens at which heads are read, in order.
    """

    tokens: list[int]
    images: list[int]
    frames: Sequence[FrameInput]
    read: list[ReadToken]


class FramePrompts:
    """Writes the user's turn as Robometer was trained on it; tokenises each text once.

    Pictures are numbered, nothing follows the turn. A window that grows by a frame
    tokenises the frame's number alone. Holds the last ``capacity`` prompts (some
    kilobytes each) and as many texts between special tokens; many threads may use it.
    """

    def __init__(self, tokenizer: Tokenizer, capacity: int = 4096) -> None:
        self._tokenizer = tokenizer
        self._image = int(tokenizer.convert_tokens_to_ids(IMAGE_TOKEN))
        self._read = {
            int(tokenizer.convert_tokens_to_ids(text)): text for text in (PROGRESS, PREFERENCE)
        }
        self._reserved = tuple(sorted({*tokenizer.all_special_tokens, IMAGE_TOKEN, *ADDED_TOKENS}))
        # A tokeniser takes out its special tokens first and reads what lies between them by itself.
        self._special = re.compile(f"({'|'.join(map(re.escape, self._reserved))})")

        @lru_cache(capacity)
        def between(text: str) -> tuple[int, ...]:
            return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])

        self._between = between
        self._prompts: LRUCache[tuple[str, ...], tuple[int, ...]] = LRUCache(capacity)
        self._lock = threading.Lock()
        if _NUMBERED not in self._chat([{"type": "image"}]):
            raise invalid(
                "base",
                "the base's chat template does not number pictures (add_vision_id), as Robometer "
                "was trained: use Qwen3-VL's own.",
            )

    def turn(self, parts: Sequence[FramePart], frames: Sequence[FrameInput]) -> Turn:
        """The turn's tokens with its frames in place.

        Raises:
            DomainError: INVALID_ARGUMENT of ``task`` when a text holds one of the
                tokeniser's special tokens.
        """
        turn = Turn([], [], frames, [])
        seen = hashlib.blake2b(digest_size=16)
        left = iter(frames)
        for token in self._prompt(parts):
            if token == self._image:
                frame = next(left)
                seen.update(f"<{frame.key}>".encode())
                turn.images.append(len(turn.tokens))
                turn.tokens.extend([token] * frame.tokens)
                continue
            seen.update(token.to_bytes(4, "little"))
            if (text := self._read.get(token)) is not None:
                turn.read.append(ReadToken(text, len(turn.tokens), seen.copy().digest()))
            turn.tokens.append(token)
        return turn

    def _prompt(self, parts: Sequence[FramePart]) -> tuple[int, ...]:
        """The turn's tokens, each image one token."""
        key = tuple(_identity(part) for part in parts)
        with self._lock:
            if (found := self._prompts.get(key)) is not None:
                return found
        prompt = tuple(self._tokens(parts))
        with self._lock:
            self._prompts[key] = prompt
        return prompt

    def _tokens(self, parts: Sequence[FramePart]) -> list[int]:
        content: list[dict[str, str]] = []
        for part in parts:
            if isinstance(part, FrameSlot):
                content.append({"type": "image"})
                continue
            text = part.text if isinstance(part, ControlToken) else self._plain(part)
            content.append({"type": "text", "text": text})
        chat = self._chat(content)
        if chat.count(VISION) != sum(isinstance(part, FrameSlot) for part in parts):
            raise invalid("base", f"the base's chat template does not write an image as {VISION}.")
        return [token for text in self._special.split(chat) for token in self._between(text)]

    def _plain(self, text: str) -> str:
        for token in self._reserved:
            if token in text:
                raise invalid(
                    "task",
                    f"the task holds {token}, which is a control token of the model: leave it out.",
                )
        return text

    def _chat(self, content: list[dict[str, str]]) -> str:
        return str(
            self._tokenizer.apply_chat_template(
                [{"role": "user", "content": content}],
                tokenize=False,
                add_generation_prompt=False,
                add_vision_id=True,
            )
        )


def _identity(part: FramePart) -> str:
    """What distinguishes a part's tokens from another's; frames are alike."""
    if isinstance(part, FrameSlot):
        return "frame"
    return f"control {part.text}" if isinstance(part, ControlToken) else f"text {part}"
