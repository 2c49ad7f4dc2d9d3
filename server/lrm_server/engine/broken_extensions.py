"""Keeps vLLM importable where torch's companions were built for another torch.

torchvision, torchaudio and torchcodec from the package index are CUDA builds.
Beside a CPU build of torch their compiled parts cannot load: torchvision then
dies on import because its operators are not declared, the other two because
their libraries are missing, and with them transformers' image processors and
vLLM. lrm uses none of those operators. ``install`` puts a finder in front of
the import system that looks at each of the three when it is first imported,
declares torchvision's operators or puts an empty module in place of the other
two where their libraries do not load, and does nothing where they do.

vLLM inspects models in processes of its own, before any plug-in is loaded:
``child_path/sitecustomize.py`` installs the same finder there. This file
therefore imports nothing but the standard library.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

_DECLARED: list[Any] = []
"""torch.library.Library objects: their operators live as long as they do."""


class _AbsentModule(ModuleType):
    """Stands for a package whose libraries do not load; whoever uses it is told."""

    def __getattr__(self, name: str) -> Any:
        # Dunder lookups are the import system's and inspect's own questions.
        if name.startswith("__"):
            raise AttributeError(name)
        raise ImportError(f"{self.__name__} is installed for another build of torch: no {name}")


class _AbsentLoader(importlib.abc.Loader):
    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _AbsentModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        module.__path__ = []


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in _COMPANIONS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or not spec.submodule_search_locations:
            return None
        folder = Path(next(iter(spec.submodule_search_locations)))
        if _loads(folder, _COMPANIONS[fullname]):
            return None
        if fullname == "torchvision":
            _declare_operators()
            return None
        return importlib.machinery.ModuleSpec(fullname, _AbsentLoader(), is_package=True)


_COMPANIONS = {
    "torchvision": "_C*.so",
    "torchaudio": "lib/_torchaudio*.so",
    "torchcodec": "libtorchcodec_image*.so",
}
"""Package -> the library in it that must load."""


def _loads(folder: Path, pattern: str) -> bool:
    """Whether the package's library can be loaded; one that has none has nothing to load."""
    import torch

    try:
        for library in sorted(folder.glob(pattern)):
            torch.ops.load_library(str(library))  # type: ignore[no-untyped-call]
    except (OSError, RuntimeError):
        return False
    return True


def _declare_operators() -> None:
    """Declares the two operators that torchvision describes further when it is imported."""
    import torch

    if _DECLARED:
        return
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        signature = f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        library.define(signature)  # type: ignore[no-untyped-call]
    _DECLARED.append(library)


def install() -> None:
    """Puts the finder in front, once in a process."""
    if not any(type(finder).__name__ == _Finder.__name__ for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
