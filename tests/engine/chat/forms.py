"""Questions of the published heads, without their prompts."""

from __future__ import annotations

from lrm_server.engine.protocol import AnswerForm, FrameSlot, Question, TurnPart
from tests.heads.scripted_engine import grey

PROGRESS = AnswerForm(
    prefix='{ "completion_progress": ',
    stop='"completion_progress":',
    labels=tuple(f"{step / 10:.1f}" for step in range(11)),
    terminator=" }",
    max_tokens=64,
)
COMPLETION = AnswerForm(
    prefix='{ "task_completed": "',
    stop='"task_completed":',
    labels=("no", "yes"),
    terminator='" }',
    max_tokens=64,
)
SIDES = AnswerForm(
    prefix='{ "side": "',
    stop='"side":',
    labels=("up", "upward", "left side", "left hand"),
    terminator='" }',
    max_tokens=64,
)
SCORE = AnswerForm(
    prefix="ANSWER: ",
    labels=("1", "2", "3", "4", "5"),
    terminator="",
    max_tokens=64,
)


def question(
    form: AnswerForm,
    *parts: TurnPart,
    adapter: str | None = None,
    deadline: float | None = None,
) -> Question:
    shown = parts or ("How far is it?", FrameSlot(grey(), "current"))
    return Question(shown, form, adapter, deadline)
