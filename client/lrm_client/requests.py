"""From what callers write to the wire's requests."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence

from lrm_client.errors import InvalidRequest
from lrm_client.frames import FrameTable
from lrm_client.subtasks import Subtask
from lrm_client.types import EpisodeSpec, EpisodeStep, Query, WindowFrame
from lrm_client.wire import reward_pb2 as pb
from lrm_client.wire_enums import to_wire


def new_id() -> str:
    """A name that no one else has, for an episode or an attempt."""
    return uuid.uuid4().hex


def score_request(queries: Sequence[Query], frames: FrameTable) -> pb.ScoreRequest:
    """The request of a batch without its frames, which are added to the table, each once.

    Raises:
        InvalidRequest: no queries, or a query that no server could take.
    """
    if not queries:
        raise InvalidRequest("a batch holds at least one query", field="queries")
    return pb.ScoreRequest(queries=[_query(query, frames) for query in queries])


def open_request(specs: Iterable[EpisodeSpec]) -> pb.OpenEpisodesRequest:
    """The request that opens episodes; ids are made where none is given."""
    return pb.OpenEpisodesRequest(episodes=[_spec(spec) for spec in specs])


def step_request(steps: Sequence[EpisodeStep], frames: FrameTable) -> pb.StepEpisodesRequest:
    """The request that steps episodes without its frames, as ``score_request``."""
    return pb.StepEpisodesRequest(steps=[_step(step, frames) for step in steps])


def close_request(episodes: Iterable[str]) -> pb.CloseEpisodesRequest:
    """The request that closes episodes by id."""
    return pb.CloseEpisodesRequest(episodes=list(episodes))


def subtask_messages(subtasks: Iterable[Subtask]) -> list[pb.Subtask]:
    """The wire's messages of subtasks."""
    return [pb.Subtask(subtask=each.subtask, done_when=each.done_when) for each in subtasks]


def _query(query: Query, frames: FrameTable) -> pb.Query:
    if not query.head:
        raise InvalidRequest("a query names its head", field="head")
    if not query.task.strip():
        raise InvalidRequest("a query names its task in words", field="task")
    wire = pb.Query(
        head=query.head,
        task=query.task,
        readout=to_wire(pb.Readout, query.readout),  # type: ignore[arg-type]
        use=to_wire(pb.Use, query.use),  # type: ignore[arg-type]
        swap=query.swap,
        return_text=query.return_text,
        scene=query.scene,
        subtasks=subtask_messages(query.subtasks),
    )
    for role in ("initial", "previous", "current", "goal"):
        frame = getattr(query, role)
        if frame is not None:
            setattr(wire, role, frames.add(frame))
    for entries, sent in ((query.window, wire.window), (query.other_window, wire.other_window)):
        for entry in entries:
            item = entry if isinstance(entry, WindowFrame) else WindowFrame(entry)
            sent.add(frame=frames.add(item.frame), view=item.view, index=item.index)
    if query.fps is not None:
        wire.fps = query.fps
    if query.margin is not None:
        wire.margin = query.margin
    return wire


def _spec(spec: EpisodeSpec) -> pb.EpisodeSpec:
    if not spec.task.strip():
        raise InvalidRequest("an episode names its task in words", field="task")
    wire = pb.EpisodeSpec(
        id=spec.id or new_id(),
        task=spec.task,
        heads=spec.heads,
        interval=spec.interval,
        scale=spec.scale,
        hold=to_wire(pb.Hold, spec.hold),  # type: ignore[arg-type]
        phase=to_wire(pb.Phase, spec.phase),  # type: ignore[arg-type]
        offset=spec.offset,
        use=to_wire(pb.Use, spec.use),  # type: ignore[arg-type]
        readout=to_wire(pb.Readout, spec.readout),  # type: ignore[arg-type]
        swap=spec.swap,
        scene=spec.scene,
        subtasks=subtask_messages(spec.subtasks),
    )
    if spec.margin is not None:
        wire.margin = spec.margin
    if spec.fps is not None:
        wire.fps = spec.fps
    return wire


def _step(step: EpisodeStep, frames: FrameTable) -> pb.EpisodeStep:
    wire = pb.EpisodeStep(
        episode=step.episode,
        step=step.step,
        final=step.final,
        force=step.force,
        request_id=step.request_id or new_id(),
    )
    if step.frame is not None:
        wire.frame = frames.add(step.frame)
    return wire
