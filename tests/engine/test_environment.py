"""What vLLM is told by variables."""

from __future__ import annotations

import os

import pytest

from lrm_server.engine import broken_extensions, environment
from lrm_server.engine.environment import prepare_environment, wait_briefly

SPINS = "GOMP_SPINCOUNT"


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU build on four cores, in an environment where nobody has set anything."""
    names = ("VLLM_CPU_OMP_THREADS_BIND", "OMP_NUM_THREADS", "OMP_WAIT_POLICY", SPINS)
    kept = {name: value for name, value in os.environ.items() if name not in names}
    monkeypatch.setattr(os, "environ", kept)
    monkeypatch.setattr(broken_extensions, "install", lambda: None)
    monkeypatch.setattr(environment, "is_cpu_build", lambda: True)
    monkeypatch.setattr(environment, "_usable_cores", lambda: [0, 1, 4, 5])


def test_an_engine_computes_with_every_core_that_the_process_may_use() -> None:
    prepare_environment()
    assert os.environ["VLLM_CPU_OMP_THREADS_BIND"] == "0,1,4,5"
    assert os.environ["OMP_NUM_THREADS"] == "4"


def test_an_engine_on_a_gpu_is_told_nothing_of_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "is_cpu_build", lambda: False)
    prepare_environment()
    assert "OMP_NUM_THREADS" not in os.environ


def test_threads_that_wait_soon_leave_their_core_to_a_server_that_shares_it() -> None:
    wait_briefly([0, 1, 4, 5])
    assert int(os.environ[SPINS]) <= 1000


def test_threads_wait_as_libgomp_likes_where_the_server_has_a_core_of_its_own() -> None:
    wait_briefly([0, 1, 4])
    assert SPINS not in os.environ


@pytest.mark.parametrize(("name", "value"), [("OMP_WAIT_POLICY", "active"), (SPINS, "7")])
def test_what_an_operator_has_said_about_waiting_stays(name: str, value: str) -> None:
    os.environ[name] = value
    wait_briefly([0, 1, 4, 5])
    assert os.environ[name] == value
    assert os.environ.get(SPINS) == (value if name == SPINS else None)
