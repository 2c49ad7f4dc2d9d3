"""Starts a reader of frames on a Robometer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, cast

from vllm.platforms import current_platform

from lrm_server.engine.admission import Admission
from lrm_server.engine.checkpoint_files import fingerprint
from lrm_server.engine.frame_inputs import FrameInputs
from lrm_server.engine.prompt_tokens import Tokenizer
from lrm_server.engine.robometer.folder import preparation, serving_folder
from lrm_server.engine.robometer.plugin import introduce
from lrm_server.engine.robometer.prompts import FramePrompts
from lrm_server.engine.robometer.reader import Memory, RobometerReader
from lrm_server.engine.robometer.tensors import check_tensors
from lrm_server.engine.start import (
    EngineOptions,
    engine_arguments,
    step_places,
)
from lrm_server.engine.supervision import SupervisedLLM
from lrm_server.threads import FrameThreads

KEPT_ANSWERS: Final = 1 << 17
"""Tokens whose answers are kept: 4096 episodes of 32 frames, some 40 MB."""


@asynccontextmanager
async def open_frame_reader(
    checkpoint: Path, base: Path, options: EngineOptions
) -> AsyncIterator[tuple[RobometerReader, SupervisedLLM]]:
    """A reader whose weights are loaded; the caller proves it before it is ready.

    Args:
        checkpoint: folder with config.json and the weights.
        base: folder with the base model's tokeniser and processor files; the
            checkpoint's own where it has them.
        options: sizes and limits; ``max_images`` bounds the frames in a question.

    Raises:
        DomainError: INVALID_ARGUMENT of ``model`` or ``base``.
        Exception: whatever vLLM raises when it cannot load the checkpoint.
    """
    check_tensors(checkpoint)
    how = preparation(base)
    introduce()
    with serving_folder(checkpoint, base, options.max_model_len) as folder:
        arguments = replace(
            engine_arguments(folder, [], options),
            runner="pooling",
            # A CPU's memory for keys and values is given, and the trial takes it long.
            skip_mm_profiling=current_platform.is_cpu(),
        )
        llm = SupervisedLLM(arguments, (), name=options.name, cores=options.cores)
        loaded = await llm.load()
        with FrameThreads(options.frame_threads, "frames") as executor:
            async with llm.watched():
                yield (
                    RobometerReader(
                        llm,
                        FramePrompts(cast(Tokenizer, loaded.get_tokenizer())),
                        FrameInputs(how, executor, options.frame_cache_bytes),
                        Admission(step_places(loaded), options.queue),
                        Memory(KEPT_ANSWERS, options.core_cache_bytes),
                        fingerprint([checkpoint, base], str(loaded.model_config.dtype), how.digest),
                        loaded.model_config.max_model_len,
                    ),
                    llm,
                )
