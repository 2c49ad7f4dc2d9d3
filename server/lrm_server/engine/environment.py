"""What vLLM reads from the process's environment, set before it is imported.

vLLM takes its thread binding, its logging and its telemetry switch from
variables, and hands them to processes of its own. A variable that the operator
has set stays as it is.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from lrm_server.engine import broken_extensions
from lrm_server.engine.cores import Ranks, parse_numbers

_HERE = Path(__file__).parent
_BINDING = "VLLM_CPU_OMP_THREADS_BIND"
_SPINS = "1000"
"""How often a thread of libgomp looks whether the others are done before it sleeps."""

_starting = threading.Lock()
"""Held while an engine starts: the variables that it reads are the whole process's."""


def prepare_environment(threads: int | None = None, *, log_level: str = "warning") -> None:
    """Sets the variables, once, before vLLM is imported anywhere in the process.

    Args:
        threads: of a CPU engine; every core that this process may use when None.
        log_level: least level of what vLLM's own loggers say.
    """
    broken_extensions.install()
    child_path = str(_HERE / "child_path")
    entries = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    if child_path not in entries:
        os.environ["PYTHONPATH"] = os.pathsep.join([child_path, *entries])
    values = {
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
        "VLLM_LOGGING_LEVEL": log_level.upper(),
        "VLLM_LOGGING_CONFIG_PATH": str(_HERE / "vllm_logging.json"),
        "VLLM_NO_USAGE_STATS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if is_cpu_build():
        cores = _usable_cores()
        cores = cores[: threads or len(cores)]
        # Left to itself the CPU backend computes with one core of two.
        values[_BINDING] = ",".join(map(str, cores))
        values["OMP_NUM_THREADS"] = str(len(cores))
        if not has_compiler():
            # vLLM's sampler is compiled on first use even where the model is not.
            values["TORCHDYNAMO_DISABLE"] = "1"
    for name, value in values.items():
        os.environ.setdefault(name, value)


def wait_briefly(cores: Collection[int]) -> None:
    """Lets a CPU engine's waiting threads sleep soon, where no core is left for the server.

    libgomp's look 300,000 times, some milliseconds long, whether the others are done. When the
    server takes the core of one thread, the others keep their cores busy with looking, and that
    one waits until the server rests. Had they gone to sleep, it would go on on a core of theirs.
    A product of two threads beside a process that never rests ran at 0.3 of its speed, and with
    1,000 looks at 0.5. The price: to wake them takes a tenth of a query's time where nothing
    else runs.

    Args:
        cores: of all engines that are going to be started.
    """
    if "OMP_WAIT_POLICY" not in os.environ and set(cores) >= set(_usable_cores()):
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)


@contextmanager
def bound_to(ranks: Ranks) -> Iterator[None]:
    """Binds the CPU engine that is started within the block; bound engines start one at a time.

    Args:
        ranks: cores of each copy of its model; () leaves the variable as it is.
    """
    if not ranks:
        yield
        return
    with _starting:
        before = os.environ.get(_BINDING)
        os.environ[_BINDING] = "|".join(",".join(map(str, cores)) for cores in ranks)
        try:
            yield
        finally:
            if before is None:
                os.environ.pop(_BINDING, None)
            else:
                os.environ[_BINDING] = before


def bindable_cores() -> tuple[int, ...]:
    """The cores among which CPU engines are spread; () where vLLM is told to choose itself.

    They are those that the binding's variable names, which ``prepare_environment`` sets where
    the operator has not.
    """
    binding = os.environ.get(_BINDING, "auto")
    if binding in ("auto", "nobind"):
        return ()
    return parse_numbers(binding.replace("|", ","))


def is_cpu_build() -> bool:
    """Whether the vLLM that is installed is its CPU build."""
    try:
        distribution("vllm-cpu")
    except PackageNotFoundError:
        return False
    return True


def has_compiler() -> bool:
    """Whether torch.compile finds the C++ compiler that it needs on a CPU."""
    return shutil.which(os.environ.get("CXX", "g++")) is not None


def _usable_cores() -> list[int]:
    if sys.platform == "linux":
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
