"""Starts an engine on a checkpoint."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Literal, cast

from vllm.config.ec_manager_config import EncoderCacheManagerConfig
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.lora.request import LoRARequest
from vllm.platforms import current_platform
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.executor.abstract import Executor

from lrm_server.engine.adapters import Adapter, check_adapter
from lrm_server.engine.admission import Admission
from lrm_server.engine.checkpoint_files import fingerprint
from lrm_server.engine.cores import Ranks, parse_numbers
from lrm_server.engine.encoder_cache import encoder_cache
from lrm_server.engine.environment import has_compiler
from lrm_server.engine.frame_inputs import FrameInputs
from lrm_server.engine.holdings import DEFAULT_LIMITS, QueueLimits
from lrm_server.engine.media_inputs import MediaInputs
from lrm_server.engine.patches import read_preparation
from lrm_server.engine.places import StepPlaces
from lrm_server.engine.prompt_tokens import PromptTokens, Tokenizer
from lrm_server.engine.supervision import SupervisedLLM
from lrm_server.engine.urgent_scheduler import SCHEDULER
from lrm_server.engine.video_inputs import VideoInputs
from lrm_server.engine.video_patches import read_video_preparation
from lrm_server.engine.vllm_engine import VllmEngine
from lrm_server.errors import invalid
from lrm_server.threads import FrameThreads

MIB = 1024**2
GIB = 1024**3
CPU_BLOCK_TOKENS = 32
"""The CPU's default of 128 tokens would leave short prompts nothing to reuse."""
CPU_STEP_TOKENS = 640
"""A step is not interrupted, so a robot waits for the rest of the one that runs.

Measured on two cores, eager, with the embedded checkpoint and frames of 128x128 pixels, 400
questions at hand: a full step of progress (16 questions, whose initial frames are known) took
82 ms at the median and 94 at the ninth decile. With 1024 tokens they took 125 and 156 ms, with
1536 some 176 and 196, and the questions answered in a second were as many.
"""
CPU_KV_CACHE_GIB = 1.0
VLLM_LORA_RANKS: Final[tuple[Literal[8, 16, 32, 64, 128, 256, 320, 512], ...]] = (
    8,
    16,
    32,
    64,
    128,
    256,
    320,
    512,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """What an engine is started with; ``config.Settings`` says what each means.

    ``SETTINGS`` names the fields that are settings too. The others follow from the heads
    that are served.

    Attributes:
        max_images: most images in a question.
        max_video_frames: most frames in a question's video; 0 for no videos.
        name: what logs and metrics call the engine.
        cores: that a CPU engine's copies of the model are bound to; () leaves it to vLLM.
        queue: how much may wait for it.
    """

    SETTINGS: ClassVar[tuple[str, ...]] = (
        "dtype",
        "max_model_len",
        "max_sequences",
        "kv_cache_gib",
        "gpu_memory_utilization",
        "devices",
        "tensor_parallel",
        "data_parallel",
        "frame_threads",
        "frame_cache_mib",
        "encoder_cache_mib",
        "enforce_eager",
    )

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    max_model_len: int = 4096
    max_sequences: int = 128
    kv_cache_gib: float | None = None
    gpu_memory_utilization: float = 0.9
    devices: str | None = None
    tensor_parallel: int = 1
    data_parallel: int = 1
    frame_threads: int = 2
    frame_cache_mib: int = 256
    encoder_cache_mib: int = 256
    enforce_eager: bool = False
    max_images: int = 16
    max_video_frames: int = 0
    name: str = ""
    cores: Ranks = ()
    queue: QueueLimits = DEFAULT_LIMITS

    @property
    def frame_cache_bytes(self) -> int:
        """Of prepared frames, and as much again of prepared videos."""
        return self.frame_cache_mib * MIB

    @property
    def core_cache_bytes(self) -> int:
        """Of prepared frames and videos in the engine's process, so that each is sent once.

        0 where the model has several copies: each would lack what another was sent.
        """
        return self.frame_cache_bytes if self.data_parallel == 1 else 0


@asynccontextmanager
async def open_engine(
    checkpoint: Path, adapters: Mapping[str, Path], options: EngineOptions
) -> AsyncIterator[tuple[VllmEngine, SupervisedLLM]]:
    """An engine whose weights are loaded; the caller proves it before it is ready.

    Args:
        checkpoint: folder of the base weights.
        adapters: name -> folder of LoRA adapters.
        options: sizes and limits.

    Raises:
        DomainError: INVALID_ARGUMENT of ``model`` or ``adapters.NAME``.
        Exception: whatever vLLM raises when it cannot load the checkpoint.
    """
    checked = [check_adapter(name, folder, checkpoint) for name, folder in adapters.items()]
    how = read_preparation(checkpoint)
    how_videos = read_video_preparation(checkpoint) if options.max_video_frames else None
    requests = {
        adapter.name: LoRARequest(adapter.name, number, str(adapter.folder))
        for number, adapter in enumerate(checked, 1)
    }
    llm = SupervisedLLM(
        engine_arguments(checkpoint, checked, options),
        tuple(requests.values()),
        name=options.name,
        cores=options.cores,
    )
    loaded = await llm.load()
    with FrameThreads(options.frame_threads, "frames") as executor:
        async with llm.watched():
            tokenizer = cast(Tokenizer, loaded.get_tokenizer())
            frames = FrameInputs(how, executor, options.frame_cache_bytes)
            videos = (
                None
                if how_videos is None
                else VideoInputs(how_videos, executor, options.frame_cache_bytes)
            )
            preparations = how.digest + (how_videos.digest if how_videos else "")
            yield (
                VllmEngine(
                    llm,
                    PromptTokens(tokenizer),
                    MediaInputs(tokenizer, frames, videos),
                    Admission(step_places(loaded), options.queue),
                    requests,
                    fingerprint(
                        [checkpoint, *(adapter.folder for adapter in checked)],
                        str(loaded.model_config.dtype),
                        preparations,
                    ),
                    loaded.model_config.max_model_len,
                    options.core_cache_bytes,
                ),
                llm,
            )


def step_places(llm: AsyncLLM) -> StepPlaces:
    """How many questions may be past the queue of an engine, all copies of its model together."""
    steps, copies = llm.vllm_config.scheduler_config, llm.vllm_config.parallel_config
    return StepPlaces(
        copies.data_parallel_size * steps.max_num_batched_tokens,
        copies.data_parallel_size * steps.max_num_seqs,
        # Where the next step is put together while one runs, two are taken and one waits.
        steps=3 if steps.async_scheduling else 2,
    )


def _cpu_executor() -> type[Executor]:
    # A GPU's engine has nothing to do with what this imports of vLLM.
    from lrm_server.engine.cpu_executor import CpuExecutor

    return cast(type[Executor], CpuExecutor)


def engine_arguments(
    checkpoint: Path, adapters: list[Adapter], options: EngineOptions
) -> AsyncEngineArgs:
    """How vLLM is started on a checkpoint with these adapters.

    Raises:
        DomainError: INVALID_ARGUMENT of an option that this machine cannot have.
    """
    on_cpu = current_platform.is_cpu()
    kv_gib = options.kv_cache_gib or (CPU_KV_CACHE_GIB if on_cpu else None)
    if on_cpu and options.tensor_parallel > 1:
        raise invalid(
            "tensor_parallel",
            f"tensor_parallel is {options.tensor_parallel} and there is no GPU to span: leave it, "
            "or run several copies with data_parallel.",
        )
    if on_cpu and options.devices:
        raise invalid("devices", f"devices is {options.devices} and there is no GPU: leave it.")
    rank = max((adapter.rank for adapter in adapters), default=0)
    arguments = AsyncEngineArgs(
        model=str(checkpoint),
        dtype=options.dtype,
        max_model_len=options.max_model_len,
        max_num_seqs=options.max_sequences,
        max_num_batched_tokens=max(CPU_STEP_TOKENS, options.max_sequences) if on_cpu else None,
        kv_cache_memory_bytes=None if kv_gib is None else int(kv_gib * GIB),
        gpu_memory_utilization=options.gpu_memory_utilization,
        block_size=CPU_BLOCK_TOKENS if on_cpu else None,
        device_ids=[*parse_numbers(options.devices)] if options.devices else None,
        tensor_parallel_size=options.tensor_parallel,
        data_parallel_size=options.data_parallel,
        distributed_executor_backend=_cpu_executor() if on_cpu else None,
        enforce_eager=options.enforce_eager or (on_cpu and not has_compiler()),
        enable_prefix_caching=True,
        limit_mm_per_prompt={
            "image": options.max_images,
            # vLLM tries out the largest video when it starts.
            "video": (
                {"count": 1, "num_frames": options.max_video_frames}
                if options.max_video_frames
                else 0
            ),
        },
        # Frames come prepared and are kept by FrameInputs; the core keeps what it was sent.
        mm_processor_cache_gb=options.core_cache_bytes / GIB,
        enable_lora=bool(adapters),
        max_loras=max(1, len(adapters)),
        max_lora_rank=next(size for size in VLLM_LORA_RANKS if size >= rank),
        disable_log_stats=False,
        scheduling_policy="priority",
        scheduler_cls=SCHEDULER,
        generation_config="vllm",
        trust_remote_code=False,
    )
    if on_cpu:
        # On a GPU what it holds would lie outside the share that vLLM was given.
        size = encoder_cache(options.encoder_cache_mib * MIB)
        arguments.ec_manager_config = EncoderCacheManagerConfig(**size)
    return arguments
