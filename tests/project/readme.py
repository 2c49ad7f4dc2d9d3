"""The README's blocks and tables, as data."""

from __future__ import annotations

import re
from typing import Final

from tests.project.layers import ROOT

TEXT: Final = (ROOT / "README.md").read_text("utf-8")
GRPC: Final = "127.0.0.1:50051"
HTTP: Final = "http://127.0.0.1:8080"


def blocks(language: str) -> list[str]:
    """The code blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """The commands of the shell blocks, one a line, continued lines joined, comments dropped."""
    lines = "".join(blocks("sh")).replace("\\\n", " ").splitlines()
    return [command for line in lines if (command := re.sub(r"\s#\s.*$", "", line).strip())]


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    section = TEXT.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    table = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def at(text: str, grpc: str, http: str) -> str:
    """A block with the default addresses replaced by a server's own."""
    return text.replace(HTTP, http).replace(GRPC, grpc)
