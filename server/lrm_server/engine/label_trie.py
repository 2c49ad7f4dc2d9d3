"""Reading a set of labels at the answer slot: which tokens are asked where. Pure.

Labels may take several tokens and share beginnings: under Qwen's tokeniser the
eleven stages of progress are 0 or 1 at the slot, and for 0 a digit after the
point. They form a trie of tokens. One request reads the probabilities of one
node's children; the logarithm of a label's probability is the sum along its
path. An inner node with a single child is taken as certain: the model has
nothing to decide there. The root is always read, because what it gives to all
its children together is the label mass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lrm_server.errors import DomainError, ErrorCode

Path = tuple[int, ...]

MAX_TOKENS_PER_NODE = 128
"""What one request may ask for (``VLLM_MAX_LOGPROB_TOKEN_IDS`` of vLLM 0.32)."""


@dataclass(frozen=True, slots=True)
class Node:
    """A place where the model is asked: the tokens before it, the tokens asked for."""

    before: Path
    children: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LabelTrie:
    """Which nodes are read, and how each label's log-probability is put together.

    Attributes:
        nodes: the root first; all of them are asked at once.
        terms: per label, the (node, token) pairs whose log-probabilities add up.
    """

    nodes: tuple[Node, ...]
    terms: tuple[tuple[tuple[int, int], ...], ...]

    def combine(self, read: Sequence[Mapping[int, float]]) -> tuple[float, ...]:
        """The labels' log-probabilities from those of the tokens, node by node."""
        return tuple(sum(read[node][token] for node, token in label) for label in self.terms)


def build_trie(paths: Sequence[Path]) -> LabelTrie:
    """The trie of the labels' token paths, in the labels' order.

    Args:
        paths: distinct, none the beginning of another, none empty.

    Raises:
        DomainError: LABEL_SET_TOO_LARGE when one node has more children than one
            request can ask for.
    """
    children: dict[Path, list[int]] = {}
    for path in paths:
        for depth, token in enumerate(path):
            found = children.setdefault(path[:depth], [])
            if token not in found:
                found.append(token)
    read = [before for before, tokens in children.items() if not before or len(tokens) > 1]
    for before in read:
        if len(children[before]) > MAX_TOKENS_PER_NODE:
            raise DomainError(
                ErrorCode.LABEL_SET_TOO_LARGE,
                f"the labels differ in {len(children[before])} tokens at one place and at most "
                f"{MAX_TOKENS_PER_NODE} can be read: use fewer labels.",
                field="head",
            )
    index = {before: number for number, before in enumerate(read)}
    terms = tuple(
        tuple(
            (index[path[:depth]], token)
            for depth, token in enumerate(path)
            if path[:depth] in index
        )
        for path in paths
    )
    return LabelTrie(tuple(Node(before, tuple(children[before])) for before in read), terms)
