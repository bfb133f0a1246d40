"""Running uv, the resolver and installer, as its PyPI package brings it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from serinus.errors import BuildError
from serinus.files import scripts_folder

_LONGEST = 1500
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")
_SAYS = re.compile(r"^(?:error|hint):|^\s+(?:cause|Caused by|hint):|^\s*[×╰├│]")

Uv = Callable[[Sequence[str], Path], None]
"""Runs uv with arguments in a folder.

Raises:
    UvError: uv said no; the message is its own explanation.
"""


class UvError(Exception):
    """uv ended with an error; the message is what it said, trimmed and without credentials."""


def uv(arguments: Sequence[str], folder: Path) -> None:
    """Run uv. The user's own settings of indexes, proxies and time-outs (``UV_*``, ``uv.toml``) hold.

    Raises:
        UvError: uv ended with an error.
        BuildError: the ``uv`` package is not installed rightly.
    """
    import subprocess

    command = [program(), *arguments, "--no-progress", "--color", "never"]
    done = subprocess.run(
        command, cwd=folder, env=_environment(os.environ), stdin=subprocess.DEVNULL, capture_output=True,
        text=True, errors="replace", check=False,
    )  # fmt: skip
    if done.returncode:
        raise UvError(explain(done.stderr) or f"uv ended with exit code {done.returncode}")


def program() -> str:
    """Where the program is.

    Raises:
        BuildError: not where its package puts it.
    """
    import uv as package

    scripts_folder()  # it asks sysconfig, too
    try:
        return package.find_uv_bin()
    except FileNotFoundError as error:
        raise BuildError(
            f"the program uv is not where its package puts it: {error}", "pip install uv"
        ) from None


def _environment(own: Mapping[str, str]) -> dict[str, str]:
    # No record of who installed, from where and when: two installs of one lock are to be equal.
    return {**own, "UV_NO_INSTALLER_METADATA": "1", "UV_PYTHON_DOWNLOADS": "never"}


def explain(stderr: str) -> str:
    """What uv says went wrong: its errors, causes and hints, without its warnings, progress or credentials.

    Pure. At most 1,500 characters.
    """
    kept: list[str] = []
    saying = False
    for line in stderr.splitlines():
        # A long explanation goes on in indented lines; anything else at the margin is a new thing.
        saying = bool(_SAYS.match(line)) or (saying and (line.startswith((" ", "\t")) or not line))
        if saying and line.strip():
            kept.append(line.rstrip())
    text = redacted("\n".join(kept) or stderr.strip()).removeprefix("error: ")
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def redacted(text: str) -> str:
    """The text, each ``user:password@`` of a URL in it replaced by ``***@``."""
    return _CREDENTIALS.sub("***@", text)
