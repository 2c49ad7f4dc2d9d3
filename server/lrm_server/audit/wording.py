"""A task in other words, and other tasks."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

SLOT: Final = "{task}"
TEMPLATES: Final = ("Please {task}", "The robot should: {task}", "The goal is as follows. {task}")


Tasks = Mapping[str, Collection[str]]
"""Task -> the groups of the data set in which it is done; an empty name is no group."""


class WordingError(ValueError):
    """Paraphrases that cannot be used; says what to change."""


@dataclass(frozen=True, slots=True)
class Wording:
    """How tasks are said otherwise.

    Attributes:
        templates: texts with ``{task}`` in the task's place.
        paraphrases: task -> the same in other words.
        wrong: further tasks that nobody in the data set is doing.
    """

    templates: tuple[str, ...] = TEMPLATES
    paraphrases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    wrong: tuple[str, ...] = ()

    def variants(self, task: str) -> dict[str, str]:
        """Name of the variant -> the task in those words; templates only where nothing is given."""
        given = self.paraphrases.get(task, ())
        if given:
            return {f"paraphrase {number}": text for number, text in enumerate(given, 1)}
        return {template: _filled(template, task) for template in self.templates}

    def others(self, task: str, tasks: Tasks) -> list[str]:
        """Tasks that are not this one, in a stable order.

        What differs in capitals and punctuation alone, what is given as a paraphrase, and what
        is done in a group that does this task too are this one in other words.
        """
        groups = {group for group in tasks.get(task, ()) if group}
        same = {_bare(text) for text in (task, *self._meanings(task))}
        reworded = {other for other, its in tasks.items() if groups & set(its)}
        return [
            other
            for other in dict.fromkeys((*sorted(set(tasks) - reworded), *self.wrong))
            if _bare(other) not in same
        ]

    def _meanings(self, task: str) -> list[str]:
        """Texts that are given as the same, whichever of them is the key."""
        sets = [{key, *texts} for key, texts in self.paraphrases.items()]
        return sorted({text for some in sets if task in some for text in some})


def read_wording(given: Sequence[str], wrong: Sequence[str], tasks: Sequence[str]) -> Wording:
    """The wording that the command line gives.

    Args:
        given: each a text with ``{task}`` in it, the only task in other words, or a JSON file of
            an object from task to a list of its paraphrases.
        wrong: further wrong tasks.
        tasks: of the data set.

    Raises:
        WordingError: a file that is no such object, a task that is not in the data set, or words
            that leave open which task they are for.
    """
    templates: list[str] = []
    paraphrases: dict[str, list[str]] = {}
    known = sorted(set(tasks))
    for text in given:
        if text.endswith(".json"):
            for task, others in _read(Path(text), known).items():
                paraphrases.setdefault(task, []).extend(others)
        elif SLOT in text:
            templates.append(text)
        elif len(known) == 1:
            paraphrases.setdefault(known[0], []).append(text)
        else:
            raise WordingError(
                f"--paraphrase {text!r} may be of any of {len(known)} tasks: write {SLOT} where "
                "the task stands, or give a JSON file of {task: [paraphrase, ...]}"
            )
    chosen = {task: tuple(others) for task, others in paraphrases.items()}
    return Wording(tuple(templates) or TEMPLATES, chosen, tuple(wrong))


def _bare(text: str) -> str:
    """A text without capitals, punctuation and spacing."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def _filled(template: str, task: str) -> str:
    # Within a sentence, a task that is one begins small; after a full stop or colon it may not.
    inside = not template.partition(SLOT)[0].rstrip().endswith((".", ":", "!", "?"))
    return template.replace(SLOT, task[:1].lower() + task[1:] if inside else task)


def _read(path: Path, known: Sequence[str]) -> dict[str, list[str]]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise WordingError(f"--paraphrase {path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict) or not all(
        isinstance(texts, list) and all(isinstance(text, str) and text.strip() for text in texts)
        for texts in content.values()
    ):
        raise WordingError(f"--paraphrase {path} must be an object of task to a list of texts")
    if strange := sorted(set(content) - set(known)):
        raise WordingError(
            f"--paraphrase {path}: {strange[0]!r} is no task of the data set; {known} are"
        )
    return content
