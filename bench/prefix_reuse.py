"""How much of its prompts an engine computes, and which frames it encodes, over episodes.

``python -m bench.prefix_reuse [--environments 16 128] [--interval 5] [--json FILE]``

N environments with frames of their own are stepped through the server's episodes, as learners do.
The first table counts, over the due steps after the first: tokens of the prompts of a query, those
that the engine computed because it had not kept them, and the frames that it encoded for a query of
an environment, of those that were shown. The second says what another order of the prompt's parts
would leave to compute, from the checkpoint's own tokens: published profiles keep their order, and
a checkpoint answers in the order that it was trained on.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from rich.table import Table

from bench import machine
from bench.encoded import Encoded, counting_encoded
from bench.learner import TASK
from bench.prompt_order import Prefix, orders
from bench.scene import frames
from lrm_client.clock import ClockConfig
from lrm_server.checkpoint import open_scorer
from lrm_server.config import Settings
from lrm_server.engine.environment import prepare_environment
from lrm_server.engine.protocol import NO_TOKENS, TokenCounts
from lrm_server.episodes.service import EpisodeService
from lrm_server.episodes.store import MemoryEpisodeStore
from lrm_server.episodes.types import EpisodeSpec, EpisodeStep
from lrm_server.frames import Encoding, Frame, FrameLimits, open_frame
from lrm_server.heads.library import load_profile
from lrm_server.heads.profile import LabelProfile
from lrm_server.heads.scorer import Scorer

DUE_STEPS = 4
BLOCKS = (16, 32)
"""Tokens that are kept together: vLLM's on a GPU, and this server's on a CPU."""
FRAMES = {"128x128": 16, "256x256": 64, "640x480": 300}
"""Tokens of a frame, at 32 x 32 pixels each."""


@dataclass(frozen=True)
class Case:
    """What is asked at a due step."""

    heads: tuple[str, ...]
    swap: bool = False

    @property
    def name(self) -> str:
        """For the table."""
        return ", ".join(self.heads) + (" (swap)" if self.swap else "")


CASES = (
    Case(("progress",)),
    Case(("contrastive",)),
    Case(("contrastive",), swap=True),
    Case(("completion",)),
    Case(("tri",)),
    Case(("tri",), swap=True),
    Case(("progress", "contrastive", "completion")),
)


@dataclass(frozen=True)
class Reuse:
    """What a case took.

    Attributes:
        case: by name.
        environments: N.
        queries: of one head each, after the first due step.
        prompt: tokens a query.
        computed: of them, those that the engine computed.
        first_share: share that was computed at the first due step.
        share: share that was computed after it.
        new: frames an environment brought to a due step.
        encoded: frames that were encoded for it.
        seconds: of such a step, for all environments.
    """

    case: str
    environments: int
    queries: int
    prompt: float
    computed: float
    first_share: float
    share: float
    new: float
    encoded: float
    seconds: float


async def step_episodes(
    scorer: Scorer, encoded: Encoded, case: Case, environments: int, interval: int, seed: int
) -> Reuse:
    """Opens N episodes, takes them over their due steps, and closes them."""
    store = MemoryEpisodeStore(max_episodes=environments, max_frame_mib=1024, idle_seconds=3600)
    service = EpisodeService(scorer, store)
    names = [f"{seed}-{at}" for at in range(environments)]
    await service.open(
        EpisodeSpec(
            id=name, task=TASK, heads=case.heads, clock=ClockConfig(interval), swap=case.swap
        )
        for name in names
    )
    counts: list[tuple[TokenCounts, int, int, float]] = []
    for number in range(DUE_STEPS + 1):
        before = encoded.count
        shown = [_frame(image.tobytes()) for image in frames(environments, seed + number)]
        began = time.perf_counter()
        answers = await service.step(
            [
                EpisodeStep(episode=name, step=number * interval, frame=frame)
                for name, frame in zip(names, shown, strict=True)
            ]
        )
        seconds = time.perf_counter() - began
        tokens, queries = NO_TOKENS, 0
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
            for reward in answer.rewards:
                if reward.reply is None:
                    raise RuntimeError(f"a query of {reward.head} failed: {reward.error}")
                tokens, queries = tokens + reward.reply.tokens, queries + 1
        # The last step of the engine is counted a moment after its answers.
        await asyncio.sleep(0.1)
        counts.append((tokens, queries, encoded.count - before, seconds))
    await service.close(names)
    first, *later = counts[1:]
    total = sum((tokens for tokens, *_ in later), NO_TOKENS)
    queries = sum(number for _, number, *_ in later)
    return Reuse(
        case.name,
        environments,
        queries,
        total.prompt / queries,
        (total.prompt - total.cached) / queries,
        1 - first[0].cached / first[0].prompt,
        1 - total.cached / total.prompt,
        1.0,
        sum(number for *_, number, _ in later) / len(later) / environments,
        sum(spent for *_, spent in later) / len(later),
    )


def _frame(data: bytes) -> Frame:
    return open_frame(data, Encoding.RAW, FrameLimits(), height=128, width=128)


async def measure(args: argparse.Namespace) -> tuple[list[Reuse], list[Any]]:
    """The rows of both tables."""
    prepare_environment()
    from transformers import AutoTokenizer

    from lrm_server.engine.checkpoint_files import locate
    from lrm_server.engine.prompt_tokens import PromptTokens, Tokenizer

    settings = Settings(
        model=args.model, enforce_eager=args.eager, encoder_cache_mib=args.encoder_cache_mib
    )
    with counting_encoded() as encoded:
        async with open_scorer(settings) as scorer:
            reuses = [
                await step_episodes(
                    scorer, encoded, case, count, args.interval, seed=1000 * (1 + at) + 7 * count
                )
                for count in args.environments
                for at, case in enumerate(CASES)
            ]
    prompts = PromptTokens(cast(Tokenizer, AutoTokenizer.from_pretrained(locate(args.model))))
    profiles = [load_profile(f"lrm_{head}") for head in ("progress", "contrastive", "completion")]
    labelled = [profile for profile in profiles if isinstance(profile, LabelProfile)]
    return reuses, list(orders(labelled, prompts, list(FRAMES.values())))


def show(reuses: Sequence[Reuse], found: Sequence[tuple[str, int, Prefix, Prefix]]) -> list[Table]:
    """The figures as tables."""
    first = Table(title="later due steps of episodes", title_justify="left")
    for title in (
        "heads",
        "envs",
        "prompt",
        "computed",
        "share",
        "first step",
        "frames",
        "encoded",
        "ms/query",
    ):
        first.add_column(title, justify="left" if title == "heads" else "right", no_wrap=True)
    for row in reuses:
        first.add_row(
            row.case,
            str(row.environments),
            f"{row.prompt:.1f}",
            f"{row.computed:.1f}",
            f"{row.share:.0%}",
            f"{row.first_share:.0%}",
            f"{row.new:.0f}",
            f"{row.encoded:.2f}",
            f"{1000 * row.seconds * (DUE_STEPS - 1) / row.queries:.1f}",
        )
    second = Table(title="computed tokens of a later query, by order", title_justify="left")
    for title in ("head", "frame", "prompt", "block", "as published", "frames last", "saved"):
        second.add_column(title, justify="left" if title == "head" else "right", no_wrap=True)
    sizes = {tokens: size for size, tokens in FRAMES.items()}
    for head, tokens, published, last in found:
        for block in BLOCKS:
            now, then = published.computed(block), last.computed(block)
            second.add_row(
                head,
                sizes[tokens],
                str(published.prompt),
                str(block),
                str(now),
                str(then),
                f"{1 - then / now:.0%}",
            )
    return [first, second]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environments", type=int, nargs="+", default=[16, 128])
    parser.add_argument("--interval", type=int, default=5)
    parser.add_argument(
        "--encoder-cache-mib", type=int, default=256, help="1 leaves vLLM's own size"
    )
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--eager", action="store_true", help="do not compile the model")
    parser.add_argument("--json", type=Path, help="where the figures are written")
    args = parser.parse_args()
    reuses, found = asyncio.run(measure(args))
    console = Console(width=110)
    console.print(machine.describe())
    for table in show(reuses, found):
        console.print(table)
    if args.json is not None:
        rows = [
            {"head": head, "frame_tokens": tokens, "published": asdict(a), "frames_last": asdict(b)}
            for head, tokens, a, b in found
        ]
        figures = {"machine": machine.describe(), "reuse": [asdict(row) for row in reuses]}
        args.json.write_text(json.dumps({**figures, "orders": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
