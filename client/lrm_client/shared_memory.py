"""Raw frames for a server on the same machine, in memory that it reads instead of the wire.

The frames of a request are written into a memory file of this process (Linux memfd), and the
request names the process, the file's descriptor and a token that was drawn for it and stands
at the file's beginning. The server opens the file through the process, copies what it needs
and looks at the token. Nothing has a name that others could list or would have to unlink: the
kernel frees a file when nobody has it open, also when either side is killed.

A file belongs to one request. It is used again when the request's answer is there, as the
server has then read it; the file of a request that failed in whatever way may still be being
read and is given up. Beyond ``MAX_SHARED_BYTES`` frames travel in their requests as ever, and
so do images that are encoded already.
"""

from __future__ import annotations

import logging
import os
import secrets
import weakref
from collections.abc import Sequence
from threading import Lock
from types import TracebackType
from typing import Final

from lrm_client.wire import reward_pb2 as pb

FILE_NAME: Final = "lrm-frames"
"""What the kernel calls the memory files; servers open no others."""
TOKEN_BYTES: Final = 16
MAX_SHARED_BYTES: Final = 256 * 1024 * 1024
"""Memory of one client's files, those in use and those that wait to be used again."""

_PARTS_AT_ONCE: Final = 1024
"""Linux writes at most so many parts in one call."""

logger = logging.getLogger(__name__)


def is_supported() -> bool:
    """Whether this system has memory files: Linux."""
    return hasattr(os, "memfd_create")


class _File:
    """A memory file, which is closed with the last reference to it."""

    def __init__(self) -> None:
        self.descriptor = os.memfd_create(FILE_NAME)
        self.process = os.getpid()
        self.bytes = 0
        weakref.finalize(self, os.close, self.descriptor)

    def write(self, parts: Sequence[bytes], offset: int) -> None:
        """Writes the parts one after another.

        Raises:
            OSError: there is no memory for them.
        """
        for start in range(0, len(parts), _PARTS_AT_ONCE):
            chosen = parts[start : start + _PARTS_AT_ONCE]
            size = sum(map(len, chosen))
            if os.pwritev(self.descriptor, chosen, offset) != size:
                raise OSError(f"{size} bytes of shared memory could not be written")
            offset += size


class SharedMemory:
    """The memory files of one client, safe for several threads.

    Args:
        max_bytes: of all of them; frames beyond it travel in their request.

    Raises:
        ValueError: this system has no memory files.
    """

    def __init__(self, max_bytes: int = MAX_SHARED_BYTES) -> None:
        if not is_supported():
            raise ValueError(
                "shared_memory needs Linux (memfd) on the learner's and the server's side: "
                "leave it out"
            )
        self._max_bytes = max_bytes
        self._files: weakref.WeakSet[_File] = weakref.WeakSet()
        self._idle: list[_File] = []
        self._lock = Lock()

    def lease(self) -> Lease:
        """Room for the frames of one request; nothing is taken yet."""
        return Lease(self)

    def close(self) -> None:
        """Gives up the files that are not in use; those in use go with their requests."""
        with self._lock:
            self._idle.clear()
            self._max_bytes = 0

    def take(self) -> _File:
        """The file that was used last, or a new one."""
        with self._lock:
            # A forked child must not write where its parent does.
            if self._idle and self._idle[-1].process != os.getpid():
                self._idle.clear()
            if self._idle:
                return self._idle.pop()
            file = _File()
            self._files.add(file)
            return file

    def grow(self, file: _File, size: int) -> bool:
        """Whether a file may have so many bytes; idle files make room for it."""
        with self._lock:
            while self._used() - file.bytes + size > self._max_bytes:
                if not self._idle:
                    return False
                self._idle.pop(0)
            file.bytes = max(file.bytes, size)
            return True

    def give_back(self, file: _File) -> None:
        """A file that nobody reads any more."""
        with self._lock:
            if self._max_bytes:
                self._idle.append(file)

    def _used(self) -> int:
        return sum(file.bytes for file in self._files)


class Lease:
    """Where the frames of one request, or of one stream of requests, lie.

    As a context: left without an exception, the request was answered.
    """

    def __init__(self, memory: SharedMemory) -> None:
        self._memory = memory
        self._file: _File | None = None
        self._token = secrets.token_bytes(TOKEN_BYTES)
        self._end = 0

    def put(self, parts: Sequence[bytes]) -> pb.SharedPixels | None:
        """Writes parts behind what was put before.

        Returns:
            Where the first of them begins; None when there is no room, so that they have
            to travel in the request.
        """
        begin = self._end or TOKEN_BYTES
        end = begin + sum(map(len, parts))
        try:
            file = self._file = self._file or self._memory.take()
            if not self._memory.grow(file, end):
                return None
            if self._end:
                file.write(parts, begin)
            else:
                file.write([self._token, *parts], 0)
        except OSError as error:
            logger.warning("frames travel in their request: %s", error)
            return None
        self._end = end
        return pb.SharedPixels(
            process=file.process, descriptor=file.descriptor, token=self._token, offset=begin
        )

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        file, self._file = self._file, None
        if file is not None and error is None:
            self._memory.give_back(file)
