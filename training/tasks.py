"""The five table-top tasks.

Their simulator names, their objects, and the words that ask for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Task:
    """One task, as the simulator and as the prompts know it.

    Attributes:
        env_id: ManiSkill's name of the environment.
        object_actor: attribute of the environment that holds the object to move.
        goal_actor: attribute that holds the goal (a site, a region, the cube to stack on); None
            where there is none.
        text: the canonical sentence, without its full stop at the end.
        paraphrases: other sentences that ask for the same.
        thing: what the object is called in a reasoned answer.
        goal: what the goal is called in a reasoned answer.
        grasps: whether the task is solved by grasping.
        family: tasks of one family show the same objects, so that one's text is no clear mismatch
            for the other's frames.
    """

    env_id: str
    object_actor: str
    goal_actor: str | None
    text: str
    paraphrases: tuple[str, ...]
    thing: str
    goal: str
    grasps: bool
    family: str


TASKS: Final[tuple[Task, ...]] = (
    Task(
        env_id="PickCube-v1",
        object_actor="cube",
        goal_actor="goal_site",
        text="Pick up the red cube and move it to the green goal position",
        paraphrases=(
            "Grasp the red cube and bring it to the green goal",
            "Pick the red cube and hold it at the green marker",
            "Take the red cube to the green sphere",
            "Lift the red block and carry it to the green goal position",
            "Move the red cube to the green target",
            "pick up the red cube and place it at the green goal",
        ),
        thing="red cube",
        goal="green goal",
        grasps=True,
        family="red-green",
    ),
    Task(
        env_id="PushCube-v1",
        object_actor="obj",
        goal_actor="goal_region",
        text="Push the blue cube into the target circle",
        paraphrases=(
            "Push the blue cube forward onto the target",
            "Slide the blue cube into the red and white circle",
            "Push the blue block to the target region",
            "Move the blue cube into the target by pushing it",
            "push the blue cube to the goal circle",
        ),
        thing="blue cube",
        goal="target circle",
        grasps=False,
        family="blue-target",
    ),
    Task(
        env_id="StackCube-v1",
        object_actor="cubeA",
        goal_actor="cubeB",
        text="Stack the red cube on top of the green cube",
        paraphrases=(
            "Put the red cube on the green cube",
            "Place the red block on top of the green block",
            "Pick up the red cube and stack it on the green one",
            "Build a stack with the red cube on the green cube",
            "stack the red cube onto the green cube and let go",
        ),
        thing="red cube",
        goal="green cube",
        grasps=True,
        family="red-green",
    ),
    Task(
        env_id="PullCube-v1",
        object_actor="obj",
        goal_actor="goal_region",
        text="Pull the blue cube into the target circle",
        paraphrases=(
            "Pull the blue cube back onto the target",
            "Drag the blue cube into the red and white circle",
            "Pull the blue block to the target region",
            "Move the blue cube into the target by pulling it",
            "pull the blue cube to the goal circle",
        ),
        thing="blue cube",
        goal="target circle",
        grasps=False,
        family="blue-target",
    ),
    Task(
        env_id="LiftPegUpright-v1",
        object_actor="peg",
        goal_actor=None,
        text="Lift the peg and stand it upright",
        paraphrases=(
            "Stand the peg upright on the table",
            "Pick up the peg and place it upright",
            "Raise the peg and set it down on its end",
            "Bring the peg to an upright position",
            "lift the lying peg so that it stands upright",
        ),
        thing="peg",
        goal="upright pose",
        grasps=True,
        family="peg",
    ),
)

TASK_BY_ID: Final[dict[str, Task]] = {task.env_id: task for task in TASKS}
