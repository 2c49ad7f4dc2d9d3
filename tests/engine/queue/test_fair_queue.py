"""Whose turn it is: clients one after the other, whatever comes and goes."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrm_server.engine.fair_queue import FairQueue

CLIENTS = st.sampled_from(["a", "b", "c", "d"])
ITEMS = st.lists(CLIENTS, max_size=60)


def filled(clients: list[str]) -> FairQueue[tuple[str, int]]:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    for number, client in enumerate(clients):
        queue.put(client, (client, number))
    return queue


@given(ITEMS)
def test_while_two_clients_wait_neither_is_more_than_one_ahead(clients: list[str]) -> None:
    queue = filled(clients)
    left, got = Counter(clients), Counter[str]()
    while len(queue):
        client, _ = queue.pop()
        got[client] += 1
        for other in left:
            if left[other] > got[other] and left[client] > got[client]:
                assert abs(got[client] - got[other]) <= 1
    assert got == left


@given(ITEMS)
def test_a_clients_items_keep_their_order_and_none_is_lost(clients: list[str]) -> None:
    queue = filled(clients)
    popped = [queue.pop() for _ in range(len(queue))]
    for client in set(clients):
        numbers = [number for name, number in popped if name == client]
        assert numbers == [number for number, name in enumerate(clients) if name == client]


@given(ITEMS, st.data())
def test_what_is_taken_out_is_never_popped_and_the_rest_is(
    clients: list[str], data: st.DataObject
) -> None:
    queue = filled(clients)
    items = [(client, number) for number, client in enumerate(clients)]
    out = data.draw(st.lists(st.sampled_from(items), unique=True) if items else st.just([]))
    for client, number in out:
        for _ in range(2):  # Once more changes nothing.
            queue.discard(client, (client, number))
    assert len(queue) == len(items) - len(out)
    assert {queue.pop() for _ in range(len(queue))} == set(items) - set(out)
    assert not len(queue)


def test_a_newcomer_waits_for_one_item_of_each_client_and_not_for_all() -> None:
    queue = filled(["greedy"] * 50 + ["other"] * 50)
    queue.put("robot", ("robot", 0))
    order = [queue.pop()[0] for _ in range(3)]
    assert sorted(order) == ["greedy", "other", "robot"]


def test_an_empty_queue_has_nothing_to_pop() -> None:
    with pytest.raises(KeyError):
        FairQueue[int]().pop()
