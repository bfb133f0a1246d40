"""Writing one blob of a layout: hashed on the way, and errors of the disk told as what they are."""

from __future__ import annotations

import errno
import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from serinus.errors import DigestMismatch, RegistryError
from serinus.files import TEMPORARY
from serinus.registry import Descriptor

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class NewBlob(io.RawIOBase):
    """A blob being written: a binary file that knows its digest. ``write`` takes all it is given.

    Args:
        descriptor: an open file descriptor, which this object closes.
        path: what it was opened from, for errors.
        algorithm: ``sha256`` or ``sha512``.
    """

    def __init__(self, descriptor: int, path: Path, algorithm: str = "sha256") -> None:
        super().__init__()
        self._descriptor = descriptor
        self._path = path
        self._algorithm = algorithm
        self._hash = hashlib.new(algorithm)
        self.size = 0
        """Bytes written so far."""

    @property
    def digest(self) -> str:
        """Of what has been written so far."""
        return f"{self._algorithm}:{self._hash.hexdigest()}"

    def writable(self) -> bool:
        """True: it is written."""
        return True

    def write(self, data: Any) -> int:
        """Append bytes (anything with the buffer protocol); all of them are taken.

        Raises:
            RegistryError: the disk is full, or failed.
        """
        view = memoryview(data).cast("B")
        self._hash.update(view)
        written = 0
        with explained(self._path):
            while written < len(view):
                written += os.write(self._descriptor, view[written:])
        self.size += written
        return written

    def tell(self) -> int:
        """How many bytes have been written."""
        return self.size

    def expect(self, descriptor: Descriptor, where: str) -> None:
        """Check that what was written is what a descriptor promises.

        Raises:
            DigestMismatch: it is not.
        """
        if (self.digest, self.size) != (descriptor.digest, descriptor.size):
            raise DigestMismatch(
                f"{where} was given {self.digest} of {self.size} bytes; "
                f"expected {descriptor.digest} of {descriptor.size} bytes",
                "What came is damaged: push or build the image again at its source.",
            )

    def finish(self) -> None:
        """Give the file the mode that every blob has, whoever writes it."""
        os.fchmod(self._descriptor, 0o644)

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            os.close(self._descriptor)
        super().close()


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Errors of the disk on the way to ``path``, told as what they are.

    Raises:
        RegistryError: the disk is full, or the place cannot be written to.
    """
    try:
        yield
    except OSError as error:
        place = path.parent if path.name.startswith(TEMPORARY) else path
        if error.errno in _FULL:
            raise RegistryError(
                f"the disk is full: {place} cannot be written ({error.strerror})",
                "Free some space, or name a folder on another disk; nothing half done was left.",
            ) from error
        raise RegistryError(
            f"{place} cannot be written: {error.strerror or error}",
            "Name a folder that you may write to, or correct its permissions.",
        ) from error
