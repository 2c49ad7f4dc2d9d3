"""The prompts and answers that the checkpoint is trained on.

The server's own rendering of its own profiles.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING, Final

from lrm_server.heads.library import load_profile
from lrm_server.heads.profile import LabelProfile, Role
from lrm_server.heads.prompt import render_turn

if TYPE_CHECKING:
    from transformers import Qwen2Tokenizer

# Head -> profile of the server.
PROFILES: Final[dict[str, str]] = {
    "contrastive": "lrm_contrastive",
    "progress": "lrm_progress",
    "completion": "lrm_completion",
}
# How an image stands in the text, once the chat template has placed it; one pad token becomes the
# image's tokens.
IMAGE: Final = "<|vision_start|><|image_pad|><|vision_end|>"


@dataclass(frozen=True)
class Prompt:
    """A rendered prompt.

    Attributes:
        text: the whole conversation up to the assistant's turn, images as IMAGE.
        roles: which frame each image is, in order.
    """

    text: str
    roles: tuple[Role, ...]


@cache
def profile_of(head: str) -> LabelProfile:
    """The server's profile of a head."""
    profile = load_profile(PROFILES[head])
    if not isinstance(profile, LabelProfile):
        raise TypeError(f"{profile.name} asks no question of its own")
    return profile


def prompt(head: str, task: str, roles: frozenset[Role]) -> Prompt:
    """The prompt of a head for a task's text and the frames that are present.

    The conversation around the user's turn is Qwen's chat template written out; tests/training
    compares it with the template that the tokenizer carries.
    """
    turn = render_turn(profile_of(head), task, roles)
    content = "".join(IMAGE if isinstance(part, Role) else part for part in turn.parts)
    return Prompt(f"<|im_start|>user\n{content}<|im_end|>\n<|im_start|>assistant\n", turn.roles)


def answer(head: str, label: str) -> str:
    """The answer as the model writes it, for a label as it is written ("0.7", "ImageA", "yes")."""
    profile = profile_of(head)
    return f"{profile.answer_prefix}{label}{profile.terminator}"


def written_labels(head: str) -> tuple[str, ...]:
    """A head's labels as the model writes them, in the profile's order."""
    return tuple(label.written for label in profile_of(head).labels)


def constant_texts() -> list[str]:
    """Every stretch of the prompts and of the answers' frames that no query changes."""
    mark = "\0"
    texts: set[str] = set()
    for head in PROFILES:
        profile = profile_of(head)
        for count in range(len(profile.optional_frames) + 1):
            for optional in combinations(profile.optional_frames, count):
                turn = render_turn(profile, mark, {*profile.required_frames, *optional})
                for part in turn.parts:
                    if not isinstance(part, Role):
                        texts.update(piece for piece in part.split(mark) if piece)
        texts.update((profile.answer_prefix, profile.terminator))
    return sorted(texts)


def label_tokens(tokenizer: Qwen2Tokenizer) -> dict[str, list[int]]:
    """Head -> the token of each of its labels, in the profile's order.

    Raises:
        ValueError: when a label is not one token right after the answer's prefix.
    """
    found = {}
    for head in PROFILES:
        prefix = tokenizer(profile_of(head).answer_prefix).input_ids
        ids = []
        for label in written_labels(head):
            whole = tokenizer(answer(head, label)).input_ids
            if whole[: len(prefix)] != prefix or len(whole) != len(prefix) + 2:
                raise ValueError(f"label {label!r} of {head} is not one token after its prefix")
            ids.append(whole[len(prefix)])
        found[head] = ids
    return found
