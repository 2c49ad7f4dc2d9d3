"""The prompts are those that the published checkpoints were trained with."""

from __future__ import annotations

import pytest

from lrm_server.heads.library import load_profile
from lrm_server.heads.profile import LabelProfile, Role
from lrm_server.heads.prompt import render_turn

TASK = "Push the cube {task} <current>"

CONTRASTIVE = """Task: Compare the completion progress.

The task is: {task}.

You are given:
- Later observation (Image A): <image>
- Later observation (Image B): <image>

Question: Which of Image A or Image B is closer to completing the task?
Select one value from the following list:
["ImageA", "ImageB"]

Please provide a step-by-step visual analysis first, and then output your answer in the following JSON format:
{ "more_complete_image": "selected_value" }"""  # noqa: E501 - published so

PROGRESS = """Task: Estimate the completion progress.
The task is: {task}
You are given:
{frames}

Question: {question} as a value between 0.0 and 1.0.
Select one value from the following list:
[0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]

Definitions:
- 0.0: Task has just started.
- 0.1 - 0.9: Intermediate progress steps (assess {how}).
- 1.0: Task is Finished.
Output your answer in the following JSON format:
{ "completion_progress": selected_value }"""

COMPLETION = [
    "Task: Whether the task has been completed.\n\nThe task is: {task}\n\nYou are given:\n"
    "- Current observation:",
    Role.CURRENT,
    "Has the task been completed?\nOutput your answer in the following JSON format:\n"
    '{ "task_completed": "yes" or "no" }',
]

PLAIN = "Based on the task description, estimate the completion progress"
AGAINST_GOAL = (
    "Compare the Current Observation with the Goal Standard. Estimate the completion progress"
)


def profile(name: str) -> LabelProfile:
    loaded = load_profile(name)
    assert isinstance(loaded, LabelProfile)
    return loaded


def as_text(parts: tuple[str | Role, ...]) -> str:
    return "".join("<image>" if isinstance(part, Role) else part for part in parts)


def test_contrastive_shows_previous_as_image_a_and_current_as_image_b() -> None:
    turn = render_turn(profile("lrm_contrastive"), TASK, {Role.CURRENT, Role.PREVIOUS})
    assert as_text(turn.parts) == CONTRASTIVE.replace("{task}", TASK)
    assert turn.roles == (Role.PREVIOUS, Role.CURRENT)


@pytest.mark.parametrize(
    ("roles", "question", "how"),
    [
        ([Role.CURRENT], PLAIN, "how close to completion"),
        ([Role.INITIAL, Role.CURRENT], PLAIN, "how close to completion"),
        ([Role.GOAL, Role.CURRENT], AGAINST_GOAL, "visual distance to Goal"),
        ([Role.GOAL, Role.INITIAL, Role.CURRENT], AGAINST_GOAL, "visual distance to Goal"),
    ],
)
def test_progress_leaves_out_the_lines_of_frames_that_are_not_there(
    roles: list[Role], question: str, how: str
) -> None:
    lines = {
        Role.GOAL: "- Goal Standard: <image>",
        Role.INITIAL: "- Initial observation: <image>",
        Role.CURRENT: "- Current observation: <image>",
    }
    wanted = (
        PROGRESS.replace("{frames}", "\n".join(lines[role] for role in roles))
        .replace("{question}", question)
        .replace("{how}", how)
        .replace("{task}", TASK)
    )
    turn = render_turn(profile("lrm_progress"), TASK, roles)
    assert as_text(turn.parts) == wanted
    assert list(turn.roles) == roles


def test_completion_strips_the_text_around_its_image() -> None:
    turn = render_turn(profile("lrm_completion"), TASK, {Role.CURRENT})
    wanted = [
        p.replace("{task}", TASK) if isinstance(p, str) and p is not Role.CURRENT else p
        for p in COMPLETION
    ]
    assert list(turn.parts) == wanted


def test_what_a_task_holds_is_never_read_as_a_placeholder() -> None:
    turn = render_turn(profile("lrm_progress"), "<current> {task} <goal>", {Role.CURRENT})
    assert turn.roles == (Role.CURRENT,)


def test_the_digest_changes_with_one_word_of_the_prompt() -> None:
    one = profile("lrm_progress")
    part = one.prompt[0].model_copy(update={"text": one.prompt[0].text + "!"})
    assert one.model_copy(update={"prompt": (part, *one.prompt[1:])}).digest != one.digest
