"""Pixels that a client on this machine holds in a memory file (Linux memfd), copied out of it.

What a client says of its memory is not trusted. The file is read through its descriptor and
never mapped, so that a client that cuts it short ends a read early and cannot bring the server
down; and what was read is the server's own copy, so that hash, patches and caches all see the
same pixels whatever the client writes meanwhile.
"""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from lrm_server.errors import DomainError, invalid

FILE: Final = "/memfd:lrm-frames (deleted)"
"""What the kernel calls the clients' memory files; no other file is opened."""
TOKEN_BYTES: Final = 16

_INLINE: Final = "or send the frames in the request (shared_memory=False)"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a client says that pixels lie.

    Attributes:
        process: id of the client's process.
        descriptor: of the memory file there.
        token: stands at the file's beginning, and is known to who may read the file.
        offset: bytes from the file's beginning.
    """

    process: int
    descriptor: int
    token: bytes
    offset: int


class SharedReader:
    """Reads what one request refers to; as a context, it keeps one file open at a time."""

    def __init__(self) -> None:
        self._opened: tuple[int, int] | None = None
        self._file = -1

    def read(self, place: Place, size: int) -> bytes:
        """A copy of so many bytes.

        Raises:
            DomainError: INVALID_ARGUMENT, the file is not there, of another user, too short
                or written for another request; the field is left for the caller.
        """
        if len(place.token) != TOKEN_BYTES:
            raise _refused(f"the token has {len(place.token)} bytes and not {TOKEN_BYTES}")
        self._open(place.process, place.descriptor)
        end = place.offset + size
        whole = end <= os.fstat(self._file).st_size
        data = os.pread(self._file, size, place.offset) if whole else b""
        if len(data) != size:
            raise _refused(f"it ends before byte {end}, where the frames are said to end")
        # Last: a client that writes its next request's frames has written their token first.
        if not hmac.compare_digest(os.pread(self._file, TOKEN_BYTES, 0), place.token):
            raise _refused("it holds the frames of another request by now")
        return data

    def _open(self, process: int, descriptor: int) -> None:
        if self._opened == (process, descriptor):
            return
        self.close()
        owner = Path(f"/proc/{process}")
        path = owner / "fd" / str(descriptor)
        try:
            # Before anything of it is touched: opening what another user made could block.
            if owner.stat().st_uid != os.geteuid():
                raise _of_another_user()
            if str(path.readlink()) == FILE:
                self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            ours = self._file >= 0 and str(Path(f"/proc/self/fd/{self._file}").readlink()) == FILE
        except PermissionError as error:
            raise _of_another_user() from error
        except OSError as error:
            raise _refused(
                "this server does not see it: it is gone, or the client is on another machine "
                "or in another container"
            ) from error
        if not ours:
            raise _refused("that descriptor is no memory file of a client")
        self._opened = (process, descriptor)

    def close(self) -> None:
        """Closes the file that was read last."""
        self._opened = None
        if self._file >= 0:
            file, self._file = self._file, -1
            os.close(file)

    def __enter__(self) -> SharedReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def not_offered() -> DomainError:
    """The error of shared memory on a server that reads none."""
    return invalid(
        "",
        "this server reads no frames from shared memory: start it with --shared-memory yes on "
        f"the client's machine, {_INLINE}.",
    )


def _refused(cause: str) -> DomainError:
    return invalid(
        "", f"the shared memory cannot be read: {cause}. Send the request again, {_INLINE}."
    )


def _of_another_user() -> DomainError:
    return invalid(
        "",
        f"the shared memory is another user's: run the client as the server's user, {_INLINE}.",
    )
