"""Subtasks: the steps of a task, how they stand in a prompt and in a model's answer."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

from lrm_server.errors import DomainError, ErrorCode, invalid

FIELD: Final = "subtasks"
MAX_CHARACTERS: Final = 300
"""Of a subtask, and of its condition."""

MAX_SUBTASKS: Final = 20
"""Of any task, whatever a head makes of them."""

_KEYS: Final = ("subtask", "done_when")
# Chat models like to put an object between these marks; nothing else may stand around it.
_FENCE: Final = re.compile(r"```(?:json)?\n(.*)\n```", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Subtask:
    """One step of a task.

    Attributes:
        subtask: what the robot is to do, in words.
        done_when: what an image shows when it is done.
    """

    subtask: str
    done_when: str


def numbered(subtasks: Sequence[Subtask]) -> str:
    """The subtasks with their conditions, a line each, as they stand in a prompt."""
    return "\n".join(
        f"{number}. {each.subtask} (done when: {each.done_when})"
        for number, each in enumerate(subtasks, 1)
    )


def check_subtasks(subtasks: Sequence[Subtask], *, least: int, most: int) -> None:
    """Whether these can be asked about.

    Args:
        subtasks: in order.
        least: how few there may be.
        most: how many.

    Raises:
        DomainError: INVALID_ARGUMENT of ``subtasks``, ``subtasks[2]`` or
            ``subtasks[2].done_when``.
    """
    if not least <= len(subtasks) <= most:
        raise invalid(
            FIELD,
            f"a task has {least} to {most} subtasks and {len(subtasks)} were given: join some, "
            "or split them.",
        )
    seen: dict[str, int] = {}
    for place, each in enumerate(subtasks):
        for key in _KEYS:
            _check_line(getattr(each, key), f"{FIELD}[{place}].{key}")
        words = " ".join(each.subtask.casefold().split())
        if (before := seen.setdefault(words, place)) != place:
            raise invalid(
                f"{FIELD}[{place}]",
                f"subtask {place + 1} says what subtask {before + 1} says: say each once.",
            )


def parse_subtasks(text: str, *, least: int, most: int) -> tuple[Subtask, ...]:
    """The subtasks in what a model wrote: a JSON object that holds them and nothing else.

    Args:
        text: what it wrote; the object may stand in a Markdown fence.
        least: how few there may be.
        most: how many.

    Raises:
        DomainError: TASK_NOT_DECOMPOSED; nothing is guessed at.
    """
    fenced = _FENCE.fullmatch(text.strip())
    try:
        found = json.loads(fenced[1] if fenced else text, object_pairs_hook=_distinct)
    except (ValueError, RecursionError):
        found = None
    entries = found[FIELD] if isinstance(found, dict) and set(found) == {FIELD} else None
    if not isinstance(entries, list) or not all(map(_is_entry, entries)):
        raise not_decomposed(
            'the model did not write {"subtasks": [{"subtask": "...", "done_when": "..."}]} and '
            f"nothing else; it ended with {text[-80:]!r}."
        )
    subtasks = tuple(Subtask(*(entry[key].strip() for key in _KEYS)) for entry in entries)
    try:
        check_subtasks(subtasks, least=least, most=most)
    except DomainError as error:
        raise not_decomposed(f"of what the model wrote, {error.field}: {error.message}") from error
    return subtasks


def not_decomposed(why: str) -> DomainError:
    """The error of a task for which no subtasks could be made."""
    return DomainError(
        ErrorCode.TASK_NOT_DECOMPOSED,
        f"the task was not decomposed: {why} Say the task otherwise, bring its subtasks with the "
        "query, or have them written by a model that can.",
        field="task",
    )


def _check_line(words: str, field: str) -> None:
    if not words.strip():
        raise invalid(field, "it is empty: say it in words.")
    if len(words) > MAX_CHARACTERS:
        raise invalid(
            field, f"it has {len(words)} characters and the limit is {MAX_CHARACTERS}: shorten it."
        )
    # A line break would let one subtask look like several.
    if not words.isprintable():
        raise invalid(
            field, "it has a line break or a character that cannot be printed: write one line."
        )


def _is_entry(entry: Any) -> TypeGuard[dict[str, str]]:
    return (
        isinstance(entry, dict)
        and set(entry) == set(_KEYS)
        and all(isinstance(words, str) for words in entry.values())
    )


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in an object")
    return found
