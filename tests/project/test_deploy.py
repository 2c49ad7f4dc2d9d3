"""Containers: what they set is a setting, and what they scrape is there."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from lrm_server.config import Settings, WrongSettingsError, settings_from
from tests.project.layers import ROOT

VARIABLES = {f"LRM_{name.upper()}" for name in Settings.model_fields}
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def load(name: str) -> Any:
    return yaml.safe_load((ROOT / "deploy" / name).read_text())


@pytest.fixture(scope="module")
def compose() -> Any:
    return load("compose.yaml")


def test_variables_of_the_image_are_settings() -> None:
    named = set(re.findall(r"\bLRM_[A-Z_]+\b", DOCKERFILE))
    assert named <= VARIABLES
    assert "LRM_HOST" in named


def test_the_image_does_not_start_without_a_token() -> None:
    host = re.search(r"LRM_HOST=(\S+)", DOCKERFILE)
    assert host
    with pytest.raises(WrongSettingsError, match="token"):
        settings_from({"host": host.group(1)})


def test_the_image_exposes_the_default_ports_and_asks_its_own_readiness() -> None:
    http, grpc = (Settings.model_fields[name].default for name in ("http_port", "grpc_port"))
    assert f"EXPOSE {http} {grpc}" in DOCKERFILE
    assert f"http://127.0.0.1:{http}/readyz" in DOCKERFILE


def test_the_image_does_not_run_as_root() -> None:
    lines = DOCKERFILE.splitlines()
    assert lines.index("USER lrm") < lines.index('ENTRYPOINT ["lrm", "serve"]')


def test_what_the_image_copies_exists_and_is_not_ignored() -> None:
    copied = [
        name
        for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
        for name in line.split()
    ]
    kept = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"
    }
    assert copied
    assert all((ROOT / name).exists() for name in copied)
    assert set(copied) == kept


def test_variables_of_the_composition_are_settings(compose: Any) -> None:
    named = set(compose["services"]["server"]["environment"])
    assert named <= VARIABLES
    assert "LRM_TOKEN_FILE" in named


def test_the_server_gets_a_gpu_and_its_token(compose: Any) -> None:
    server = compose["services"]["server"]
    (device,) = server["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    (secret,) = server["secrets"]
    assert server["environment"]["LRM_TOKEN_FILE"] == f"/run/secrets/{secret}"
    assert secret in compose["secrets"]


def test_ports_are_published_on_loopback_only(compose: Any) -> None:
    ports = [port for service in compose["services"].values() for port in service["ports"]]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_grace_of_the_container_outlasts_the_servers(compose: Any) -> None:
    grace = int(compose["services"]["server"]["stop_grace_period"].removesuffix("s"))
    assert grace > Settings.model_fields["shutdown_grace_seconds"].default


def test_prometheus_scrapes_the_server_with_the_token(compose: Any) -> None:
    (job,) = load("prometheus.yml")["scrape_configs"]
    (targets,) = (config["targets"] for config in job["static_configs"])
    assert targets == [f"server:{Settings.model_fields['http_port'].default}"]
    (secret,) = compose["services"]["prometheus"]["secrets"]
    assert job["authorization"]["credentials_file"] == f"/run/secrets/{secret}"
    assert compose["configs"]["prometheus"]["file"] == "prometheus.yml"
