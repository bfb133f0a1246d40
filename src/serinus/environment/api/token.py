"""The token of the control API: a file that this user alone may read, made when an environment first starts.

Who can read it may do with the environment what its owner may. It is replaced by :func:`rotate` while the
environment runs; the server reads it anew when the file has changed.
"""

from __future__ import annotations

import logging
import os
import secrets
import stat
import threading
from pathlib import Path

from serinus.errors import ControlError
from serinus.files import write_atomically

log = logging.getLogger("serinus.environment")

FILE = "token"
"""Its name in the environment's folder."""
_LONGEST = 1024


def ensure(path: Path) -> str:
    """The token of a file; the file is made where there is none.

    Raises:
        ControlError: others may read it, or it cannot be read or written.
    """
    return read(path) if path.exists() else rotate(path)


def rotate(path: Path) -> str:
    """Replace the token; requests with the one before are refused from now on.

    Raises:
        ControlError: it cannot be written; the one before is in force.
    """
    token = secrets.token_urlsafe(32)
    try:
        write_atomically(path, f"{token}\n".encode(), mode=0o600)
    except OSError as error:
        raise ControlError(
            f"the token {path} cannot be written: {error.strerror or error}",
            "See that this user may write there and the disk has room.",
        ) from None
    return token


def read(path: Path) -> str:
    """The token of a file.

    Raises:
        ControlError: there is none, others may read it, or it holds no token.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read(_LONGEST).decode("ascii", "replace").strip()
    except OSError as error:
        raise ControlError(
            f"the token {path} cannot be read: {error.strerror or error}",
            "Ask as the user who runs `serinus up`, or set SERINUS_CONTROL_TOKEN.",
        ) from None
    if mode & 0o077:
        raise ControlError(
            f"the token {path} may be read by others: its mode is {mode:04o}, and 0600 was expected",
            "Others may have it: run `serinus token rotate`.",
        )
    if not text.isprintable() or not text.isascii() or len(text) < 16:
        raise ControlError(f"{path} holds no token", "Run `serinus token rotate`.")
    return text


class Watched:
    """The token that is in force: read anew when its file has changed.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._mark: tuple[int, ...] | None = None
        self._token: str | None = None

    def __call__(self) -> str | None:
        """The token; None while its file is not as it must be, and then nobody is let in."""
        with self._lock:
            mark = self._look()
            if mark != self._mark:
                self._mark = mark
                try:
                    self._token = read(self._path)
                except ControlError as error:
                    self._token = None
                    log.warning("%s; all requests are refused until then. %s", error.message, error.todo)
            return self._token

    def _look(self) -> tuple[int, ...]:
        try:
            found = self._path.stat()
        except OSError as error:
            return (error.errno or 0,)
        return found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode
