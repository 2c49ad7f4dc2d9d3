"""Errors name what is wrong from the outside in."""

from __future__ import annotations

import pytest

from lrm_server.errors import DomainError, invalid, named


@pytest.mark.parametrize(
    ("outer", "field", "whole"),
    [("queries[3]", "task", "queries[3].task"), ("current", "", "current"), ("", "task", "task")],
)
def test_an_error_of_a_block_is_named_from_further_out(outer: str, field: str, whole: str) -> None:
    cause = OSError("no such disk")
    with pytest.raises(DomainError) as caught, named(outer):
        raise invalid(field, "it is wrong.") from cause
    assert (caught.value.field, caught.value.message) == (whole, "it is wrong.")
    assert caught.value.__cause__ is cause
