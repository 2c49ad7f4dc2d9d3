"""A robot's frames: which are sent, which give way, and which cannot be."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lrm_client import (
    EpisodeEnded,
    FrameRequired,
    InvalidRequest,
    RewardClient,
)
from lrm_client.readings import NoReward
from lrm_client.robot_session import RobotSession
from tests.client.robot_rig import (
    PATIENCE,
    Hanging,
    by_frame,
    frame,
    sent_steps,
    session_of,
    settled,
)
from tests.client.scripted import ScriptedCore


@pytest.fixture
def session(client: RewardClient, hanging: Hanging) -> Iterator[RobotSession]:
    """Every sent frame is a query."""
    with session_of(client) as made:
        made.reset(frame(0))
        yield made
        hanging.answer_all()


def test_observing_goes_on_while_a_frame_is_encoded(session: RobotSession) -> None:
    encoding, go_on = threading.Event(), threading.Event()

    class Slow(Image.Image):
        def copy(self) -> Image.Image:
            return self

        def convert(self, *_: Any, **__: Any) -> Image.Image:
            encoding.set()
            assert go_on.wait(PATIENCE)
            return Image.fromarray(frame(11))

    session.observe(Slow())
    assert encoding.wait(PATIENCE)
    assert [session.observe(frame(22)).tick for _ in range(5)] == [2, 3, 4, 5, 6]
    assert session.counters.dropped == 4
    go_on.set()
    assert settled(session).step == 6


def test_the_newest_frame_wins_and_those_before_it_are_counted_as_dropped(
    session: RobotSession, hanging: Hanging, core: ScriptedCore
) -> None:
    call = hanging.hold()
    session.observe(frame(1))
    call.wait_arrived()
    for at in (2, 3, 4, 5):
        session.observe(frame(at))
    call.answer()
    assert settled(session).step == 5
    assert sent_steps(core) == [0, 1, 5]
    counters = session.counters
    assert (counters.ticks, counters.sent, counters.answered) == (5, 2, 2)
    assert (counters.dropped, counters.failed) == (3, 0)


def test_only_the_ticks_of_the_interval_are_sent(client: RewardClient, core: ScriptedCore) -> None:
    rendered: list[int] = []

    def camera(tick: int) -> Any:
        def take() -> np.ndarray:
            rendered.append(tick)
            return frame(tick)

        return take

    with session_of(client, interval=3) as session:
        session.reset(frame(0))
        for tick in range(1, 8):
            session.observe(camera(tick))
            settled(session)
    assert rendered == [3, 6]
    assert sent_steps(core) == [0, 3, 6]
    assert session.counters.dropped == 0


def test_a_scheduled_tick_that_was_not_sent_makes_the_next_one_due(
    client: RewardClient, core: ScriptedCore, hanging: Hanging
) -> None:
    with session_of(client, ("progress", "completion"), interval=3) as session:
        session.reset(frame(0))
        call = hanging.hold()
        for tick in range(1, 4):
            session.observe(frame(tick))
        call.wait_arrived()
        for tick in range(4, 9):
            session.observe(frame(tick))
        call.answer()
        settled(session)
        for tick in range(9, 12):
            session.observe(frame(tick))
            settled(session)
    # 6 waited for the answer to 3 and gave way to 7 and 8; after 8 the next multiple is due.
    assert sent_steps(core) == [0, 3, 8, 9]
    assert session.counters.dropped == 2
    assert [asked.head for asked in core.asked] == ["progress", "completion"] * 3


def test_a_tick_without_a_frame_leaves_the_query_to_the_next(
    session: RobotSession, core: ScriptedCore
) -> None:
    session.observe(None)
    session.observe(lambda: None)
    session.observe(frame(3))
    assert settled(session).step == 3
    assert sent_steps(core) == [0, 3]


def test_a_frame_may_change_after_it_was_observed(session: RobotSession, hanging: Hanging) -> None:
    call = hanging.hold()
    session.observe(frame(1))
    call.wait_arrived()
    camera = frame(22)
    session.observe(camera)
    camera[:] = 99
    call.answer()
    assert settled(session).reward == 0.22


def test_a_frame_is_whatever_the_client_encodes(session: RobotSession, core: ScriptedCore) -> None:
    image = Image.fromarray(frame(7))
    png = png_of(image)
    for given in (image, png, bytearray(png), lambda: frame(7)):
        session.observe(given)
        assert settled(session).error is None
    assert core.count("StepEpisodes") == 5


def png_of(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def test_a_frame_that_cannot_be_sent_is_a_failure_and_the_next_is_due(
    session: RobotSession, core: ScriptedCore
) -> None:
    session.observe(np.zeros((4, 5, 3), np.float32))
    reading = settled(session)
    assert (reading.fresh, reading.reason) == (False, NoReward.FAILED)
    assert isinstance(reading.error, InvalidRequest)
    assert "uint8" in reading.explanation
    session.observe(frame(22))
    reading = settled(session)
    assert (reading.reward, reading.error) == (0.22, None)
    assert sent_steps(core) == [0, 2]
    assert (session.counters.sent, session.counters.failed) == (2, 1)


def test_the_final_frame_is_wanted_and_ends_the_episode(
    client: RewardClient, core: ScriptedCore
) -> None:
    core.answer = by_frame
    with session_of(client, interval=4) as session:
        session.reset(frame(0))
        session.observe(frame(1))
        for missing in (None, lambda: None):
            with pytest.raises(FrameRequired):
                session.observe(missing, final=True)
        with pytest.raises(InvalidRequest, match="not set"):
            session.observe({1, 2}, final=True)  # type: ignore[arg-type]
        session.observe(frame(22), final=True)
        reading = settled(session)
        assert (reading.tick, reading.step, reading.reward) == (2, 2, 0.22)
        with pytest.raises(EpisodeEnded, match="tick 2"):
            session.observe(frame(3))
        assert core.episodes == {}
        session.reset(frame(0))
        assert session.observe(frame(1)).tick == 1


def test_a_session_that_meets_the_unexpected_goes_on(
    session: RobotSession, core: ScriptedCore
) -> None:
    class Truncated(Image.Image):
        def copy(self) -> Image.Image:
            return self

        def convert(self, *_: Any, **__: Any) -> Image.Image:
            raise OSError("image file is truncated")

    session.observe(Truncated())
    reading = settled(session)
    assert reading.reason is NoReward.FAILED
    assert "image file is truncated" in reading.explanation
    session.observe(frame(5))
    assert settled(session).reward == 0.05


def test_a_reset_that_does_not_wait_returns_before_the_episode_is_open(
    client: RewardClient, hanging: Hanging
) -> None:
    call = hanging.hold("OpenEpisodes")
    with session_of(client) as session:
        session.reset(frame(0), wait_s=0)
        call.wait_arrived()
        assert session.observe(frame(1)).reason is NoReward.NOT_ANSWERED
        session.observe(frame(22))
        call.answer()
        reading = settled(session)
    assert (reading.step, reading.reward) == (2, 0.22)
    assert session.counters.dropped == 1


def test_a_deadline_is_the_age_limit_for_each_frame_of_a_call(
    grpc_client: RewardClient, core: ScriptedCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    timeouts: list[tuple[str, float | None]] = []
    send = grpc_client.send

    def spy(call: Any) -> Any:
        timeouts.append((call.method.name, call.timeout))
        return send(call)

    monkeypatch.setattr(grpc_client, "send", spy)
    limit = 2 * PATIENCE
    with session_of(grpc_client, timeout_s=None, max_age_s=limit) as session:
        session.reset(frame(0))
        session.observe(frame(1))
        settled(session)
        core.lose_episodes()
        session.observe(frame(2))
        settled(session)
    opening, step = [("OpenEpisodes", limit)], [("StepEpisodes", limit)]
    # Opened again, the initial frame and the last answered one come before the newest.
    reopening = [*opening, ("StepEpisodes", 3 * limit)]
    assert timeouts == [*opening, *step * 3, *reopening, ("CloseEpisodes", limit)]


def test_a_deadline_of_its_own_is_kept_to(
    grpc_client: RewardClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    timeouts: list[float | None] = []
    send = grpc_client.send
    monkeypatch.setattr(
        grpc_client, "send", lambda call: timeouts.append(call.timeout) or send(call)
    )
    with session_of(grpc_client, max_age_s=1.0, timeout_s=PATIENCE) as session:
        session.reset(frame(0))
    assert set(timeouts) == {PATIENCE}
