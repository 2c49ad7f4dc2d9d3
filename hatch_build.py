"""Generates the protobuf stubs: as a build hook, and by ``python hatch_build.py [FOLDER]``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent
PACKAGE = "lrm_client/wire"


def generate_stubs(out: Path) -> list[Path]:
    """Writes the stubs of proto/lrm/v1 and their types below ``out``, and names them.

    The proto folder is mapped to the package's path, so that generated modules
    import each other as ``lrm_client.wire.*`` and need no rewriting.
    """
    out.mkdir(parents=True, exist_ok=True)
    protos = sorted((ROOT / "proto" / "lrm" / "v1").glob("*.proto"))
    # An isolated build has its scripts on PATH, not beside the interpreter.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    found = {name: shutil.which(f"protoc-gen-{name}", path=path) for name in ("mypy", "mypy_grpc")}
    if missing := [name for name, where in found.items() if where is None]:
        raise RuntimeError(f"protoc-gen-{missing[0]} is not installed: pip install mypy-protobuf")
    outputs = [f"--{kind}_out={out}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    plugins = [f"--plugin=protoc-gen-{name}={where}" for name, where in found.items()]
    subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"-I{PACKAGE}={ROOT / 'proto' / 'lrm' / 'v1'}",
            *plugins,
            *outputs,
            *(f"{PACKAGE}/{proto.name}" for proto in protos),
        ],
        check=True,
    )
    return sorted((out / PACKAGE).glob("*_pb2*"))


class StubsHook(BuildHookInterface[Any]):
    """Writes the stubs into the client's package before it is packed or linked."""

    PLUGIN_NAME = "stubs"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Generates before the wheel or the editable install is put together."""
        generate_stubs(ROOT / "client")


if __name__ == "__main__":
    generate_stubs(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "client")
