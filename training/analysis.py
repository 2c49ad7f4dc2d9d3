"""Short written analyses made from the simulator's state, for the answers that reason first."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from training.tasks import Task


class Fact(Enum):
    """What a frame shows, in the order in which an attempt passes through it."""

    AWAY = "away"
    NEAR = "near"
    GRASPED = "grasped"
    UNDER_WAY = "under way"
    AT_GOAL = "at goal"
    DONE = "done"


def describe(task: Task, fact: Fact) -> str:
    """One clause about a frame, without a full stop."""
    thing, goal = task.thing, task.goal
    held = "tool" if task.with_tool else thing
    match fact:
        case Fact.AWAY:
            return f"the gripper is away from the {held}"
        case Fact.NEAR:
            return f"the gripper is near the {held}"
        case Fact.GRASPED:
            return f"the gripper holds the {held}"
        case Fact.UNDER_WAY:
            return f"the {thing} is on its way to the {goal}"
        case Fact.AT_GOAL:
            return f"the {thing} is close to the {goal}"
        case Fact.DONE:
            return f"the {thing} has reached the {goal}"


def compare(task: Task, first: Fact, second: Fact, better: str) -> str:
    """The analysis of a pair.

    What Image A shows, what Image B shows, and which is further (`better`: "A" or "B").
    """
    return (
        f"In Image A {describe(task, first)}. In Image B {describe(task, second)}. "
        f"Image {better} is closer to completing the task.\n"
    )


def corpus(tasks: tuple[Task, ...]) -> list[str]:
    """Every analysis that can be written about these tasks, for the tokenizer's vocabulary."""
    return [
        compare(task, first, second, "A") for task in tasks for first in Fact for second in Fact
    ]
