"""The machine that figures were taken on, and which of its cores a process may use."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path


def describe() -> str:
    """Processor, cores that this process may use, memory, accelerator and system, in one line."""
    parts = [_processor(), f"{len(usable_cores())} cores", f"{_memory_gib():.0f} GiB"]
    return ", ".join([*parts, *_accelerators(), f"{platform.system()} {platform.machine()}"])


def usable_cores() -> list[int]:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def use_cores(cores: Iterable[int]) -> None:
    """Keeps this thread, and what it starts from now on, on some cores; where Linux lets it."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text("utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or "unknown processor"


def _memory_gib() -> float:
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


def _accelerators() -> list[str]:
    if shutil.which("nvidia-smi") is None:
        return []
    asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return done.stdout.split("\n")[:-1] if done.returncode == 0 else []
