"""The arrows between folders, and that the check of them sees what it must."""

from __future__ import annotations

import pytest

from tests.project.layers import ALLOWED, ROOT, Source, part_of, sources, violations


def found(module: str, text: str, *, is_package: bool = False) -> list[str]:
    return violations(iter([Source(module, text, is_package)]))


def test_our_packages_keep_the_rules() -> None:
    assert violations(sources()) == []


def test_every_file_is_looked_at() -> None:
    modules = {source.module for source in sources()}
    assert {"lrm_client.clock", "lrm_server.heads.profile", "lrm_server.cli"} <= modules
    assert len(modules) > 50


def test_every_rule_is_of_something_that_exists() -> None:
    modules = {source.module for source in sources()}
    assert {part for part in ALLOWED if part not in modules} == set()


def test_every_folder_of_the_server_has_a_rule() -> None:
    folders = [path.parent for path in (ROOT / "server" / "lrm_server").glob("*/__init__.py")]
    assert [folder.name for folder in folders if not part_of(f"lrm_server.{folder.name}")] == []


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("lrm_server.heads.a", "import vllm"),
        ("lrm_server.heads.a", "from vllm.v1 import x"),
        ("lrm_server.heads.a", "import torch.nn as nn"),
        ("lrm_server.heads.a", "from lrm_server.episodes.types import EpisodeSpec"),
        ("lrm_server.heads.a", "from lrm_server.engine import vllm_engine"),
        ("lrm_server.heads.a", "from lrm_server import api"),
        ("lrm_server.heads.a", "from ..api import problems"),
        ("lrm_server.heads.a", "def f():\n    import grpc"),
        ("lrm_server.heads.a", "if TYPE_CHECKING:\n    from fastapi import FastAPI"),
        ("lrm_server.heads.a", "importlib.import_module('lrm_server.api')"),
        ("lrm_server.episodes.a", "import grpc_health.v1"),
        ("lrm_server.episodes.a", "from lrm_client.wire import reward_pb2"),
        ("lrm_server.episodes.a", "import starlette"),
        ("lrm_server.engine.a", "from lrm_server.heads.profile import Profile"),
        ("lrm_server.errors", "from lrm_server.frames import Frame"),
        ("lrm_server.api.a", "from lrm_server.engine.vllm_engine import VllmEngine"),
        ("lrm_server.api.a", "from lrm_server.cli import app"),
        ("lrm_server.ops.a", "from fastapi import FastAPI"),
        ("lrm_server.media.a", "import typer"),
        ("lrm_client.a", "import lrm_server"),
        ("lrm_client.a", "from lrm_server.errors import ErrorCode"),
        ("lrm_client.a", "import torch"),
        ("lrm_client.a", "import pydantic_settings"),
        ("lrm_client.clock", "import numpy"),
        ("lrm_client.clock", "from lrm_client.errors import LrmError"),
        ("lrm_server.new_part.a", "from lrm_server.errors import DomainError"),
    ],
)
def test_a_violation_is_found(module: str, text: str) -> None:
    assert found(module, text)


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("lrm_server.heads.a", "from lrm_server.engine.protocol import Engine"),
        ("lrm_server.heads.a", "from .profile import Profile"),
        ("lrm_server.episodes.a", "from lrm_client.clock import advance"),
        ("lrm_server.engine.a", "import vllm, torch"),
        ("lrm_server.api.a", "import grpc.aio\nfrom fastapi import FastAPI"),
        ("lrm_client.a", "import grpc\nimport httpx\nimport numpy as np"),
        ("lrm_client.clock", "import math"),
    ],
)
def test_what_is_allowed_is_not_found(module: str, text: str) -> None:
    assert found(module, text) == []


def test_relative_imports_of_a_package_are_its_own() -> None:
    assert found("lrm_server.heads", "from .profile import Profile", is_package=True) == []
    assert found("lrm_server.heads", "from ..api import problems", is_package=True)
