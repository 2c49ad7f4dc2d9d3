"""What this process holds of the memory in which frames are handed over."""

from __future__ import annotations

from pathlib import Path


def memory_files() -> int:
    """How many descriptors of such memory are open."""
    links = (str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink())
    return sum(link.startswith("/memfd:lrm-frames") for link in links)
