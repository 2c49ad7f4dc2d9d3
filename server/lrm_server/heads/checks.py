"""What can be wrong with a query, and known without the engine."""

from __future__ import annotations

from collections.abc import Mapping

from lrm_server.errors import invalid
from lrm_server.frames import Frame
from lrm_server.heads.catalogue import HeadCatalogue, ServedHead
from lrm_server.heads.frame_profile import OTHER_FIELD, FrameProfile
from lrm_server.heads.profile import AskingProfile, LabelProfile, Readout, Role, Use
from lrm_server.heads.query import Query
from lrm_server.heads.subtask_profile import SubtaskProfile
from lrm_server.heads.subtasks import MAX_SUBTASKS, check_subtasks
from lrm_server.heads.window import FIELD, Shown, shown

MAX_TASK_CHARACTERS = 2000
MAX_SCENE_CHARACTERS = 2000


def check_all(catalogue: HeadCatalogue, query: Query) -> None:
    """Everything that is wrong with a query and can be known without the engine.

    Raises:
        DomainError: UNKNOWN_HEAD, or INVALID_ARGUMENT of the field that is wrong.
    """
    head = catalogue[query.head]
    check_query(head, query)
    check_window(head, query)
    check_other_window(head, query)
    if isinstance(head.profile, SubtaskProfile) and query.subtasks:
        check_subtasks(query.subtasks, least=head.profile.least, most=head.profile.most)
    for part in [catalogue[name] for name in head.parts] or [head]:
        check_readout(part, query)


def check_words(query: Query) -> None:
    """Whether task, scene and subtasks can be asked about, and kept.

    Raises:
        DomainError: INVALID_ARGUMENT of ``task``, ``scene`` or ``subtasks`` and the place
            in them.
    """
    if not query.task.strip():
        raise invalid("task", "the task is empty: say in words what the robot is to do.")
    if len(query.task) > MAX_TASK_CHARACTERS:
        raise invalid(
            "task",
            f"the task has {len(query.task)} characters and the limit is "
            f"{MAX_TASK_CHARACTERS}: shorten it.",
        )
    if len(query.scene) > MAX_SCENE_CHARACTERS:
        raise invalid(
            "scene",
            f"the scene has {len(query.scene)} characters and the limit is "
            f"{MAX_SCENE_CHARACTERS}: shorten it.",
        )
    check_subtasks(query.subtasks, least=0, most=MAX_SUBTASKS)


def check_query(head: ServedHead, query: Query) -> None:
    """What does not depend on how the head is read: task, numbers, frames by role.

    Raises:
        DomainError: INVALID_ARGUMENT of the field that is wrong.
    """
    check_words(query)
    if query.margin is not None and not 0.0 <= query.margin <= 0.5:
        raise invalid("margin", f"the margin is {query.margin:g}; it lies in [0, 0.5].")
    if query.fps is not None and not 0.0 < query.fps < float("inf"):
        raise invalid("fps", f"fps is {query.fps:g}; it must be above 0.")
    _check_frames(head, query.frames)


def check_readout(head: ServedHead, query: Query) -> None:
    """Whether a label head can be read and compared as the query says.

    Raises:
        DomainError: INVALID_ARGUMENT of ``readout``, ``use``, ``swap`` or a frame.
    """
    profile = head.profile
    if not isinstance(profile, AskingProfile):
        return
    readout = query.readout or head.readout
    possible = profile.readouts if isinstance(profile, LabelProfile) else (profile.default_readout,)
    if readout not in possible:
        names = ", ".join(each.value for each in possible)
        raise invalid(
            "readout", f"head {head.name} cannot be read by {readout.value}: use {names}."
        )
    if readout is Readout.GENERATE:
        if query.use is Use.EXPECTED:
            raise invalid(
                "use",
                "the readout generate gives no probabilities to expect with: use label, "
                "or the readout likelihood.",
            )
        if query.swap and pair_of(head) is not None:
            raise invalid(
                "swap",
                "the readout generate gives no log-odds to average: leave swap off, or "
                "use the readout likelihood.",
            )
    _check_pair(head, query.frames)


def check_window(head: ServedHead, query: Query) -> Shown | None:
    """What the head is shown of the query's window; None for a head of single frames.

    Raises:
        DomainError: INVALID_ARGUMENT of ``window`` or ``fps``.
    """
    window = head.window
    if window is None:
        if query.window:
            raise invalid(
                FIELD, f"head {head.name} looks at single frames: send them by their roles."
            )
        return None
    if not query.window:
        raise invalid(
            FIELD, f"head {head.name} looks at a window of frames: send it, oldest frame first."
        )
    found = shown(window, query.window, head.name)
    if window.media == "video" and len(found.indices) > 1 and query.fps is None:
        raise invalid(
            "fps",
            f"head {head.name} sees a video and is told the times of its frames: say how many "
            "frames a second the window has.",
        )
    return found


def check_other_window(head: ServedHead, query: Query) -> Shown | None:
    """What the head is shown of the query's second window; None for a head of one.

    Raises:
        DomainError: INVALID_ARGUMENT of ``other_window``.
    """
    profile = head.profile
    if not isinstance(profile, FrameProfile) or not profile.needs_other:
        if query.other_window:
            raise invalid(OTHER_FIELD, f"head {head.name} compares no two windows: leave it out.")
        return None
    if not query.other_window:
        raise invalid(
            OTHER_FIELD,
            f"head {head.name} compares two windows of frames: send the second as well.",
        )
    return shown(profile.window, query.other_window, head.name, OTHER_FIELD)


def pair_of(head: ServedHead) -> tuple[Role, Role] | None:
    """The roles that a head compares, if it compares two."""
    return head.profile.pair if isinstance(head.profile, LabelProfile) else None


def _check_frames(head: ServedHead, frames: Mapping[Role, Frame]) -> None:
    for role in head.required_frames:
        if role not in frames:
            needed = " and ".join(each.value for each in head.required_frames)
            raise invalid(
                role.value, f"head {head.name} needs the frames {needed}: {role.value} is missing."
            )
    allowed = {*head.required_frames, *head.optional_frames}
    for role in frames:
        if role not in allowed:
            looks = ", ".join(each.value for each in (*head.required_frames, *head.optional_frames))
            raise invalid(
                role.value,
                f"head {head.name} does not look at a frame {role.value}, only at {looks}: "
                "leave it out.",
            )


def _check_pair(head: ServedHead, frames: Mapping[Role, Frame]) -> None:
    pair = pair_of(head)
    if pair is None:
        return
    first, second = (frames[role] for role in pair)
    if (first.height, first.width) != (second.height, second.width):
        raise invalid(
            pair[1].value,
            f"the frames compared have different sizes: {pair[0].value} is "
            f"{first.height}x{first.width} and {pair[1].value} is "
            f"{second.height}x{second.width} pixels. Send both in one size.",
        )
