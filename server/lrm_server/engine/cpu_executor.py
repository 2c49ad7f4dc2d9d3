"""Runs a CPU engine's model in the process of its core.

vLLM 0.32 starts a worker process for one CPU model too (platforms/cpu.py, which turns
the executor ``uni`` into ``mp``, for the sake of the OpenMP variables). The core then
spins on a core of the machine while the worker computes
(distributed/device_communicators/shm_broadcast.py), and every step's pixels are
pickled once more. Named by its class the executor stays in the core's process; the
threads are bound here.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import torch
from vllm.utils.ompmultiprocessing import OMPProcessManager
from vllm.v1.executor.uniproc_executor import UniProcExecutor

from lrm_server.engine import cpu_vision


class CpuExecutor(UniProcExecutor):
    """One copy of a model, in the core's own process and on its cores."""

    def _init_executor(self) -> None:
        lists = OMPProcessManager(self.vllm_config).cpu_lists
        if lists:
            _keep_to(lists[0])
        cpu_vision.install()
        super()._init_executor()


def _keep_to(cores: list[int]) -> None:
    """Keeps the process to these cores; threads that it starts inherit that.

    Threads are not bound one by one: beside the front end's process on the same cores
    a bound thread waits for its core while another is free.
    """
    for task in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):  # it may have ended meanwhile
            os.sched_setaffinity(int(task.name), cores)
    torch.set_num_threads(len(cores))
