"""What is logged, in which form, and what never is."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Literal

import pytest
import structlog

from lrm_server.ops.logging import configure_logging


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, before = root.handlers[:], root.level, structlog.get_config()
    yield
    root.handlers, root.level = handlers, level
    structlog.configure(**before)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_libraries_and_the_server_log_alike(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    structlog.get_logger("ours").info("an event", head="progress")
    logging.getLogger("theirs").warning("a %s", "message")
    ours, theirs = lines(capsys)
    assert (ours["event"], ours["head"], ours["level"]) == ("an event", "progress", "info")
    assert (ours["logger"], theirs["logger"]) == ("ours", "theirs")
    assert (theirs["event"], theirs["level"]) == ("a message", "warning")
    assert "timestamp" in ours


def test_what_is_below_the_level_is_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("warning", "json")
    structlog.get_logger("ours").info("quiet")
    logging.getLogger("theirs").info("quiet")
    structlog.get_logger("ours").warning("loud")
    assert [line["event"] for line in lines(capsys)] == ["loud"]


def test_secrets_are_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    secrets = {"token": "hush", "Authorization": "Bearer hush"}
    structlog.get_logger("ours").info("an event", **secrets)
    logging.getLogger("theirs").info("a message", extra={"token": "hush"})
    written = capsys.readouterr().err
    assert "hush" not in written
    assert written.count("***") == 3


def fail(secret: str) -> None:
    raise ValueError(f"broken by {len(secret)} characters")


@pytest.mark.parametrize("form", ["json", "console"])
def test_tracebacks_are_kept_without_the_values_in_them(
    capsys: pytest.CaptureFixture[str], form: Literal["json", "console"]
) -> None:
    configure_logging("info", form)
    try:
        fail("hush")
    except ValueError:
        structlog.get_logger("ours").exception("it failed")
    written = capsys.readouterr().err
    assert "ValueError: broken by 4 characters" in written
    assert "in fail" in written
    assert "secret = " not in written


def test_text_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "console")
    structlog.get_logger("ours").info("an event", head="progress")
    written = capsys.readouterr().err
    assert "an event" in written
    assert not written.startswith("{")


def test_without_a_person_watching_auto_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "auto")
    structlog.get_logger("ours").info("an event")
    assert lines(capsys)[0]["event"] == "an event"
