"""Settings of several engines: in the file, in variables, inherited, and wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from lrm_server.config import WrongSettingsError, settings_from

ROOT = Path(__file__).resolve().parents[2]
KEY = "sk-of-nobody-4711"


def test_an_engine_takes_what_it_does_not_say_from_the_settings_above(tmp_path: Path) -> None:
    file = tmp_path / "lrm.yaml"
    file.write_text(
        "kv_cache_gib: 0.5\nadapters: {progress: a}\n"
        "engines:\n"
        "  merged: {model: m, heads: progress, adapters: {}}\n"
        "  base: {kv_cache_gib: 2, cores: 0-1, devices: 1}\n"
    )
    each = settings_from({"max_sequences": "7"}, file).each_engine()
    merged, base = each["merged"], each["base"]
    assert (merged.model, merged.heads, merged.adapters) == ("m", "progress", {})
    assert (base.model, base.heads, base.adapters) == ("embedded", None, {"progress": "a"})
    assert (merged.kv_cache_gib, base.kv_cache_gib) == (0.5, 2.0)
    assert (merged.cores, base.cores, base.devices) == (None, "0-1", "1")
    assert {merged.max_sequences, base.max_sequences} == {7}


def test_without_engines_the_settings_are_those_of_the_only_one() -> None:
    settings = settings_from({"model": "m"})
    assert settings.each_engine() == {"": settings}


def test_engines_come_from_variables_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRM_ENGINES", '{"one": {"heads": "progress"}}')
    monkeypatch.setenv("LRM_ENGINES__TWO__HEADS", "completion")
    each = settings_from({}).each_engine()
    assert {name: engine.heads for name, engine in each.items()} == {
        "one": "progress",
        "two": "completion",
    }


@pytest.mark.parametrize(
    ("engine", "named"),
    [
        ({"http_port": 1}, "engines.one.http_port: there is no such setting"),
        ({"backend": "chat"}, "engines.one: backend is chat: set remote_url"),
        ({"cores": "first"}, "engines.one.cores: "),
        ({"engines": {}}, "engines.one.engines: there is no such setting"),
        ({"remote_key": {"key": KEY}}, "engines.one.remote_key: "),
    ],
)
def test_what_is_wrong_is_named_with_its_engine(engine: dict[str, object], named: str) -> None:
    with pytest.raises(WrongSettingsError) as caught:
        settings_from({"engines": {"one": engine}})
    (problem,) = caught.value.problems
    assert problem.startswith(named)
    assert KEY not in problem


def test_a_key_of_an_engine_is_not_repeated() -> None:
    with pytest.raises(WrongSettingsError) as caught:
        settings_from({"engines": {"one": {"remote_key": 4711}}})
    assert "4711" not in str(caught.value)


def test_the_example_of_several_engines_is_accepted() -> None:
    each = settings_from({}, ROOT / "deploy" / "engines.yaml").each_engine()
    heads = [head for engine in each.values() for head in engine.head_names]
    assert len(each) == 2
    assert sorted(heads) == ["completion", "contrastive", "progress", "tri"]


def test_a_key_goes_to_no_endpoint_that_it_was_not_given_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LRM_REMOTE_KEY", KEY)
    chat = {"backend": "chat"}
    each = settings_from(
        {
            "remote_url": "https://known/v1",
            **chat,
            "engines": {
                "known": {**chat, "heads": "progress"},
                "other": {**chat, "heads": "completion", "remote_url": "https://other/v1"},
            },
        }
    ).each_engine()
    known, other = each["known"], each["other"]
    assert known.remote_key is not None
    assert known.remote_key.get_secret_value() == KEY
    assert (other.remote_url, other.remote_key) == ("https://other/v1", None)


@pytest.mark.parametrize("name", ["Merged", "two__parts", "with space", ""])
def test_a_name_that_variables_could_not_have_is_refused(name: str) -> None:
    with pytest.raises(WrongSettingsError, match="no name for an engine"):
        settings_from({"engines": {name: {}}})
