"""Where a checkpoint's files lie, and what identifies them."""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from lrm_server.errors import DomainError, ErrorCode, invalid

EMBEDDED = "embedded"
_HUB_NAME = re.compile(
    r"(?P<repo>[\w-][\w.-]*/[\w-][\w.-]*)(?P<folder>(?:/[\w-][\w.-]*)*)(?:@(?P<revision>[\w./-]+))?"
)
_WHOLE_BELOW_BYTES = 256 * 1024 * 1024
_SAMPLES = 16
_SAMPLE_BYTES = 64 * 1024
_WANTED = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.yaml", "*.model", "canary/*"]


def locate(name: str, field: str = "model") -> Path:
    """The folder of a checkpoint or an adapter, fetched from the hub where it must be.

    Args:
        name: ``embedded``, a folder, or a hub name: ``owner/name``, with a folder
            of the repository (``owner/name/folder``) and a revision (``@main``)
            where they are needed.
        field: which setting named it, for the error.

    Raises:
        DomainError: INVALID_ARGUMENT when the folder or the hub's repository does
            not exist; UNAVAILABLE when the hub cannot be reached.
    """
    if name == EMBEDDED:
        return Path(str(resources.files("lrm_server") / "checkpoints" / "embedded"))
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder.resolve()
    hub = _HUB_NAME.fullmatch(name)
    if hub is None or folder.is_file():
        raise invalid(
            field,
            f"there is no folder {name!r}, and it is no hub name (owner/name, owner/name/folder) "
            "either: give the folder that holds config.json and the weights.",
        )
    try:
        return _fetch(hub["repo"], hub["folder"].strip("/"), hub["revision"])
    except (HFValidationError, LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        missing = isinstance(error, HfHubHTTPError) and error.response.status_code in (
            401,
            403,
            404,
        )
        raise DomainError(
            ErrorCode.INVALID_ARGUMENT if missing else ErrorCode.UNAVAILABLE,
            f"there is no folder {name!r} here, and the hub's {name} could not be fetched "
            f"({type(error).__name__}): check the spelling, the access and the network.",
            field=field,
        ) from error


def _fetch(repo: str, folder: str, revision: str | None) -> Path:
    wanted = [f"{folder}/{name}" for name in _WANTED] if folder else _WANTED
    fetched = Path(snapshot_download(repo, revision=revision, allow_patterns=wanted)) / folder
    if not fetched.is_dir():
        raise FileNotFoundError(f"{repo} has no folder {folder}")
    return fetched


def fingerprint(folders: Iterable[Path], *extra: str) -> str:
    """16 hex digits that tell checkpoints and adapters apart.

    Configuration and tokeniser files count whole, and so do files of weights below
    256 MiB. Of larger ones count the size, the head (names, shapes and places of
    all tensors) and sixteen pieces of 64 KiB spread evenly: a trained and an
    untrained copy differ, but a change of single weights may stay unseen.

    Args:
        folders: of the checkpoint and its adapters, in order.
        extra: what else changes an answer (number type, preparation of frames).
    """
    found = hashlib.blake2b(digest_size=8)
    for item in extra:
        found.update(item.encode())
    for folder in folders:
        for path in sorted(folder.iterdir()):
            if path.suffix in (".json", ".jinja"):
                found.update(f"{path.name}\0".encode())
                found.update(path.read_bytes())
            elif path.suffix == ".safetensors":
                found.update(f"{path.name}\0{path.stat().st_size}\0".encode())
                if path.stat().st_size < _WHOLE_BELOW_BYTES:
                    found.update(path.read_bytes())
                else:
                    _sample(path, found)
    return found.hexdigest()


def _sample(path: Path, into: hashlib.blake2b) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        into.update(file.read(min(size, 8 + _header_bytes(path))))
        for piece in range(_SAMPLES):
            file.seek(max(0, (size - _SAMPLE_BYTES) * piece // max(1, _SAMPLES - 1)))
            into.update(file.read(_SAMPLE_BYTES))


def _header_bytes(path: Path) -> int:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
    return int(length)


def tensor_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor in a folder's safetensors files, from their heads alone."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        for name, entry in header.items():
            if name != "__metadata__":
                shapes[name] = tuple(entry["shape"])
    return shapes
