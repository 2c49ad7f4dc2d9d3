"""Rules that every file keeps."""

from __future__ import annotations

import re
from pathlib import Path

from tests.project.layers import ROOT

MAX_LINES = 300
LONGER = {
    "client/examples/ppo_maniskill.py": "a learner in one file, read from top to bottom",
    "client/lrm_client/clock.py": "the whole clock is one pure module",
    "client/lrm_client/types.py": "declarations only",
}
"""Source files that may be longer, and why."""

SOURCES = ("client", "server", "training", "bench", "tests")


def python_files(*folders: str) -> list[Path]:
    return [
        path
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
        if "_pb2" not in path.name and "__pycache__" not in path.parts
    ]


def test_a_file_has_one_subject_and_is_short() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for path in python_files("client", "server", "training", "bench")
        if (count := len(path.read_text("utf-8").splitlines())) > MAX_LINES
    }
    assert {name: count for name, count in long.items() if name not in LONGER} == {}
    assert set(LONGER) <= set(long), "a file that is short again needs no exception"


def test_the_environment_is_read_in_few_places() -> None:
    reads = re.compile(r"\bos\.(environ|getenv)\b")
    readers = {
        str(path.relative_to(ROOT))
        for path in python_files("client", "server")
        if reads.search(path.read_text("utf-8"))
    }
    # vLLM takes settings from the environment alone, so the engine writes it.
    assert readers <= {
        "server/lrm_server/config.py",
        "server/lrm_server/engine/environment.py",
        "server/lrm_server/engine/child_path/sitecustomize.py",
    }


def test_no_index_of_packages_is_named() -> None:
    # Which index serves a machine is pip's configuration, not this repository's.
    hosts = re.compile(r"\b(pypi|pythonhosted|pytorch|debian)\.org\b")
    named = [
        path
        for path in text_files()
        if path != Path(__file__) and hosts.search(path.read_text("utf-8"))
    ]
    assert named == []


def text_files() -> list[Path]:
    """Every file of the repository that holds text written here."""
    kinds = {".py", ".md", ".sh", ".toml", ".yaml", ".yml", ".json", ".proto", ".jinja"}
    named = [ROOT / name for name in ("Makefile", "Dockerfile", ".dockerignore", ".ci/run")]
    folders = ("client", "server", "proto", "tests", "training", "bench", "deploy")
    found = [
        path
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.suffix in kinds and "__pycache__" not in path.parts
    ]
    return [*named, *ROOT.glob("*.md"), *ROOT.glob("*.toml"), *ROOT.glob("*.py"), *found]
