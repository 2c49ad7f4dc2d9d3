"""From a profile, a task and the roles that are present to the user's turn.

The turn is a list of texts and frame slots in the order in which the model sees
them; the chat template around it belongs to the checkpoint.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum

from lrm_server.heads.profile import WINDOW, AskingProfile, Role

_PLACEHOLDER = re.compile(
    r"(\{(?:task|scene|subtasks)\}|<(?:initial|previous|current|goal|window)>)"
)


class Place(Enum):
    """A place in a turn where more than one frame stands."""

    WINDOW = "window"


@dataclass(frozen=True, slots=True)
class Turn:
    """The user's turn: texts (str), slots of frames (Role) and of a window (Place) in order."""

    parts: tuple[str | Role | Place, ...]

    @property
    def roles(self) -> tuple[Role, ...]:
        """The frame slots, in order."""
        return tuple(part for part in self.parts if isinstance(part, Role))


def render_turn(
    profile: AskingProfile,
    task: str,
    present: Collection[Role],
    more: Mapping[str, str] = {},
) -> Turn:
    """Fills a profile's prompt.

    Args:
        profile: whose prompt is rendered.
        task: the task in words, inserted as it is: what it holds is never read
            as a placeholder.
        present: roles whose frames the query has.
        more: what stands for ``{scene}`` and ``{subtasks}``, inserted as the task is.

    Returns:
        Texts and slots; neighbouring texts are joined, texts of white space
        alone are dropped (the published services do the same).
    """
    parts: list[str | Role | Place] = []
    text: list[str] = []

    def flush() -> None:
        joined = "".join(text)
        text.clear()
        if joined.strip():
            parts.append(joined.strip() if profile.strip_text else joined)

    for piece in profile.prompt:
        if piece.when is not None and piece.when not in present:
            continue
        if piece.unless is not None and piece.unless in present:
            continue
        for token in _PLACEHOLDER.split(piece.text):
            if token == "{task}":  # noqa: S105 - a placeholder, not a secret
                text.append(task)
            elif token.startswith("{") and _PLACEHOLDER.fullmatch(token):
                text.append(more[token[1:-1]])
            elif token == WINDOW:
                flush()
                parts.append(Place.WINDOW)
            elif _PLACEHOLDER.fullmatch(token):
                flush()
                parts.append(Role(token[1:-1]))
            else:
                text.append(token)
    flush()
    if profile.window is not None and profile.window.place != "prompt":
        parts.insert(0 if profile.window.place == "first" else len(parts), Place.WINDOW)
    return Turn(tuple(parts))
