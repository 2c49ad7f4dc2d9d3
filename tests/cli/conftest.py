"""A scripted reward server, generated media, and a shell without the caller's settings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.client.scripted import ScriptedCore
from tests.client.scripted_grpc import serve_grpc


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    from lrm_server.config import Settings

    for name in [*Settings.model_fields, "server"]:
        monkeypatch.delenv(f"LRM_{name.upper()}", raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def core() -> ScriptedCore:
    return ScriptedCore()


@pytest.fixture
def server(core: ScriptedCore) -> Iterator[str]:
    with serve_grpc(core) as target:
        yield f"grpc://{target}"


def level_frame(level: int, height: int = 32, width: int = 48) -> NDArray[np.uint8]:
    return np.full((height, width, 3), level, np.uint8)


def write_video(path: Path, levels: list[int], fps: int = 10) -> Path:
    """A video whose frames are grey, each of one level."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for level in levels:
            frame = av.VideoFrame.from_ndarray(level_frame(level), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_folder(folder: Path, levels: list[int], suffix: str = "png") -> Path:
    """frame0.png, frame1.png, ..., each grey."""
    folder.mkdir()
    for index, level in enumerate(levels):
        Image.fromarray(level_frame(level)).save(folder / f"frame{index}.{suffix}")
    return folder
