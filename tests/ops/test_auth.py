"""The token, as a header or in an address."""

from __future__ import annotations

import base64

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


def basic(name: str, password: str) -> str:
    """As clients send the user and the password of an address."""
    return f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"


@pytest.mark.parametrize(
    "given",
    ["Bearer hush", "bearer hush", "BEARER  hush ", basic("lrm", "hush"), basic("", "hush")],
)
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
        "Basic",
        basic("hush", ""),
        basic("lrm", "hus"),
        f"Basic {base64.b64encode(b'hush').decode()}",
        "Basic \xff\xfe",
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
