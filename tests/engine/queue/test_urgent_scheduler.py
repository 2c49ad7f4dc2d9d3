"""How many tokens a step computes, as vLLM's own scheduler plans it on our settings."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest
import torch
from vllm import SamplingParams
from vllm.config import VllmConfig
from vllm.utils.hashing import sha256
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request
from vllm.v1.structured_output import StructuredOutputManager

from lrm_server.callers import Priority
from lrm_server.engine import urgent_scheduler
from lrm_server.engine.checkpoint_files import locate
from lrm_server.engine.start import EngineOptions, engine_arguments
from lrm_server.engine.vllm_requests import VLLM_PRIORITY

I, B = Priority.INTERACTIVE, Priority.BATCH  # noqa: E741
FULL = 640
BLOCK = 32


@pytest.fixture(scope="module")
def settings() -> VllmConfig:
    """vLLM's, as an engine on the CPU is started."""
    arguments = engine_arguments(locate("embedded"), [], EngineOptions(enforce_eager=True))
    made = arguments.create_engine_config()
    made.cache_config.num_gpu_blocks = 1000
    return made


class Planned:
    """A scheduler, and what it planned of questions without frames, by their ids."""

    def __init__(self, settings: VllmConfig) -> None:
        spec = FullAttentionSpec(block_size=BLOCK, num_kv_heads=1, head_size=1, dtype=torch.float32)
        kept = KVCacheConfig(1000, [], [KVCacheGroupSpec(["layer"], spec)])
        init_none_hash(sha256)
        self.hasher = get_request_block_hasher(BLOCK, sha256)
        self.scheduler: Scheduler = settings.scheduler_config.get_scheduler_cls()(
            vllm_config=settings,
            kv_cache_config=kept,
            structured_output_manager=StructuredOutputManager(settings),
            block_size=BLOCK,
            hash_block_size=BLOCK,
        )
        self._numbers = itertools.count()

    def ask(
        self, priority: Priority, tokens: int | list[int], *, write: int = 1, times: int = 1
    ) -> list[str]:
        """Questions of so many tokens, none of them known, or of these tokens."""
        names = []
        for _ in range(times):
            number = next(self._numbers)
            prompt = [number] * tokens if isinstance(tokens, int) else tokens
            names.append(f"{priority.value}-{number}")
            params = SamplingParams(max_tokens=write, ignore_eos=True)
            self.scheduler.add_request(
                Request(
                    names[-1],
                    prompt,
                    params,
                    None,
                    priority=VLLM_PRIORITY[priority],
                    arrival_time=float(number),
                    block_hasher=self.hasher,
                )
            )
        return names

    def step(self) -> dict[str, int]:
        """Tokens of each question in the next step, which is then done."""
        plan: SchedulerOutput = self.scheduler.schedule()
        planned = dict(plan.num_scheduled_tokens)
        done = [[] if self.scheduler.requests[name].is_prefill_chunk else [7] for name in planned]
        indices = {name: index for index, name in enumerate(planned)}
        answer = ModelRunnerOutput([*planned], indices, sampled_token_ids=done)
        self.scheduler.update_from_output(plan, answer)
        return planned


@pytest.fixture
def planned(settings: VllmConfig) -> Planned:
    return Planned(settings)


def of(priority: Priority, step: dict[str, int]) -> int:
    """Tokens of a class in a step."""
    return sum(count for name, count in step.items() if name.startswith(priority.value))


def total(steps: Iterable[dict[str, int]], priority: Priority) -> int:
    return sum(of(priority, step) for step in steps)


def test_a_step_with_a_robots_prompt_has_room_for_it_and_for_a_third_of_it(
    planned: Planned,
) -> None:
    planned.ask(B, 60, times=30)
    (robot,) = planned.ask(I, 60)
    step = planned.step()
    assert step[robot] == 60
    assert of(B, step) == 20


