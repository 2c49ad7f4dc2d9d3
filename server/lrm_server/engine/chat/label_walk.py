"""Reading labels from the tokens that an endpoint lists. Pure; on bytes, not on token ids.

An endpoint tells, for each token that it wrote, the most probable ones in its place
(twenty at most). A label's probability is put together along the tokens that were
written: an alternative that only one label can go on from is that label's; one that
several can go on from is a branch, whose labels are told apart by what follows. Along
the written tokens that is known; of other branches the endpoint must be asked, if it
can continue a text that is given to it.

What is not in a list has an unknown probability, at most that of the last one listed.
It counts as 0, so that the labels' mass is never overstated.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from lrm_server.engine.chat.completions import Position
from lrm_server.engine.protocol import AnswerForm

_CLOSES = re.compile(rb"\s|\W*\Z")
"""After a label without a terminator: white space, or nothing but punctuation."""


@dataclass(frozen=True, slots=True)
class Branch:
    """A beginning that several labels share, with what is known of its probability.

    Attributes:
        written: the labels' common beginning, from where the label stands.
        logprob: natural logarithm of the probability that the answer begins so.
    """

    written: bytes
    logprob: float


@dataclass(slots=True)
class Walk:
    """What has been read so far.

    Attributes:
        shares: probability of each label, in the form's order.
        branches: beginnings whose labels were not told apart.
    """

    shares: list[float]
    branches: list[Branch] = field(default_factory=list)

    @property
    def unresolved(self) -> float:
        """Probability that lies on labels, but it is not known on which."""
        return sum(math.exp(branch.logprob) for branch in self.branches)

    def logprobs(self) -> tuple[float, ...]:
        """Natural logarithms of the shares; minus infinity for labels that were not listed."""
        return tuple(math.log(share) if share > 0 else -math.inf for share in self.shares)


class LabelBytes:
    """The labels of a form as bytes, and which of them a text can be the beginning of."""

    def __init__(self, form: AnswerForm) -> None:
        self._labels = [label.encode() for label in form.labels]
        self._terminator = _without_space(form.terminator.encode())
        closing = form.terminator.encode()
        self._whole = [label + closing for label in self._labels]

    def __len__(self) -> int:
        return len(self._labels)

    def fitting(self, written: bytes) -> frozenset[int]:
        """The labels that ``written`` begins or is; a label may be closed, but not go on."""
        return frozenset(at for at, label in enumerate(self._labels) if self._fits(written, label))

    def common_beginning(self, labels: frozenset[int]) -> bytes:
        """What the given labels, closed, begin with in common."""
        return _common([self._whole[at] for at in labels])

    @property
    def deciding_length(self) -> int:
        """Bytes after which any two labels differ; with one label, 1."""
        longest = 1
        for at, one in enumerate(self._whole):
            for other in self._whole[at + 1 :]:
                longest = max(longest, len(_common([one, other])) + 1)
        return longest

    def _fits(self, written: bytes, label: bytes) -> bool:
        if label.startswith(written):
            return True
        if not written.startswith(label):
            return False
        rest = written[len(label) :]
        if not self._terminator:
            return _CLOSES.match(rest) is not None
        rest = _without_space(rest)
        return self._terminator.startswith(rest) or rest.startswith(self._terminator)


def walk(
    labels: LabelBytes,
    positions: Sequence[Position],
    into: Walk,
    *,
    lead: bytes = b"",
    written: bytes = b"",
    logprob: float = 0.0,
) -> None:
    """Adds to ``into`` what the tokens from the answer slot on tell of the labels.

    Args:
        labels: what is looked for.
        positions: the tokens, from the one in which the label begins.
        into: what has been read so far.
        lead: what the first token holds before the label; white space aside.
        written: what of the label stands before the tokens, already decided.
        logprob: of ``written``.
    """
    slot = not written
    for position in positions:
        current = labels.fitting(written)
        found: list[tuple[bytes, bytes, float, frozenset[int]]] = []
        for token, lp in position.alternatives.items():
            text = _extended(written, token, lead)
            if text is not None and (fits := labels.fitting(text)):
                found.append((token, text, lp, fits))
        lead = b""
        if not slot and found and all(fits == current for *_, fits in found):
            # Nothing is decided here, so going on is taken as certain.
            found = [(token, text, 0.0, fits) for token, text, _, fits in found]
            if all(token != position.token for token, *_ in found):
                into.branches.append(Branch(written, logprob))
                return
            found = [each for each in found if each[0] == position.token]
        slot = False
        path: tuple[bytes, float] | None = None
        for token, text, lp, fits in found:
            if len(fits) == 1:
                (label,) = fits
                into.shares[label] += math.exp(logprob + lp)
            elif token == position.token:
                path = text, logprob + lp
            elif text and lp > -math.inf:
                into.branches.append(Branch(text, logprob + lp))
        if path is None:
            return
        written, logprob = path
    if written and len(labels.fitting(written)) > 1:
        into.branches.append(Branch(written, logprob))


def _extended(written: bytes, token: bytes, lead: bytes) -> bytes | None:
    """The label's text with one more token; None when the token is nothing or no part of it."""
    if not token:
        return None
    if written:
        return written + token
    rest = token.lstrip()
    lead = lead.strip()
    if not rest.startswith(lead):
        return b"" if lead.startswith(rest) else None
    return rest[len(lead) :].lstrip()


def _common(texts: Sequence[bytes]) -> bytes:
    low, high = min(texts), max(texts)
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(low, high, strict=False))
    return low[: len(list(same))]


def _without_space(text: bytes) -> bytes:
    return b"".join(text.split())
