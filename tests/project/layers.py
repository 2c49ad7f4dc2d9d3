"""Which folder may import what, as data, and a check of the sources against it.

``python -m tests.project.layers`` prints what breaks the rules.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"lrm_client": ROOT / "client", "lrm_server": ROOT / "server"}

CORE = (
    "lrm_server.callers",
    "lrm_server.deadlines",
    "lrm_server.errors",
    "lrm_server.frames",
    "lrm_server.threads",
    "lrm_server.together",
    "lrm_server.turns",
)
PROTOCOL = "lrm_server.engine.protocol"
EMBEDDER = "lrm_server.engine.embedder"
FRAME_READER = "lrm_server.engine.frame_reader"

ALLOWED: Mapping[str, Collection[str]] = {
    # The client is importable alone; its clock is the standard library's only.
    "lrm_client": ("lrm_client",),
    "lrm_client.clock": (),
    # The core, from the inside out: api -> episodes, heads -> engine.
    "lrm_server.callers": (),
    "lrm_server.deadlines": ("lrm_server.errors",),
    "lrm_server.errors": (),
    "lrm_server.threads": ("lrm_server.callers",),
    "lrm_server.together": (),
    "lrm_server.turns": (),
    "lrm_server.frames": ("lrm_server.errors",),
    "lrm_server.shared_memory": ("lrm_server.errors",),
    "lrm_server.engine": (*CORE, "lrm_server.engine"),
    "lrm_server.heads": (*CORE, PROTOCOL, EMBEDDER, FRAME_READER, "lrm_server.heads"),
    "lrm_server.episodes": (
        *CORE,
        PROTOCOL,
        "lrm_server.heads",
        "lrm_server.episodes",
        "lrm_client.clock",
    ),
    "lrm_server.trajectories": (
        *CORE,
        PROTOCOL,
        "lrm_server.heads",
        "lrm_server.episodes",
        "lrm_server.media.video",
        "lrm_server.trajectories",
        "lrm_client.thinning",
    ),
    # Around it.
    "lrm_server.ops": (
        *CORE,
        PROTOCOL,
        "lrm_server.heads",
        "lrm_server.episodes",
        "lrm_server.ops",
        "lrm_client.clock",
    ),
    "lrm_server.api": (
        *CORE,
        PROTOCOL,
        "lrm_server.api",
        "lrm_server.config",
        "lrm_server.episodes",
        "lrm_server.heads",
        "lrm_server.ops",
        "lrm_server.shared_memory",
        "lrm_server.trajectories",
        "lrm_client",
    ),
    "lrm_server.config": ("lrm_server.engine_settings",),
    "lrm_server.engine_settings": (),
    "lrm_server.checkpoint": (
        "lrm_server.checkpoint",
        *CORE,
        "lrm_server.config",
        "lrm_server.engine",
        "lrm_server.heads",
    ),
    "lrm_server.app": ("lrm_server", "lrm_client"),
    # The command line, which talks to a server as any client does.
    "lrm_server.main": ("lrm_server.cli",),
    "lrm_server.cli": (
        "lrm_client",
        "lrm_server.app",
        "lrm_server.audit",
        "lrm_server.commands",
        "lrm_server.config",
        "lrm_server.demo",
        "lrm_server.evaluation",
        "lrm_server.main",
        "lrm_server.media",
        "lrm_server.ops.logging",
        "lrm_server.recordings",
    ),
    "lrm_server.commands": (
        "lrm_client",
        "lrm_server.audit",
        "lrm_server.commands",
        "lrm_server.config",
        "lrm_server.evaluation",
        "lrm_server.media",
        "lrm_server.recordings",
    ),
    "lrm_server.media": ("lrm_client", "lrm_server.media"),
    # Judging a model: recorded episodes, questions about them, what the answers are worth.
    "lrm_server.recordings": ("lrm_server.recordings",),
    "lrm_server.evaluation": ("lrm_client", "lrm_server.evaluation", "lrm_server.recordings"),
    "lrm_server.audit": (
        "lrm_client",
        "lrm_server.audit",
        "lrm_server.evaluation",
        "lrm_server.recordings",
    ),
    "lrm_server.demo": (
        "lrm_client",
        "lrm_server.commands",
        "lrm_server.config",
        "lrm_server.demo",
    ),
}
"""Part of our packages -> what it may import of our packages; the most exact part counts."""

ONLY_IN: Mapping[str, Collection[str]] = {
    "vllm": ("lrm_server.engine",),
    # A simulator's tensors are torch's.
    "torch": ("lrm_server.engine", "lrm_client.envs.lerobot", "lrm_client.envs.maniskill"),
    "lerobot": ("lrm_client.envs.lerobot",),
    "transformers": ("lrm_server.engine",),
    "fastapi": ("lrm_server.api", "lrm_server.app"),
    "starlette": ("lrm_server.api", "lrm_server.app"),
    "uvicorn": ("lrm_server.api", "lrm_server.app"),
    "grpc": ("lrm_server.api", "lrm_server.app", "lrm_server.commands", "lrm_client"),
    "httpx": ("lrm_client", "lrm_server.engine.chat"),
    "prometheus_client": ("lrm_server.api", "lrm_server.engine.engine_metrics", "lrm_server.ops"),
    "typer": ("lrm_server.cli", "lrm_server.commands"),
    "pydantic": ("lrm_server",),
    "yaml": ("lrm_server",),
}
"""Library -> the parts that may import it; ``grpc`` stands for ``grpc_health`` and so on too."""

CLOCK = "lrm_client.clock"


class Import(NamedTuple):
    """An import in a source file."""

    module: str
    line: int


@dataclass(frozen=True)
class Source:
    """A source file of our packages, by its module name."""

    module: str
    text: str
    is_package: bool = False

    def imports(self) -> Iterator[Import]:
        """Everything that is imported, also under TYPE_CHECKING and inside functions."""
        for node in ast.walk(ast.parse(self.text)):
            if isinstance(node, ast.Import):
                yield from (Import(alias.name, node.lineno) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                origin = self._absolute(node)
                # ``from package import name``: the name may be a module of it.
                yield from (Import(f"{origin}.{alias.name}", node.lineno) for alias in node.names)
            elif isinstance(node, ast.Call) and _is_import_call(node):
                (name, *_) = node.args
                if isinstance(name, ast.Constant) and isinstance(name.value, str):
                    yield Import(name.value, node.lineno)

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.module.split(".")
        base = parts[: len(parts) - node.level + self.is_package]
        return ".".join([*base, *([node.module] if node.module else [])])


def _is_import_call(node: ast.Call) -> bool:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name in ("import_module", "__import__") and bool(node.args)


def sources() -> Iterator[Source]:
    """The files of our packages, but for the generated ones."""
    for package, root in PACKAGES.items():
        for path in sorted((root / package).rglob("*.py")):
            if "_pb2" in path.name:
                continue
            parts = list(path.relative_to(root).with_suffix("").parts)
            is_package = parts[-1] == "__init__"
            yield Source(
                ".".join(parts[:-1] if is_package else parts), path.read_text(), is_package
            )


def within(module: str, part: str) -> bool:
    """Whether a module is a part or lies in it."""
    return module == part or module.startswith(f"{part}.")


def part_of(module: str) -> str | None:
    """The most exact part of ALLOWED that a module lies in."""
    return max((part for part in ALLOWED if within(module, part)), key=len, default=None)


def violations(files: Iterator[Source]) -> list[str]:
    """What breaks the rules, one line each."""
    return [
        f"{file.module}:{line}: {broken}"
        for file in files
        for module, line in file.imports()
        if (broken := _broken_rule(file, module))
    ]


def _broken_rule(file: Source, module: str) -> str:
    top = module.partition(".")[0]
    if file.module in PACKAGES:
        return "" if within(module, file.module) else _library_rule(file, module, top)
    part = part_of(file.module)
    if part is None or (part == "lrm_client" and file.module.startswith("lrm_server")):
        return "is in no part of ALLOWED: say there what it may import"
    if top in PACKAGES:
        allowed = any(within(module, target) for target in ALLOWED[part])
        return "" if allowed else f"{part} may not import {module}"
    return _library_rule(file, module, top)


def _library_rule(file: Source, module: str, top: str) -> str:
    if file.module == CLOCK and top not in sys.stdlib_module_names:
        return f"the clock may import the standard library only, not {module}"
    for library, parts in ONLY_IN.items():
        named = top == library or top.startswith(f"{library}_")
        if named and not any(within(file.module, part) for part in parts):
            return f"{library} may be imported in {', '.join(parts)} only"
    return ""


if __name__ == "__main__":
    found = violations(sources())
    sys.stdout.write("".join(f"{line}\n" for line in found))
    raise SystemExit(bool(found))
