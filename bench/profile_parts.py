"""Which part of a server a Python stack belongs to, by names of functions and files. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

SERVER: Final = "server"
WAITING: Final = "waiting"
SPINNING: Final = "spinning: waits and takes a core"
MODEL: Final = (
    (SPINNING, r"SpinCondition|acquire_read|acquire_write|sched_yield"),
    ("frames into batches", r"group_and_batch_mm"),
    ("vision tower", r"_execute_mm_encoder|embed_multimodal"),
    ("logits and sampling", r"compute_logits|vllm/v1/sample/|_bookkeeping_sync|sample_tokens"),
    ("decoder", r"_model_forward"),
    ("model runner, other", r"vllm/v1/worker/"),
    ("scheduler", r"vllm/v1/core/"),
    ("messages", r"serial_utils|shm_broadcast|zmq/|process_(in|out)put_sockets|collective_rpc"),
    ("requests", r"preprocess_add_request|vllm/v1/request\.py|_handle_client_request"),
)
"""Part of the engine's processes -> what its functions or files are called."""
FRONT: Final = (
    ("decoding", r"lrm_server/frames\.py|PIL/|turbojpeg|simplejpeg"),
    ("patches", r"engine/patches\.py|engine/frame_inputs\.py"),
    ("tokens", r"engine/prompt_tokens\.py|engine/media_inputs\.py|engine/label_trie\.py"),
    ("vLLM serialisation", r"serial_utils|msgspec|msgpack"),
    ("vLLM input", r"input_processor|vllm/v1/request\.py|sampling_params|vllm/inputs/"),
    ("vLLM output", r"output_processor|logprobs|detokenizer|vllm/outputs\.py"),
    ("vLLM metrics", r"vllm/v1/metrics/"),
    ("vLLM front end, other", r"vllm/|zmq/"),
    ("engine", r"lrm_server/engine/"),
    ("heads", r"lrm_server/heads/|lrm_server/ops/"),
    ("episodes", r"lrm_server/episodes/|lrm_client/clock\.py"),
    ("wire", r"lrm_server/api/|google/protobuf|lrm_client/"),
    ("gRPC", r"grpc/"),
    ("asyncio", r"asyncio/|selectors\.py"),
)
"""Part of the server's own process -> the same."""
_PARTS: Final = {
    served: [(name, re.compile(pattern)) for name, pattern in parts]
    for served, parts in ((True, FRONT), (False, MODEL))
}
_PROCESS: Final = re.compile(r"process \d+:\"(.*)\"$")
_WAITS: Final = re.compile(
    # py-spy takes some threads that sleep for busy ones.
    r"^(\S*[Ss]elector\.select|wait \(multiprocessing/connection|GarbageCollectorThread\.run|_poll)"
    r"|^Poller\.poll|^Socket\.poll|^_poll_wrapper"
)


def part_of(process: str, stack: Sequence[str]) -> str:
    """The part that claims the innermost function of a stack.

    Args:
        process: ``server``, or a process of the engine.
        stack: ``function (file:line)`` of each call, the outermost first.
    """
    if stack and _WAITS.search(stack[-1]):
        return WAITING
    for frame in reversed(stack):
        for name, pattern in _PARTS[process == SERVER]:
            if pattern.search(frame):
                return name
    return "other"


def count_parts(stacks: str) -> Counter[tuple[str, str, str]]:
    """Samples by (process, thread, part), without those that wait.

    Args:
        stacks: lines of py-spy's raw format, with processes and threads: the processes from
            the outermost, the thread, its calls from the outermost, the number of samples.
    """
    counted: Counter[tuple[str, str, str]] = Counter()
    for line in stacks.splitlines():
        written, _, samples = line.rpartition(" ")
        process, thread, calls = SERVER, "", []
        processes = 0
        for each in written.split(";"):
            if found := _PROCESS.match(each):
                # The first is the server, whatever its command line says.
                processes += 1
                process = found.group(1) if processes > 1 else SERVER
            elif each.startswith("thread ("):
                thread = _pool(each.partition("): ")[2])
            else:
                calls.append(each)
        part = part_of(process, calls)
        if part != WAITING:
            counted[process, thread, part] += int(samples)
    return counted


def _pool(thread: str) -> str:
    """A thread's name without its number in a pool."""
    return re.sub(r"[-_ ]\d+$", "", thread.strip())
