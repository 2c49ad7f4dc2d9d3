"""What one more frame costs a Robometer: tokens computed and seconds, by the frames before it.

``python -m bench.appended_frame [--model FOLDER --base FOLDER] [--frames 4 8 16 32] [--size 128]``

Episodes grow frame by frame, as a robot's do; only the step to each number of frames is timed,
alone on the engine. Beside it stands the same window asked of an engine that knows nothing of it.
A hit ends where a block of the cache ends: an appended frame computes up to a block more than its
own tokens; tasks of different lengths make episodes end anywhere in a block alike. Without
``--model`` a small checkpoint of the published structure is made, with random weights.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.console import Console
from rich.table import Table

from bench.machine import describe
from lrm_server.engine.environment import prepare_environment
from lrm_server.engine.frame_reader import FrameQuestion, FrameReader, FrameReadings
from lrm_server.frames import Encoding, Frame, FrameLimits, open_frame
from lrm_server.heads.frame_heads import frame_question
from lrm_server.heads.frame_profile import FrameProfile
from lrm_server.heads.query import Query, WindowFrame
from lrm_server.heads.window import shown

PROFILE = Path(__file__).parents[1] / "server/lrm_server/heads/profiles/robometer_progress.yaml"
SENTENCE = "Pick up the red cube and put it down"
BLOCK_TOKENS = 32


async def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for each number of frames."""
    prepare_environment()
    # vLLM reads its environment when it is imported.
    from lrm_server.engine.robometer.start import open_frame_reader
    from lrm_server.engine.start import EngineOptions

    most = max(args.frames)
    options = EngineOptions(
        enforce_eager=args.eager, max_images=most, max_model_len=args.max_model_len
    )
    with _checkpoint(args) as (model, base):
        async with open_frame_reader(model, base, options) as (reader, llm):

            async def warm() -> None:
                await _episode(reader, args, seed=0)

            await llm.prove(warm)
            episodes = [await _episode(reader, args, seed) for seed in range(1, args.episodes + 1)]
            whole = {
                count: [
                    await _timed(reader, _asked(args, 10_000 * seed + count, count))
                    for seed in range(1, args.episodes + 1)
                ]
                for count in args.frames
            }
    return [
        {
            "frames": count,
            "prompt_tokens": statistics.mean(each[count][0].prompt_tokens for each in episodes),
            "computed_tokens": statistics.mean(each[count][0].computed_tokens for each in episodes),
            "seconds": statistics.median(each[count][1] for each in episodes),
            "whole_seconds": statistics.median(seconds for _, seconds in whole[count]),
        }
        for count in args.frames
    ]


async def _episode(
    reader: FrameReader, args: argparse.Namespace, seed: int
) -> dict[int, tuple[FrameReadings, float]]:
    """Grows one episode; frames -> what its last one cost."""
    frames = _frames(args, seed, max(args.frames))
    found = {}
    for count in range(1, len(frames) + 1):
        found[count] = await _timed(reader, _question(seed, frames[:count]))
    return found


async def _timed(reader: FrameReader, question: FrameQuestion) -> tuple[FrameReadings, float]:
    began = time.perf_counter()
    readings = await reader.read_frames(question)
    return readings, time.perf_counter() - began


def _asked(args: argparse.Namespace, seed: int, count: int) -> FrameQuestion:
    return _question(seed, _frames(args, seed, count))


def _question(seed: int, frames: list[Frame]) -> FrameQuestion:
    profile = FrameProfile.model_validate(yaml.safe_load(PROFILE.read_text("utf-8")))
    window = profile.window.model_copy(update={"max_frames": len(frames)})
    # Tasks of 32 lengths, one word apart: episodes end everywhere in a block alike.
    task = f"{seed}. {SENTENCE}{' again' * (seed % BLOCK_TOKENS)}."
    found = shown(window, [WindowFrame(frame) for frame in frames], profile.head)
    return frame_question(profile, Query(head=profile.head, task=task), found)


def _frames(args: argparse.Namespace, seed: int, count: int) -> list[Frame]:
    random = np.random.default_rng(seed)
    shape = (args.size, args.size, 3)
    return [
        open_frame(
            random.integers(0, 256, shape, dtype=np.uint8).tobytes(),
            Encoding.RAW,
            FrameLimits(),
            height=args.size,
            width=args.size,
        )
        for _ in range(count)
    ]


@contextmanager
def _checkpoint(args: argparse.Namespace) -> Iterator[tuple[Path, Path]]:
    if args.model is not None:
        yield args.model, args.base or args.model
        return
    import torch

    from tests.engine.robometer.checkpoint import make_base, make_checkpoint

    with tempfile.TemporaryDirectory() as name:
        base = make_base(Path(name) / "base")
        made = make_checkpoint(
            Path(name) / "weights", base, dtype=torch.bfloat16, hidden=args.hidden
        )
        yield made.checkpoint, made.base


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="folder of a Robometer checkpoint")
    parser.add_argument("--base", type=Path, help="folder of its base's processor files")
    parser.add_argument("--hidden", type=int, default=1024, help="width of the model that is made")
    parser.add_argument("--frames", type=int, nargs="+", default=[4, 8, 16, 32])
    parser.add_argument("--size", type=int, default=128, help="sides of the frames, in pixels")
    parser.add_argument("--episodes", type=int, default=BLOCK_TOKENS)
    parser.add_argument("--max-model-len", type=int, default=4096)
    parser.add_argument("--eager", action="store_true", help="without compiling the model")
    parser.add_argument("--json", type=Path, help="also write the rows here")
    args = parser.parse_args()
    rows = asyncio.run(measure(args))
    if args.json is not None:
        args.json.write_text(json.dumps({"machine": describe(), "rows": rows}, indent=2))
    table = Table(title=f"One appended frame of {args.size}x{args.size} on {describe()}")
    for name in ("frames", "prompt tokens", "computed", "ms", "ms for the whole window"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            str(row["frames"]),
            f"{row['prompt_tokens']:.0f}",
            f"{row['computed_tokens']:.1f}",
            f"{1000 * row['seconds']:.1f}",
            f"{1000 * row['whole_seconds']:.1f}",
        )
    console = Console()
    console.print(table)
    first, last = rows[0], rows[-1]
    for name in ("computed_tokens", "seconds"):
        growth = last[name] / first[name] - 1
        console.print(f"{name}: {growth:+.1%} from {first['frames']} to {last['frames']} frames")


if __name__ == "__main__":
    main()
