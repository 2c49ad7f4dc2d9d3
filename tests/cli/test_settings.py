"""Where settings come from, and what is said about wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from lrm_server.cli import app
from lrm_server.config import (
    Settings,
    WrongSettingsError,
    environment_without_settings,
    settings_from,
)


def serve(*arguments: str) -> tuple[int, list[str]]:
    result = CliRunner().invoke(app, ["serve", *arguments])
    return result.exit_code, result.stderr.splitlines()


def problems(*flags: tuple[str, object], file: Path | None = None) -> tuple[str, ...]:
    with pytest.raises(WrongSettingsError) as caught:
        settings_from(dict(flags), file)
    return caught.value.problems


def test_flags_win_over_variables_over_the_file_over_defaults(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "lrm.yaml"
    file.write_text("max_batch: 2\nmax_queue: 2\nmax_frame_mib: 2\n")
    monkeypatch.setenv("LRM_MAX_BATCH", "3")
    monkeypatch.setenv("LRM_MAX_QUEUE", "3")
    settings = settings_from({"max_batch": "4"}, file)
    assert (settings.max_batch, settings.max_queue, settings.max_frame_mib) == (4, 3, 2)
    assert settings.max_episodes == Settings.model_fields["max_episodes"].default


def test_the_file_of_one_call_is_not_the_file_of_the_next(tmp_path: Path) -> None:
    file = tmp_path / "lrm.yaml"
    file.write_text("max_batch: 2\n")
    assert settings_from({}, file).max_batch == 2
    assert settings_from({}).max_batch == Settings.model_fields["max_batch"].default


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "lrm.yaml"
    file.write_text("# nothing yet\n")
    assert settings_from({}, file).model_dump() == settings_from({}).model_dump()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("max_bacth: 2\n", "max_bacth: there is no such setting"),
        ("max_batch: 0\n", "max_batch: "),
        ("- 1\n", "config: "),
        ("model: [x\n", "config: "),
    ],
)
def test_a_wrong_file_is_named_with_its_setting(tmp_path: Path, content: str, named: str) -> None:
    file = tmp_path / "lrm.yaml"
    file.write_text(content)
    (problem,) = problems(file=file)
    assert problem.startswith(named)
    assert "\n" not in problem


def test_a_file_that_does_not_exist_is_named(tmp_path: Path) -> None:
    (problem,) = problems(file=tmp_path / "none.yaml")
    assert "none.yaml" in problem


def test_every_wrong_setting_gets_one_line_and_status_2() -> None:
    status, lines = serve("--http-port", "many", "--max-queue", "0", "--log-level", "loud")
    assert status == 2
    assert [line.split(":")[1].strip() for line in lines] == ["max_queue", "http_port", "log_level"]


def test_a_variable_that_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRM_GRPC_PORT", "70000")
    status, lines = serve()
    assert status == 2
    assert lines == ["lrm: grpc_port: Input should be less than or equal to 65535, not '70000'"]


def test_adapters_that_are_no_json_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRM_ADAPTERS", "progress=folder")
    status, lines = serve()
    assert status == 2
    assert len(lines) == 1
    assert "adapters" in lines[0]


def test_off_loopback_a_token_is_required() -> None:
    status, lines = serve("--host", "0.0.0.0")  # noqa: S104
    assert status == 2
    assert len(lines) == 1
    assert "token" in lines[0]
    assert settings_from({"host": "0.0.0.0", "token": "t"}).secret() == "t"  # noqa: S104


@pytest.mark.parametrize("token", ["", " "])
def test_an_empty_token_is_refused(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("LRM_TOKEN", token)
    status, lines = serve("--host", "0.0.0.0")  # noqa: S104
    assert status == 2
    assert "token is empty" in lines[0]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_on_loopback_no_token_is_required(host: str) -> None:
    assert settings_from({"host": host}).secret() is None


def test_a_token_comes_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("s3cret\n")
    assert settings_from({"token_file": str(file)}).secret() == "s3cret"
    assert problems(("token_file", str(file)), ("token", "t"))


@pytest.mark.parametrize("content", [None, "\n"])
def test_a_token_file_without_a_token_stops_the_server(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
    status, lines = serve("--token-file", str(file))
    assert status == 2
    assert len(lines) == 1
    assert lines[0].startswith("lrm: token_file: ")


def test_a_token_is_never_shown() -> None:
    settings = settings_from({"token": "s3cret"})
    assert "s3cret" not in repr(settings)
    assert "s3cret" not in str(problems(("token", ["s3cret"]), ("max_batch", 0)))


def test_one_port_for_two_protocols_is_refused() -> None:
    (problem,) = problems(("http_port", 5000), ("grpc_port", "5000"))
    assert "http_port" in problem
    assert "grpc_port" in problem
    assert settings_from({"http_port": 0, "grpc_port": 0}).http_port == 0


def test_the_demos_server_takes_no_settings_of_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRM_MODEL", "another")
    monkeypatch.setenv("ELSEWHERE", "kept")
    environment = environment_without_settings()
    assert "LRM_MODEL" not in environment
    assert environment["ELSEWHERE"] == "kept"
