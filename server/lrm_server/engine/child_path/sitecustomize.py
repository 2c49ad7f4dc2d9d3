"""Runs at the start of vLLM's child processes; see ``lrm_server.engine.broken_extensions``.

Loads that file by its place, because nothing else of lrm is needed here, and
then the ``sitecustomize`` that this one hides, if the environment has one.
"""

import importlib.machinery
import importlib.util
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent


def _run(name: str, path: str) -> None:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        if name != "sitecustomize":
            module.install()


_run("lrm_broken_extensions", str(_HERE.parent / "broken_extensions.py"))

_rest = [entry for entry in sys.path if Path(entry or ".").resolve() != _HERE]
_hidden = importlib.machinery.PathFinder.find_spec("sitecustomize", _rest)
if _hidden is not None and _hidden.origin is not None:
    _run("sitecustomize", _hidden.origin)
