"""Runs a CPU engine's model in the process of its core.

vLLM 0.32 starts a worker process for one CPU model too (platforms/cpu.py, which turns
the executor ``uni`` into ``mp``, for the sake of the OpenMP variables). The core then
spins on a core of the machine while the worker computes
(distributed/device_communicators/shm_broadcast.py), and every step's pixels are
pickled once more. Named by its class the executor stays in the core's process; the
threads are bound here.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

import torch
from vllm.utils.ompmultiprocessing import OMPProcessManager
from vllm.v1.executor.uniproc_executor import UniProcExecutor

from lrm_server.engine import cpu_packing, cpu_tower, cpu_vision

KEPT_BYTES: Final = 512 * 1024**2
_M_TRIM_THRESHOLD: Final = -1  # malloc.h
_M_MMAP_THRESHOLD: Final = -3
_LARGEST_MMAP_THRESHOLD: Final = 32 * 1024**2  # glibc refuses more


class CpuExecutor(UniProcExecutor):
    """One copy of a model, in the core's own process and on its cores."""

    def _init_executor(self) -> None:
        _keep_freed_memory()
        lists = OMPProcessManager(self.vllm_config).cpu_lists
        if lists:
            _keep_to(lists[0])
        cpu_vision.install()
        cpu_packing.install()
        super()._init_executor()
        cpu_tower.fuse(self.driver_worker.get_model())


def _keep_freed_memory() -> None:
    """Lets a step's activations have the memory of the step before.

    glibc maps each of over 128 KiB to 32 MiB anew, or gives it back at once, and the kernel
    clears its pages at every step. Up to ``KEPT_BYTES`` that are free stay with the process,
    in each of glibc's arenas; the activations are one thread's, of one arena. Other C libraries
    are left as they are.
    """
    with suppress(AttributeError):
        allocator = ctypes.CDLL(None)
        allocator.mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        allocator.mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)


def _keep_to(cores: list[int]) -> None:
    """Keeps the process to these cores; threads that it starts inherit that.

    Threads are not bound one by one: beside the front end's process on the same cores
    a bound thread waits for its core while another is free.
    """
    for task in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):  # it may have ended meanwhile
            os.sched_setaffinity(int(task.name), cores)
    torch.set_num_threads(len(cores))
