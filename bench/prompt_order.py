"""What of a prompt an episode's later queries find computed, by the order of the prompt's parts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.learner import TASK
from lrm_server.engine.prompt_tokens import PromptTokens
from lrm_server.engine.protocol import FrameSlot, TurnPart
from lrm_server.frames import Encoding, FrameLimits, open_frame
from lrm_server.heads.profile import LabelProfile, Role
from lrm_server.heads.prompt import render_turn
from lrm_server.heads.question import answer_form

CONSTANT = (Role.INITIAL, Role.GOAL)
"""Frames that all queries of an episode show."""

_FRAME = re.compile(rf"<(?:{'|'.join(Role)})>")


@dataclass(frozen=True)
class Prefix:
    """Tokens of one question in an episode.

    Attributes:
        prompt: all of them.
        constant: those before the first frame that changes.
    """

    prompt: int
    constant: int

    def computed(self, block: int) -> int:
        """What is left when whole blocks of the constant part are known."""
        return self.prompt - self.constant // block * block


def prefix(profile: LabelProfile, prompts: PromptTokens, frame_tokens: int) -> Prefix:
    """The tokens of a profile's question about frames of so many tokens each."""
    initial = [role for role in profile.optional_frames if role is Role.INITIAL]
    roles = [*profile.required_frames, *initial]
    turn = render_turn(profile, TASK, roles)
    blank = open_frame(bytes(64 * 64 * 3), Encoding.RAW, FrameLimits(), height=64, width=64)
    parts: list[TurnPart] = [
        FrameSlot(blank) if isinstance(p, Role) else str(p) for p in turn.parts
    ]
    asked = prompts.forced(parts, answer_form(profile)).prompt
    more = frame_tokens - 1
    changing = next(n for n, role in enumerate(turn.roles) if role not in CONSTANT)
    return Prefix(
        len(asked.tokens) + more * len(asked.media), asked.media[changing] + more * changing
    )


def frames_last(profile: LabelProfile) -> LabelProfile:
    """The same words with all frames behind them; a checkpoint must be trained on this order."""
    pieces = [
        part.model_copy(update={"text": f"{paragraph}\n\n"})
        for part in profile.prompt
        for paragraph in part.text.split("\n\n")
        if paragraph.strip()
    ]
    pieces.sort(key=lambda part: _FRAME.search(part.text) is not None)
    return profile.model_copy(update={"prompt": tuple(pieces)})


def orders(
    profiles: Sequence[LabelProfile], prompts: PromptTokens, frame_tokens: Sequence[int]
) -> Iterator[tuple[str, int, Prefix, Prefix]]:
    """Head, tokens of a frame, and the prefixes as published and with the frames last."""
    for profile in profiles:
        for tokens in frame_tokens:
            yield (
                profile.head,
                tokens,
                prefix(profile, prompts, tokens),
                prefix(frames_last(profile), prompts, tokens),
            )
