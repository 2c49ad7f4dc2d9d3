"""The token trie that labels are read from."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrm_server.engine.label_trie import Node, build_trie
from lrm_server.errors import DomainError, ErrorCode


def test_single_tokens_are_read_by_one_request() -> None:
    trie = build_trie([(5,), (7,)])
    assert trie.nodes == (Node((), (5, 7)),)
    assert trie.combine([{5: -0.1, 7: -2.4}]) == (-0.1, -2.4)


def test_shared_beginnings_are_read_by_one_request_for_each_branching_node() -> None:
    # 0.1, 0.2 and 1.0 under a tokeniser that splits digits.
    trie = build_trie([(0, 99, 1), (0, 99, 2), (1, 99, 0)])
    assert trie.nodes == (Node((), (0, 1)), Node((0, 99), (1, 2)))
    read = [{0: math.log(0.7), 1: math.log(0.3)}, {1: math.log(0.4), 2: math.log(0.6)}]
    assert [math.exp(lp) for lp in trie.combine(read)] == pytest.approx([0.28, 0.42, 0.3])


def test_the_root_is_read_even_where_all_labels_begin_alike() -> None:
    trie = build_trie([(3, 1), (3, 2)])
    assert trie.nodes == (Node((), (3,)), Node((3,), (1, 2)))
    assert trie.combine([{3: -1.0}, {1: -0.5, 2: -0.9}]) == (-1.5, -1.9)


def test_a_node_with_more_children_than_one_request_can_ask_for_is_refused() -> None:
    with pytest.raises(DomainError, match="129 tokens") as refused:
        build_trie([(token,) for token in range(129)])
    assert refused.value.code is ErrorCode.LABEL_SET_TOO_LARGE
    build_trie([(token,) for token in range(128)])


tokens = st.integers(0, 3)
path_sets = st.lists(st.tuples(tokens, tokens, tokens), min_size=1, max_size=20, unique=True)


@given(path_sets, st.randoms())
def test_paths_of_a_complete_model_get_its_chain_rule_probability(paths, random) -> None:
    """With every conditional known, label masses add up to what the root gives its children."""
    trie = build_trie(paths)
    read = []
    for node in trie.nodes:
        weights = [random.random() + 0.01 for _ in node.children]
        total = sum(weights) if node.before else sum(weights) / 0.8
        read.append({t: math.log(w / total) for t, w in zip(node.children, weights, strict=True)})
    assert sum(math.exp(lp) for lp in trie.combine(read)) == pytest.approx(0.8)
