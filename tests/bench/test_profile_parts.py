"""Which part of the server a stack that py-spy saw belongs to."""

from __future__ import annotations

import pytest

from bench.profile_parts import SERVER, SPINNING, count_parts, part_of

LOOP = "BaseEventLoop.run_forever (asyncio/base_events.py:607)"
ENGINE = "VllmEngine._run (lrm_server/engine/vllm_engine.py:190)"
RUNNER = "GPUModelRunner.execute_model (vllm/v1/worker/gpu_model_runner.py:4000)"


@pytest.mark.parametrize(
    ("stack", "part"),
    [
        ([LOOP], "asyncio"),
        ([LOOP, ENGINE], "engine"),
        (
            [LOOP, ENGINE, "AsyncLLM.generate (vllm/v1/engine/async_llm.py:1)"],
            "vLLM front end, other",
        ),
        ([LOOP, "prepare (lrm_server/engine/patches.py:1)", "stack (numpy/core.py:1)"], "patches"),
        (["<module> (lrm_server/main.py:1)"], "other"),
    ],
)
def test_the_innermost_function_that_a_part_claims_decides(stack: list[str], part: str) -> None:
    assert part_of(SERVER, stack) == part


@pytest.mark.parametrize(
    ("frame", "part"),
    [
        (
            "GPUModelRunner._execute_mm_encoder (vllm/v1/worker/gpu_model_runner.py:1)",
            "vision tower",
        ),
        ("GPUModelRunner._model_forward (vllm/v1/worker/gpu_model_runner.py:1)", "decoder"),
        ("SpinCondition.wait (vllm/distributed/device_communicators/shm_broadcast.py:1)", SPINNING),
        ("x (vllm/v1/worker/block_table.py:1)", "model runner, other"),
    ],
)
def test_the_engine_has_parts_of_its_own(frame: str, part: str) -> None:
    assert part_of("VLLM::Worker", [RUNNER, frame, "linear (torch/nn/functional.py:1)"]) == part


def test_samples_are_counted_by_process_thread_and_part() -> None:
    server = 'process 7:"python -m lrm_server.main serve --grpc-port=1"'
    worker = 'process 8:"VLLM::EngineCore"'
    lines = [
        f"{server};thread (7): MainThread;{LOOP};{ENGINE} 3",
        f"{server};thread (7): MainThread;{LOOP};{ENGINE} 2",
        f"{server};thread (9): frames_0;open_frame (lrm_server/frames.py:1) 4",
        f"{server};thread (9): frames_1;open_frame (lrm_server/frames.py:1) 1",
        f"{server};{worker};thread (8): MainThread;{RUNNER} 6",
        f"{server};thread (7): MainThread;{LOOP};EpollSelector.select (selectors.py:468) 50",
    ]
    assert count_parts("\n".join(lines)) == {
        (SERVER, "MainThread", "engine"): 5,
        (SERVER, "frames", "decoding"): 5,
        ("VLLM::EngineCore", "MainThread", "model runner, other"): 6,
    }
