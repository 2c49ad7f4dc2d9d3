"""What our packages import is what their installs bring."""

from __future__ import annotations

import re
import sys

import pytest

from tests.project.layers import PACKAGES, ROOT, sources

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]

MODULE_OF = {
    "grpcio": "grpc",
    "grpcio-health-checking": "grpc_health",
    "grpcio-reflection": "grpc_reflection",
    "pillow": "PIL",
    "prometheus-client": "prometheus_client",
    "protobuf": "google",
    "pydantic-settings": "pydantic_settings",
    "python-multipart": "python_multipart",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
}
# What the libraries that we ask for bring by their own declaration, and say so in public.
BROUGHT = {
    "pydantic-settings": {"pydantic", "pydantic_core"},
    "fastapi": {"starlette"},
    "jinja2": {"markupsafe"},
    "vllm": {"vllm", "torch", "torchvision", "transformers", "huggingface_hub", "safetensors"},
}
# Imported for typing alone, or where the interpreter is old.
OPTIONAL = {"typing_extensions"}
# Imported by the adapters in ``envs``, which are importable without and say what to install.
OPTIONAL_OF_CLIENT = {"gymnasium", "lerobot", "torch"}
# Imported by ``lrm record`` alone, which says what to install where it is missing.
OPTIONAL_OF_SERVER = {"gymnasium"}


def modules(requirements: list[str]) -> set[str]:
    found: set[str] = set()
    for requirement in requirements:
        name = re.split(r"[<>=\[ ;]", requirement)[0].lower()
        found.add(MODULE_OF.get(name, name))
        found |= BROUGHT.get(name, set())
    return found


def imported(package: str) -> set[str]:
    tops = {
        module.partition(".")[0]
        for source in sources()
        if source.module.partition(".")[0] == package
        for module, _ in source.imports()
    }
    return tops - set(sys.stdlib_module_names) - set(PACKAGES) - OPTIONAL


def test_the_client_imports_what_the_base_install_brings() -> None:
    brought = modules(PROJECT["dependencies"]) | OPTIONAL_OF_CLIENT
    assert imported("lrm_client") - brought == set()


def test_the_server_imports_what_its_extras_bring() -> None:
    brought = modules([*PROJECT["dependencies"], *EXTRAS["server"]]) | BROUGHT["vllm"]
    brought |= OPTIONAL_OF_SERVER
    assert imported("lrm_server") - brought == set()


def test_the_base_install_stays_thin() -> None:
    assert modules(PROJECT["dependencies"]) == {"grpc", "httpx", "numpy", "PIL", "google"}


def test_both_builds_of_vllm_are_of_one_version() -> None:
    cpu, gpu = (EXTRAS[name][-1].partition("==")[2] for name in ("cpu", "gpu"))
    assert cpu == gpu != ""
