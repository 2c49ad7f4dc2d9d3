"""What is in, counted exactly, and what is refused."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrm_server.engine.holdings import MIB, Holdings, QueueLimits
from lrm_server.frames import Encoding, Frame


def frame(nbytes: int) -> Frame:
    """Bytes that nobody decodes."""
    return Frame(b"\0" * nbytes, Encoding.JPEG, 8, 8)


FRAMES = [frame(size) for size in (1, 10, 100, 1000)]
QUESTIONS = st.tuples(
    st.sampled_from(["a", "b", "c"]), st.lists(st.sampled_from(FRAMES), max_size=4)
)


@given(st.lists(QUESTIONS, max_size=30), st.randoms())
def test_all_that_comes_in_and_leaves_is_counted_once(
    questions: list[tuple[str, list[Frame]]], random: object
) -> None:
    holdings = Holdings(QueueLimits())
    inside: list[tuple[str, list[Frame]]] = []

    def check() -> None:
        held = {(client, each) for client, frames in inside for each in frames}
        assert holdings.questions == len(inside)
        assert holdings.nbytes == sum(each.nbytes for _, each in held)
        assert holdings.clients == len({client for client, _ in inside})

    for question in questions:
        holdings.add(*question)
        inside.append(question)
        check()
    random.shuffle(inside)  # type: ignore[attr-defined]
    while inside:
        holdings.remove(*inside.pop())
        check()


@given(st.lists(QUESTIONS, max_size=40))
def test_no_bound_is_ever_passed(questions: list[tuple[str, list[Frame]]]) -> None:
    holdings = Holdings(QueueLimits(max_queue=9, max_client_queue=4))
    let_in = Counter[str]()
    for client, frames in questions:
        excess = holdings.excess(client, frames)
        full = let_in[client] == 4 or let_in.total() == 9
        assert (excess is not None) == full
        if excess is None:
            holdings.add(client, frames)
            let_in[client] += 1


@pytest.mark.parametrize(
    ("limits", "other", "setting"),
    [
        (QueueLimits(max_client_queue_mib=3), "a", "max_client_queue_mib"),
        (QueueLimits(max_queue_mib=3), "b", "max_queue_mib"),
    ],
)
def test_frames_are_bounded_in_bytes_each_counted_once(
    limits: QueueLimits, other: str, setting: str
) -> None:
    holdings = Holdings(limits)
    known = frame(2 * MIB)
    holdings.add("a", [known, known])
    assert holdings.excess("a", [known]) is None
    assert holdings.excess(other, [frame(MIB)]) is None
    excess = holdings.excess(other, [frame(MIB + 1)])
    assert excess is not None
    assert f"raise {setting} " in excess.reason


def test_a_question_that_is_over_a_bound_by_itself_is_let_in_alone() -> None:
    holdings = Holdings(QueueLimits(max_queue_mib=1, max_client_queue_mib=1))
    large = [frame(2 * MIB)]
    assert holdings.excess("a", large) is None
    holdings.add("a", large)
    assert holdings.excess("b", [frame(1)]) is not None
    holdings.remove("a", large)
    assert holdings.excess("b", large) is None


def test_one_client_cannot_take_all_room_from_others() -> None:
    holdings = Holdings(QueueLimits(max_queue=8, max_client_queue=4))
    for _ in range(4):
        holdings.add("greedy", [])
    excess = holdings.excess("greedy", [])
    assert excess is not None
    assert "max_client_queue" in excess.reason
    assert holdings.excess("other", []) is None


def test_a_learner_of_320_environments_and_three_heads_fits_twice() -> None:
    holdings = Holdings(QueueLimits())
    for _ in range(2):
        for _ in range(320):
            initial, previous, current = (frame(256 * 256 * 3) for _ in range(3))
            # contrastive in both orders, progress, completion
            for frames in (
                [previous, current],
                [current, previous],
                [initial, current],
                [current],
            ):
                assert holdings.excess("learner", frames) is None
                holdings.add("learner", frames)
    assert holdings.excess("other", [frame(1000)]) is None


def test_urgent_questions_find_room_where_others_filled_the_server() -> None:
    holdings = Holdings(QueueLimits(max_queue=8, max_client_queue=8, max_queue_mib=8))
    for at in range(8):
        holdings.add(f"learner-{at}", [frame(MIB)])
    assert holdings.excess("another", [frame(1)]) is not None
    assert holdings.excess("robot", [frame(MIB)], urgent=True) is None
    holdings.add("robot", [frame(MIB)])
    assert holdings.excess("robot", [frame(1)], urgent=True) is not None
