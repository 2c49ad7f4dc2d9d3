"""Rewards per second of the whole stack, beside three that do the same without lrm.

``python -m bench.throughput [--environments 1 16 64 320] [--heads progress] [--json FILE]``

A learner process steps N environments through client, gRPC, server and engine, with raw frames and
with JPEG. In turn with it, on the same machine in the same run:

(a) the bare engine: the same one, asked through ``AsyncLLM`` for as many queries whose frames were
    prepared beforehand;
(b) vLLM's own OpenAI server, asked for the same JPEG frames, prompts and labels, with the threads,
    the eagerness and the sizes of lrm's engine, and otherwise vLLM's defaults;
(c) transformers' ``generate`` behind a plain HTTP server, which takes raw base64 frames and writes
    one answer at a time: the short JSON, and where the published form reasons first, as many tokens
    as that.

The services take turns and one that is not asked idles. Every frame is new to every service. The
first due step of an episode, which alone finds the initial frames new, is not counted, and neither
is a short first round.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from rich.console import Console

from bench import goals, openai_requests
from bench.comparison import Row, Written, show_rates, show_written, throughput_goals
from bench.learner import own_process
from bench.machine import describe
from bench.services import end_when_told, openai_server, plain_service
from lrm_server.app import Server, freeze_heap
from lrm_server.checkpoint import find_manifest
from lrm_server.config import Settings
from lrm_server.engine.environment import bindable_cores, prepare_environment, wait_briefly
from lrm_server.heads.canary import warm_up
from lrm_server.heads.catalogue import HeadCatalogue, ModelCard
from lrm_server.heads.manifest import served_heads
from lrm_server.heads.scoring import HeadScorer

if TYPE_CHECKING:
    from lrm_server.engine.start import EngineOptions

HEADS: Final = ("contrastive", "progress", "completion")


@dataclass
class Found:
    """All figures of a run.

    Attributes:
        rows: of every head at every number of environments.
        written: what the plain service does.
        disagreement: head -> greatest difference of a label's probability from vLLM's server.
    """

    rows: list[Row] = field(default_factory=list)
    written: list[Written] = field(default_factory=list)
    disagreement: dict[str, float] = field(default_factory=dict)


async def measure(args: argparse.Namespace, openai: str, plain: str, found: Found) -> None:
    """Every head at every number of environments.

    Args:
        args: of the command line.
        openai: URL of vLLM's server; empty for none.
        plain: URL of the plain service; empty for none.
        found: takes the figures as they come.
    """
    # vLLM reads its environment when it is imported.
    from bench.bare_engine import BareEngine
    from bench.turns import Comparison
    from lrm_server.engine.checkpoint_files import locate
    from lrm_server.engine.patches import read_preparation
    from lrm_server.engine.prompt_tokens import Tokenizer
    from lrm_server.engine.start import open_engine

    checkpoint = locate(args.model)
    settings = Settings(http_port=0, grpc_port=0, enforce_eager=args.eager)
    async with open_engine(checkpoint, {}, engine_options(settings)) as (engine, llm):
        manifest, _ = find_manifest(settings, checkpoint)
        card = ModelCard(args.model, "", engine.fingerprint)
        scorer = HeadScorer(engine, HeadCatalogue(served_heads(manifest, {}), card))
        await llm.prove(lambda: warm_up(scorer))
        vllm = llm.current()
        tokenizer = cast(Tokenizer, vllm.get_tokenizer())
        bare = BareEngine(vllm, tokenizer, read_preparation(checkpoint))
        freeze_heap()
        async with Server(settings, scorer) as server:
            with own_process() as learner:
                target = f"grpc://127.0.0.1:{server.grpc_port}"
                compared = Comparison(bare, learner, target, openai, plain)
                for head in args.heads:
                    if openai:
                        found.disagreement[head] = await compared.disagreement(head)
                    for count in args.environments:
                        found.rows.append(await compared.rates(head, count, args.rounds))
                    if plain:
                        found.written += await compared.written(
                            head, args.requests, args.reasoning_tokens
                        )


def engine_options(settings: Settings) -> EngineOptions:
    """How the server starts its engine with these settings."""
    from lrm_server.engine.start import EngineOptions

    return EngineOptions(**{name: getattr(settings, name) for name in EngineOptions.SETTINGS})


def openai_flags(args: argparse.Namespace) -> list[str]:
    """What vLLM's server is given so that it does as lrm's engine does."""
    from lrm_server.engine.checkpoint_files import locate
    from lrm_server.engine.start import engine_arguments

    settings = Settings(enforce_eager=args.eager)
    ours = engine_arguments(locate(args.model), [], engine_options(settings))
    flags = [
        f"--max-model-len={ours.max_model_len}",
        f"--max-num-seqs={ours.max_num_seqs}",
        f"--dtype={ours.dtype}",
        "--limit-mm-per-prompt=" + json.dumps({"image": 4, "video": 0}),
        *(["--enforce-eager"] if ours.enforce_eager else []),
        *args.openai_flags,
    ]
    if ours.kv_cache_memory_bytes is not None:
        flags.append(f"--kv-cache-memory-bytes={ours.kv_cache_memory_bytes}")
    return flags


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environments", type=int, nargs="+", default=[1, 16, 64, 320])
    parser.add_argument("--heads", nargs="+", choices=HEADS, default=list(HEADS))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--requests", type=int, default=6, help="to (c), in each form")
    parser.add_argument(
        "--reasoning-tokens", type=int, default=128, help="that a published answer reasons for"
    )
    parser.add_argument(
        "--others",
        choices=("all", "openai", "plain", "none"),
        default="all",
        help="beside the bare engine",
    )
    parser.add_argument(
        "--openai-flags", nargs="+", default=[], help="further ones of (b), as --block-size=32"
    )
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--eager", action="store_true", help="do not compile the model")
    parser.add_argument("--json", type=Path, help="where the figures are written")
    args = parser.parse_args()
    end_when_told()
    prepare_environment()
    from lrm_server.engine.checkpoint_files import locate

    found = Found()
    try:
        with ExitStack() as stack:
            openai = plain = ""
            if args.others in ("all", "openai"):
                flags = openai_flags(args)
                server = openai_server(locate(args.model), openai_requests.MODEL, flags)
                openai = stack.enter_context(server)
            if args.others in ("all", "plain"):
                plain = stack.enter_context(plain_service(args.model))
            # It is lrm's: the others have been started without it.
            wait_briefly(bindable_cores())
            asyncio.run(measure(args, openai, plain, found))
    finally:
        # Of a run that was ended, what it has found.
        report(found, args.json)


def report(found: Found, to: Path | None) -> None:
    """Prints the figures, and writes them into a file."""
    console = Console(width=140)
    console.print(describe(), highlight=False)
    console.print(show_rates(found.rows))
    if found.written:
        console.print(show_written(found.written, found.rows))
    for head, apart in found.disagreement.items():
        console.print(f"{head}: no label's probability differs from (b)'s by more than {apart:.1e}")
    console.print(goals.show(throughput_goals(found.rows, found.written)))
    if to is not None:
        to.write_text(json.dumps({"machine": describe(), **asdict(found)}, indent=1) + "\n")


if __name__ == "__main__":
    main()
