"""The settings of a model at a remote endpoint."""

from __future__ import annotations

import pytest

from lrm_server.config import WrongSettingsError, settings_from

URL = "https://host/v1"
KEY = "sk-of-nobody-4711"


def test_the_key_comes_from_the_environment_and_is_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LRM_REMOTE_KEY", KEY)
    settings = settings_from({"backend": "chat", "remote_url": URL, "model": "m"})
    assert settings.remote_key is not None
    assert settings.remote_key.get_secret_value() == KEY
    assert KEY not in repr(settings)
    assert KEY not in str(settings.model_dump())


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"backend": "chat"}, "remote_url"),
        ({"remote_url": URL}, "remote_url"),
        ({"backend": "clip", "remote_url": URL}, "remote_url"),
        ({"backend": "chat", "remote_url": URL, "remote_prefill": "maybe"}, "remote_prefill"),
        ({"backend": "gpt"}, "backend"),
    ],
)
def test_settings_that_do_not_go_together_are_named(flags: dict[str, object], named: str) -> None:
    with pytest.raises(WrongSettingsError) as error:
        settings_from({**flags, "remote_key": KEY})
    assert named in str(error.value)
    assert KEY not in str(error.value)


def test_a_wrong_key_is_not_repeated() -> None:
    with pytest.raises(WrongSettingsError) as error:
        settings_from({"remote_key": {"key": KEY}})
    assert "remote_key" in str(error.value)
    assert KEY not in str(error.value)
