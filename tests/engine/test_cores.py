"""Which cores engines get, and how vLLM is told."""

from __future__ import annotations

import os

import pytest

from lrm_server.engine.cores import CoreWish, allot, parse_numbers
from lrm_server.engine.environment import bindable_cores, bound_to
from lrm_server.errors import DomainError

BINDING = "VLLM_CPU_OMP_THREADS_BIND"
ANY = CoreWish()


@pytest.mark.parametrize(
    ("usable", "wishes", "shares"),
    [
        ((0, 1), [ANY], [((0, 1),)]),
        ((0, 1), [ANY, ANY], [((0,),), ((1,),)]),
        (range(8), [ANY, ANY], [((0, 1, 2, 3),), ((4, 5, 6, 7),)]),
        ((0, 1, 2), [ANY, ANY], [((0,),), ((1, 2),)]),
        ((0, 1), [CoreWish(copies=2)], [((0,), (1,))]),
        (range(6), [CoreWish(copies=2), ANY], [((0,), (1, 2)), ((3, 4, 5),)]),
        (range(4), [CoreWish(cores="3"), ANY], [((3,),), ((0, 1, 2),)]),
        (range(8), [CoreWish(threads=2), ANY], [((0, 1),), ((4, 5, 6, 7),)]),
        (range(4), [CoreWish(cores="0-3"), ANY], [((0, 1, 2, 3),), ((0, 1, 2, 3),)]),
        ((5,), [ANY, CoreWish(copies=2)], [((5,),), ((5,), (5,))]),
    ],
)
def test_engines_share_the_cores_evenly_unless_they_are_told(
    usable: tuple[int, ...], wishes: list[CoreWish], shares: list[tuple[tuple[int, ...], ...]]
) -> None:
    found = allot(usable, {str(at): wish for at, wish in enumerate(wishes)})
    assert list(found.values()) == shares


def test_a_core_that_cannot_be_used_is_named() -> None:
    with pytest.raises(DomainError) as caught:
        allot((0, 1), {"": CoreWish(cores="1-2")})
    assert caught.value.field == "cores"
    assert "0, 1" in caught.value.message


def test_ranges_and_single_cores_are_read() -> None:
    assert parse_numbers("0-2,5,1") == (0, 1, 2, 5)


@pytest.mark.parametrize("before", [None, "0-3"])
def test_a_binding_holds_while_an_engine_starts(
    before: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if before is None:
        monkeypatch.delenv(BINDING, raising=False)
    else:
        monkeypatch.setenv(BINDING, before)
    seen = []

    def fail() -> None:
        seen.append(os.environ[BINDING])
        raise RuntimeError

    with pytest.raises(RuntimeError), bound_to(((0, 1), (2,))):
        fail()
    assert seen == ["0,1|2"]
    assert os.environ.get(BINDING) == before
    with bound_to(()):
        assert os.environ.get(BINDING) == before


@pytest.mark.parametrize(
    ("binding", "cores"), [("0-2", (0, 1, 2)), ("1|3", (1, 3)), ("nobind", ()), ("auto", ())]
)
def test_engines_are_spread_over_the_cores_that_the_operator_names(
    binding: str, cores: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(BINDING, binding)
    assert bindable_cores() == cores
