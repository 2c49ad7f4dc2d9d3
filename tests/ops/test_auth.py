"""The bearer token."""

from __future__ import annotations

import pytest

from lrm_server.errors import ErrorCode
from lrm_server.ops.auth import TokenCheck


@pytest.mark.parametrize("secret", ["", " ", "\n"])
def test_an_empty_token_is_no_token_but_a_mistake(secret: str) -> None:
    with pytest.raises(ValueError, match="empty"):
        TokenCheck(secret)


def test_without_a_token_everyone_may_enter() -> None:
    check = TokenCheck(None)
    assert not check.required
    assert check.refusal(None) is None
    assert check.refusal("Bearer anything") is None


@pytest.mark.parametrize("given", ["Bearer hush", "bearer hush", "BEARER  hush "])
def test_the_token_lets_in(given: str) -> None:
    assert TokenCheck("hush").refusal(given) is None


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "hush",
        "Bearer",
        "Bearer ",
        "Bearer  ",
        "Bearer \xa0",
        "Basic hush",
        "Bearer hus",
        "Bearer hushé",
    ],
)
def test_anything_else_stays_out_and_is_told_how_to_enter(given: str | None) -> None:
    refusal = TokenCheck("hush").refusal(given)
    assert refusal is not None
    assert refusal.code is ErrorCode.UNAUTHENTICATED
    assert "authorization" in refusal.message
    assert "hush" not in refusal.message
