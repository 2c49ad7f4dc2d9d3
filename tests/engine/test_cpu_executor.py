from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from vllm.platforms import current_platform

if not current_platform.is_cpu():
    pytest.skip("this vLLM is built for a GPU", allow_module_level=True)

from vllm.v1.executor.uniproc_executor import UniProcExecutor

from lrm_server.engine import cpu_executor
from lrm_server.engine.cpu_executor import CpuExecutor


def test_a_model_is_loaded_between_what_changes_its_loading_and_what_changes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[object] = []
    model = torch.nn.Module()

    def load(executor: CpuExecutor) -> None:
        done.append("load")
        executor.driver_worker = SimpleNamespace(get_model=lambda: model)

    no_cores = SimpleNamespace(cpu_lists=[])
    monkeypatch.setattr(cpu_executor, "OMPProcessManager", lambda config: no_cores)
    monkeypatch.setattr(UniProcExecutor, "_init_executor", load)
    monkeypatch.setattr(cpu_executor, "_keep_freed_memory", lambda: done.append("memory"))
    monkeypatch.setattr(cpu_executor.cpu_vision, "install", lambda: done.append("attention"))
    monkeypatch.setattr(cpu_executor.cpu_packing, "install", lambda: done.append("weights"))
    monkeypatch.setattr(cpu_executor.cpu_tower, "fuse", done.append)
    executor = CpuExecutor.__new__(CpuExecutor)
    executor.vllm_config = None
    executor._init_executor()
    assert set(done[:3]) == {"memory", "attention", "weights"}
    assert done[3:] == ["load", model]
