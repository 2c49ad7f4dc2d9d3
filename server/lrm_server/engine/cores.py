"""Which cores the engines of a server compute on: each its own, evenly shared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from lrm_server.errors import invalid

Ranks: TypeAlias = tuple[tuple[int, ...], ...]
"""The cores of each copy of an engine's model, by rank; () leaves them to vLLM."""


@dataclass(frozen=True, slots=True)
class CoreWish:
    """What an engine wants of a machine's cores.

    Attributes:
        cores: these, in the form ``0-3,6``; an even share of those left over when None.
        threads: at most so many of its share; all when None.
        copies: of the model, among which its cores are split.
    """

    cores: str | None = None
    threads: int | None = None
    copies: int = 1


def parse_numbers(text: str) -> tuple[int, ...]:
    """The numbers in ``0-3,6``, in order and each once.

    Raises:
        ValueError: it is no list of numbers and ranges.
    """
    numbers: list[int] = []
    for item in text.split(","):
        first, _, last = item.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return tuple(dict.fromkeys(numbers))


def allot(usable: Sequence[int], wishes: Mapping[str, CoreWish]) -> dict[str, Ranks]:
    """Each engine's cores, by its name. Where cores are too few, engines share them.

    Args:
        usable: cores that this process may use; at least one.
        wishes: engine -> what it wants.

    Raises:
        DomainError: INVALID_ARGUMENT of ``cores`` for a core that cannot be used.
    """
    chosen = {
        name: _checked(wish.cores, usable)
        for name, wish in wishes.items()
        if wish.cores is not None
    }
    taken = {core for cores in chosen.values() for core in cores}
    left = [core for core in usable if core not in taken] or list(usable)
    others = [name for name in wishes if name not in chosen]
    shares = chosen | dict(zip(others, _split(left, len(others)), strict=True))
    return {
        name: tuple(_split(shares[name][: wish.threads], wish.copies))
        for name, wish in wishes.items()
    }


def _checked(text: str, usable: Sequence[int]) -> tuple[int, ...]:
    cores = parse_numbers(text)
    missing = sorted(set(cores) - set(usable))
    if missing or not cores:
        raise invalid(
            "cores",
            f"cores is {text} and this process may use {', '.join(map(str, usable))}: choose among "
            "those.",
        )
    return cores


def _split(cores: Sequence[int], parts: int) -> list[tuple[int, ...]]:
    """Even shares of neighbours; where cores are too few, each part gets one in turn."""
    if len(cores) < parts:
        return [(cores[part % len(cores)],) for part in range(parts)]
    return [
        tuple(cores[len(cores) * part // parts : len(cores) * (part + 1) // parts])
        for part in range(parts)
    ]
