"""Files that appear all or not at all, and where what can be made again is kept."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TEMPORARY = ".serinus-"
"""How the names of files begin that are not whole yet."""


def temporary(folder: Path) -> Path:
    """A name that nobody else uses; the standard module for this costs every start of the program 10 ms."""
    return folder / f"{TEMPORARY}{os.urandom(8).hex()}"


def write_atomically(path: Path, data: bytes, *, durable: bool = False, mode: int | None = None) -> None:
    """Write a file so that a reader, or a kill at any moment, sees the old content or the new.

    Folders above it are made.

    Args:
        path: the file.
        data: its content.
        durable: flush it to the disk before it gets its name.
        mode: its permissions; None is what the umask gives a new file.

    Raises:
        OSError: as the file system says; nothing half written is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = temporary(path.parent)
    try:
        with beside.open("xb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)  # while it is empty: nobody reads what they may not
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


@contextmanager
def alone(folder: Path, *, wait: bool = True) -> Iterator[int]:
    """Be the only one, among threads and processes, who changes something in a folder meanwhile.

    Gives the descriptor of the folder, on which the lock is: nobody replaces that.

    Args:
        folder: the folder.
        wait: for whoever else is.

    Raises:
        BlockingIOError: somebody else is, and nobody is waited for.
    """
    import fcntl

    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield handle
    finally:
        os.close(handle)


_ASKING = threading.Lock()


def scripts_folder() -> str:
    """Where this Python's programs are.

    Whoever asks :mod:`sysconfig` while another thread asks for the first time sees it half filled (up to
    Python 3.12 at least). So threads ask here first, one after the other.
    """
    import sysconfig

    with _ASKING:
        return sysconfig.get_path("scripts")


def cache_folder() -> Path:
    """Where downloads and installed trees are kept: ``SERINUS_CACHE``, or in the user's cache folder."""
    if named := os.environ.get("SERINUS_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "serinus"
