"""The table-top tasks that ManiSkill's planner solves: eight to train on, two kept out.

The planner's two drawing tasks are left out: its solver for them does not run in ManiSkill 3.0.1,
and nothing is moved in them. Their simulator names, their objects, and the words that ask for them.
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
        goal_actor: attribute that holds the goal (a site, a region, the cube to stack on, a pose);
            None where there is none.
        text: the canonical sentence, without its full stop at the end.
        paraphrases: other sentences that ask for the same.
        thing: what the object is called in a reasoned answer.
        goal: what the goal is called in a reasoned answer.
        grasps: whether the task is solved by grasping.
        family: a task that ends in the same scene as another is of its family: a cube that was
            pushed into the circle is as if it had been pulled there.
        other_actor: attribute that holds a tool or a third object; None where there is none.
        with_tool: whether the hand grasps the other actor, a tool, and not the object.
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
    other_actor: str | None = None
    with_tool: bool = False


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
        family="red-goal",
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
    Task(
        env_id="PegInsertionSide-v1",
        object_actor="peg",
        goal_actor="goal_pose",
        text="Insert the peg into the hole of the box",
        paraphrases=(
            "Put the orange end of the peg into the hole",
            "Pick up the peg and push it into the box from the side",
            "Grasp the peg and insert it into the hole in the box",
            "Place the peg in the hole of the wooden box",
            "insert the orange and white peg into the box",
        ),
        thing="peg",
        goal="hole",
        grasps=True,
        family="peg-hole",
    ),
    Task(
        env_id="PlugCharger-v1",
        object_actor="charger",
        goal_actor="goal_pose",
        text="Plug the charger into the receptacle",
        paraphrases=(
            "Pick up the charger and plug it into the wall socket",
            "Insert the charger into the receptacle",
            "Put the plug of the charger into the socket",
            "Grasp the white charger and push it into the receptacle",
            "plug in the charger",
        ),
        thing="charger",
        goal="receptacle",
        grasps=True,
        family="charger",
    ),
    Task(
        env_id="PullCubeTool-v1",
        object_actor="cube",
        goal_actor=None,
        text="Pull the blue cube closer with the red tool",
        paraphrases=(
            "Use the red L-shaped tool to pull the blue cube towards the robot",
            "Grasp the tool and drag the cube within reach",
            "Hook the blue cube with the red tool and pull it in",
            "Take the red tool and bring the blue cube closer to the robot",
            "reach the blue cube with the tool and pull it near",
        ),
        thing="blue cube",
        goal="robot",
        grasps=True,
        family="tool",
        other_actor="l_shape_tool",
        with_tool=True,
    ),
)

# Never trained on, words included: how far what is learnt carries.
KEPT_OUT: Final[tuple[Task, ...]] = (
    Task(
        env_id="PlaceSphere-v1",
        object_actor="obj",
        goal_actor="bin",
        text="Place the blue sphere in the bin",
        paraphrases=("Put the blue ball into the small white bin",),
        thing="blue sphere",
        goal="bin",
        grasps=True,
        family="sphere",
    ),
    Task(
        env_id="StackPyramid-v1",
        object_actor="cubeC",
        goal_actor="cubeB",
        text="Put the red cube next to the green cube and stack the blue cube on top of both",
        paraphrases=("Build a pyramid with the blue cube on the red and the green cube",),
        thing="blue cube",
        goal="red and green cubes",
        grasps=True,
        family="pyramid",
        other_actor="cubeA",
    ),
)

TASK_BY_ID: Final[dict[str, Task]] = {task.env_id: task for task in (*TASKS, *KEPT_OUT)}

# Phrases that a task's sentence may stand in.
WRAPPINGS: Final = ("Please {}", "The robot should {}", "Your task: {}", "{} now", "Robot, {}")


def wrap(text: str, wrapping: str) -> str:
    """A task's sentence within a phrase; inside it, it begins with a small letter."""
    return wrapping.format(text if wrapping.startswith("{") else text[:1].lower() + text[1:])
