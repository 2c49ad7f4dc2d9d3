"""``lrm serve``: its flags are the settings, and its help says so."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
from typer.testing import CliRunner

from lrm_server.cli import app
from lrm_server.commands.flags import PANELS
from lrm_server.config import Settings


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that the server was started with; it ends at once with status 3."""
    calls: list[Settings] = []

    def serve(settings: Settings) -> int:
        calls.append(settings)
        return 3

    module = ModuleType("lrm_server.app")
    module.serve = serve  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lrm_server.app", module)
    logs = ModuleType("lrm_server.ops.logging")
    logs.configure_logging = lambda level, form: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lrm_server.ops.logging", logs)
    return calls


def run(*arguments: str) -> int:
    return CliRunner().invoke(app, ["serve", *arguments]).exit_code


def test_the_status_of_the_server_is_the_commands(started: list[Settings]) -> None:
    assert run() == 3
    assert started == [Settings()]


def test_flags_reach_the_server(started: list[Settings]) -> None:
    run(
        *("--model", "org/model", "--kv-cache-gib", "1.5", "--enforce-eager"),
        *("--adapter", "progress=a=b", "--adapter", "contrastive=org/c"),
        *("--log-format", "json", "--http-port", "0"),
    )
    (settings,) = started
    assert settings.model == "org/model"
    assert settings.kv_cache_gib == 1.5
    assert settings.enforce_eager
    assert settings.adapters == {"progress": "a=b", "contrastive": "org/c"}
    assert settings.log_format == "json"
    assert settings.http_port == 0


def test_an_adapter_without_a_path_is_refused(started: list[Settings]) -> None:
    assert run("--adapter", "progress") == 2
    assert started == []


def test_every_setting_has_a_flag_with_its_words() -> None:
    text = CliRunner().invoke(app, ["serve", "--help"], terminal_width=200).stdout
    words = " ".join(text.replace("│", " ").split())
    settings = dict(Settings.model_fields)
    # It holds the settings of engines, which flags cannot tell apart.
    del settings["engines"]
    for name, field in settings.items():
        flag = "--adapter" if name == "adapters" else f"--{name.replace('_', '-')}"
        assert f" {flag} " in words
        assert field.description
        assert field.description.split(".")[0] in words


def test_help_is_in_panels() -> None:
    text = CliRunner().invoke(app, ["serve", "--help"], terminal_width=100).stdout
    places = [text.index(f"─ {panel} ─") for panel in PANELS.values()]
    assert places == sorted(places)
    assert set(PANELS) <= set(Settings.model_fields)


@pytest.mark.parametrize("command", ["serve", "score", "models", "demo"])
def test_every_command_has_help(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert "Usage:" in result.stdout


def test_without_vllm_serve_says_what_to_install(
    started: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lrm_server.cli.find_spec", lambda name: None)
    result = CliRunner().invoke(app, ["serve"])
    assert result.exit_code == 1
    assert "vllm is not installed" in result.stderr
    assert 'pip install "lrm[gpu]"' in result.stderr
    assert started == []
