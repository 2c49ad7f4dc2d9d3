"""From a query to the question that an engine is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lrm_server.engine.protocol import AnswerForm, FrameSlot, Question, TurnPart, VideoSlot
from lrm_server.frames import Frame
from lrm_server.heads.catalogue import ServedHead
from lrm_server.heads.profile import AskingProfile, LabelProfile, Role
from lrm_server.heads.prompt import Place, render_turn
from lrm_server.heads.query import Query
from lrm_server.heads.subtasks import numbered
from lrm_server.heads.window import FIELD, Shown, Window


def question_of(
    head: ServedHead,
    profile: AskingProfile,
    query: Query,
    frames: Mapping[Role, Frame],
    window: Shown | None,
) -> Question:
    """The question of a head.

    Args:
        head: who answers.
        profile: its own.
        query: which was checked.
        frames: single frames by role; a pair may be exchanged.
        window: what is shown of the query's window.
    """
    parts: list[TurnPart] = []
    more = {"scene": query.scene, "subtasks": numbered(query.subtasks)}
    for part in render_turn(profile, query.task, frames.keys(), more).parts:
        if isinstance(part, Role):
            parts.append(FrameSlot(frames[part], part.value))
        elif isinstance(part, Place):
            if profile.window is None or window is None:
                raise AssertionError("a window was rendered that was not checked")
            parts += window_parts(profile.window, window, query.fps)
        else:
            parts.append(part)
    return Question(
        parts=tuple(parts),
        form=answer_form(profile),
        adapter=head.adapter,
        deadline=query.deadline,
    )


def answer_form(profile: AskingProfile) -> AnswerForm:
    """How the answer to a profile's question stands."""
    if not isinstance(profile, LabelProfile):
        return AnswerForm("", (), "", profile.max_answer_tokens)
    return AnswerForm(
        prefix=profile.answer_prefix,
        labels=tuple(label.written for label in profile.labels),
        terminator=profile.terminator,
        max_tokens=profile.max_answer_tokens,
        stop=profile.answer_stop,
        in_user_turn=profile.slot == "user",
    )


def window_parts(window: Window, shown: Shown, fps: float | None) -> Iterator[TurnPart]:
    """The frames of a window as they stand in a turn, with the words between them.

    Args:
        window: how the head looks at it.
        shown: its frames.
        fps: frames per second of its axis of time; needed for a video of several frames.
    """
    names = [tuple(f"{FIELD}[{place}]" for place in places) for places in shown.places]
    if window.media == "video":
        times = tuple(at / fps if fps else 0.0 for at in shown.indices)
        yield VideoSlot(shown.views[0], times, names[0])
        return
    for number, (frames, named) in enumerate(zip(shown.views, names, strict=True), 1):
        if window.view_text:
            yield window.view_text.replace("{number}", str(number))
        for count, at in enumerate(shown.order, 1):
            if window.frame_text:
                yield window.frame_text.replace("{number}", str(count))
            yield FrameSlot(frames[at], named[at])