def test_steps_without_one_are_half_as_long_until_none_has_come_for_a_while(
    planned: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(urgent_scheduler.time, "monotonic", lambda: now)
    planned.ask(B, 60, times=60)
    assert sum(planned.step().values()) == FULL
    planned.ask(I, 60)
    assert sum(planned.step().values()) < FULL / 4
    now += 0.9 * urgent_scheduler.CALM_S
    assert sum(planned.step().values()) == FULL / 2
    now += 0.2 * urgent_scheduler.CALM_S
    assert sum(planned.step().values()) == FULL


def test_answers_that_robots_write_shorten_no_step(
    planned: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(urgent_scheduler, "CALM_S", 0.0)
    (robot,) = planned.ask(I, 60, write=50)
    planned.step()
    planned.ask(B, 60, times=40)
    step = planned.step()
    assert step[robot] == 1
    assert sum(step.values()) == FULL


def test_half_a_step_has_room_for_all_answers_that_are_written(planned: Planned) -> None:
    writing = planned.ask(B, 1, write=50, times=80)
    planned.step()
    planned.scheduler.max_num_scheduled_tokens = 100
    planned.ask(I, 5)
    planned.step()
    assert planned.step() == dict.fromkeys(writing, 1)


def test_what_is_known_of_a_robots_prompt_is_not_counted(planned: Planned) -> None:
    prompt = list(range(1000, 1000 + 3 * BLOCK + 12))
    planned.ask(I, prompt)
    planned.step()
    planned.ask(B, 60, times=30)
    (robot,) = planned.ask(I, prompt)
    step = planned.step()
    assert step[robot] == 12
    assert of(B, step) == FULL / urgent_scheduler.LEAST_SHARE


def test_what_runs_already_does_not_push_a_robots_prompt_into_the_next_step(
    planned: Planned,
) -> None:
    writing = planned.ask(B, 2, write=50, times=40)
    planned.step()
    planned.ask(B, FULL)
    planned.step()
    (robot,) = planned.ask(I, 60)
    step = planned.step()
    assert step[robot] == 60
    assert all(step[name] == 1 for name in writing)


def test_a_long_prompt_of_a_robot_shortens_each_of_its_steps_but_not_below_its_need(
    planned: Planned,
) -> None:
    planned.ask(B, 60, times=60)
    (robot,) = planned.ask(I, FULL + 60)
    assert planned.step() == {robot: FULL}
    last = planned.step()
    assert last[robot] == 60
    assert of(B, last) == 20


def test_a_long_prompt_that_has_begun_leaves_a_robot_its_step(planned: Planned) -> None:
    (long,) = planned.ask(B, 2000)
    planned.step()
    (robot,) = planned.ask(I, 60)
    assert planned.step() == {long: 60, robot: 60}
    assert planned.step() == {long: FULL // 2}
    assert planned.scheduler.scheduler_config.long_prefill_token_threshold == 0


@pytest.mark.parametrize("length", [60, 400])
def test_robots_that_never_stop_leave_batch_its_share(planned: Planned, length: int) -> None:
    planned.ask(B, length, times=60)
    steps = []
    for _ in range(12):
        planned.ask(I, 60, times=2)
        steps.append(planned.step())
    share = total(steps, B) / (total(steps, B) + total(steps, I))
    assert 0.22 < share < 0.35


@pytest.mark.parametrize(("ahead", "kind"), [(False, Scheduler), (True, AsyncScheduler)])
def test_it_is_made_of_the_scheduler_that_vllm_would_choose(
    settings: VllmConfig, monkeypatch: pytest.MonkeyPatch, ahead: bool, kind: type[Scheduler]
) -> None:
    assert settings.scheduler_config.async_scheduling is False
    monkeypatch.setattr(settings.scheduler_config, "async_scheduling", ahead)
    made = Planned(settings)
    assert isinstance(made.scheduler, kind)
    assert isinstance(made.scheduler, AsyncScheduler) is ahead
    made.ask(B, 60, times=30)
    made.ask(I, 60)
    assert sum(made.step().values()) == 80
