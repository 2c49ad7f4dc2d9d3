"""The specification's clock again, written the slow and plain way.

It keeps an episode's whole history and answers every question by going through it
from the start. It shares nothing with the clock but the names of the modes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Taken:
    """A step that was answered: what the queried heads gave, None for a failure."""

    step: int
    outcomes: dict[str, float | None]
    final: bool


@dataclass
class ReferenceEpisode:
    interval: int
    scale: float
    hold: str
    phase: str
    offset: int
    neutral: Mapping[str, float]
    history: list[Taken] = field(default_factory=list)

    def refusal(self, step: int) -> str | None:
        if any(taken.final for taken in self.history):
            return "episode_ended"
        if any(taken.step >= step for taken in self.history):
            return "step_behind"
        if not self.history and step != 0:
            return "reset_missing"
        return None

    def scheduled(self, step: int) -> bool:
        if step == 0:
            return False
        shift = self.offset if self.phase == "aligned" else 0
        return (step + shift) % self.interval == 0

    def due(self, step: int, final: bool, force: bool) -> list[str]:
        if step == 0:
            return []
        answered = max(taken.step for taken in self.history)
        if final or force or any(self.scheduled(s) for s in range(answered + 1, step + 1)):
            return list(self.neutral)
        return [head for head in self.neutral if self.last_query_failed(head)]

    def last_query_failed(self, head: str) -> bool:
        failed = False
        for taken in self.history:
            if head in taken.outcomes:
                failed = taken.outcomes[head] is None
        return failed

    def successes(self, head: str) -> list[tuple[int, float]]:
        """(step, value) of the head's successful queries, oldest first."""
        found = []
        for taken in self.history:
            value = taken.outcomes.get(head)
            if value is not None:
                found.append((taken.step, value))
        return found

    def previous(self, head: str) -> int:
        return max([0] + [step for step, _ in self.successes(head)])

    def next_query_step(self) -> int | None:
        if any(taken.final for taken in self.history):
            return None
        step = max([0] + [taken.step for taken in self.history]) + 1
        while not self.scheduled(step) and not any(map(self.last_query_failed, self.neutral)):
            step += 1
        return step

    def take(self, step: int, outcomes: dict[str, float | None], final: bool) -> list[tuple]:
        """Takes the step; (head, reward, value, source, age) of each head."""
        self.history.append(Taken(step, outcomes, final))
        if step == 0:
            return []
        return [self.answer(head, self.history[-1]) for head in self.neutral]

    def answer(self, head: str, taken: Taken) -> tuple:
        successes = self.successes(head)
        age = taken.step - successes[-1][0] if successes else None
        if head in taken.outcomes and taken.outcomes[head] is None:
            return head, None, None, "failed", age
        queried = head in taken.outcomes
        value = successes[-1][1] if successes else self.neutral[head]
        if self.hold == "hold":
            pays = value
        elif self.hold == "zero":
            pays = value if queried else 0.0
        elif self.hold == "spread":
            pays = value / self.interval
        else:
            before = successes[-2][1] if len(successes) > 1 else self.neutral[head]
            pays = value - before if queried else 0.0
        source = "queried" if queried else "held" if successes else "neutral"
        return head, self.scale * pays, value, source, age
