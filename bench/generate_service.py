"""The service that LRM's users run, as plain as it is: transformers' ``generate`` behind a lock.

``python -m bench.generate_service [--model embedded] [--port 0]`` prints its address and answers
``/compute_reward``, ``/compute_completion`` and ``/compute_comparison`` until it is ended: one
request at a time, greedily, up to 512 tokens for a comparison and 128 for the others, each
score read from what was written. ``tokens`` in a reply says how many that were. With
``exactly_tokens`` in a request the model writes so many: a small checkpoint then works as long as a
published one that reasons first, whatever it says.
"""

from __future__ import annotations

import argparse
import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from lrm_server.engine.broken_extensions import install
from lrm_server.engine.checkpoint_files import locate
from lrm_server.errors import DomainError
from lrm_server.heads.answer import parse_answer
from lrm_server.heads.library import load_profile
from lrm_server.heads.profile import LabelProfile, Role
from lrm_server.heads.prompt import render_turn

install()

from transformers import AutoProcessor, Qwen3VLForConditionalGeneration  # noqa: E402

IMAGES = {
    "/compute_reward": ("lrm_progress", {"initial_image": Role.INITIAL, "image": Role.CURRENT}),
    "/compute_completion": ("lrm_completion", {"image": Role.CURRENT}),
    "/compute_comparison": (
        "lrm_contrastive",
        {"image_a": Role.PREVIOUS, "image_b": Role.CURRENT},
    ),
}
"""Path -> profile, and field of the request -> role of its image."""


class Writer:
    """A checkpoint that writes one answer at a time."""

    def __init__(self, checkpoint: Path) -> None:
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._processor = AutoProcessor.from_pretrained(checkpoint)
        model = Qwen3VLForConditionalGeneration.from_pretrained(checkpoint, dtype="auto")
        self._model = model.to(self._device).eval()
        self._lock = threading.Lock()

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The reply to a request; ``success`` is false where what was written is no answer.

        Raises:
            KeyError: there is no such path or field.
        """
        name, fields = IMAGES[path]
        profile = load_profile(name)
        if not isinstance(profile, LabelProfile):
            raise TypeError(f"{name} reads no label")
        images = {role: _image(body, field) for field, role in fields.items() if field in body}
        exactly = int(body.get("exactly_tokens", 0))
        with self._lock:
            text, tokens = self._write(profile, body["task_description"], images, exactly)
        written = {"response": text, "tokens": tokens}
        try:
            score = profile.values[parse_answer(profile, text)]
        except DomainError as error:
            return {"success": False, "error": str(error), **written}
        return {"success": True, "score": score, **written}

    def _write(
        self, profile: LabelProfile, task: str, images: dict[Role, Image.Image], exactly: int
    ) -> tuple[str, int]:
        turn = render_turn(profile, task, images.keys())
        content = [
            {"type": "image"} if isinstance(part, Role) else {"type": "text", "text": str(part)}
            for part in turn.parts
        ]
        chat = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        inputs = self._processor(
            text=[chat], images=[images[role] for role in turn.roles], return_tensors="pt"
        ).to(self._device)
        with torch.no_grad():
            written = self._model.generate(
                **inputs,
                min_new_tokens=exactly,
                max_new_tokens=exactly or profile.max_answer_tokens,
                do_sample=False,
            )[0, inputs["input_ids"].shape[1] :]
        return self._processor.tokenizer.decode(written, skip_special_tokens=True), len(written)


def _image(body: dict[str, Any], field: str) -> Image.Image:
    pixels = np.frombuffer(base64.b64decode(body[field]), dtype=body[f"{field}_dtype"])
    return Image.fromarray(pixels.reshape(body[f"{field}_shape"]))


def handler_of(writer: Writer) -> type[BaseHTTPRequestHandler]:
    """What answers the requests of a connection."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            try:
                length = int(self.headers["content-length"])
                body = json.loads(self.rfile.read(length))
                self._send(200, writer.answer(self.path, body))
            except Exception as error:
                self._send(500, {"success": False, "error": str(error)})

        def log_message(self, *args: object) -> None:
            """Says nothing of every request."""

        def _send(self, status: int, body: dict[str, Any]) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    return Handler


class Service(ThreadingHTTPServer):
    """Takes as many connections as come; they wait for the lock."""

    request_queue_size = 128
    daemon_threads = True


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--port", type=int, default=0)
    args = parser.parse_args()
    writer = Writer(locate(args.model))
    with Service(("127.0.0.1", args.port), handler_of(writer)) as service:
        print(f"http://127.0.0.1:{service.server_address[1]}", flush=True)
        service.serve_forever()


if __name__ == "__main__":
    main()
