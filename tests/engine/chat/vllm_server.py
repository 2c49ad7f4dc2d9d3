"""vLLM's own OpenAI server on the embedded checkpoint, as a process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from lrm_server.engine.checkpoint_files import locate
from lrm_server.engine.environment import prepare_environment

MODEL = "embedded"
START_WITHIN_S = 540.0


@contextmanager
def vllm_server(log: Path) -> Iterator[str]:
    """Its base URL, for as long as the block lasts.

    Args:
        log: file for what it says.
    """
    # Its children need the same repairs as ours, which travel in the environment.
    prepare_environment()
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    command = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", str(locate("embedded")), "--served-model-name", MODEL),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--max-model-len", "4096", "--max-num-seqs", "16", "--block-size", "32"),
        *("--kv-cache-memory-bytes", str(256 * 1024 * 1024), "--generation-config", "vllm"),
        *("--limit-mm-per-prompt", '{"image": 4, "video": 0}', "--enforce-eager"),
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        _wait_until_healthy(process, f"http://127.0.0.1:{port}/health", log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_healthy(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until = time.monotonic() + START_WITHIN_S
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx.get(url, timeout=5.0, trust_env=False).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise RuntimeError(f"vLLM's server did not start:\n{log.read_text('utf-8')[-3000:]}")
