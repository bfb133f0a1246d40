"""Where a model comes from: what can be seen around it when it is registered."""

from __future__ import annotations

import getpass
import json
import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from serinus.errors import ModelError
from serinus.models import local
from serinus.models.digest import model_digest
from serinus.models.facts import Lineage, Value

RUN = "SERINUS_RUN"
PIPELINE = "SERINUS_PIPELINE"
PARAMS = "SERINUS_PARAMS"


def around(folder: Path, data: Sequence[Path | str] = (), environ: Mapping[str, str] = os.environ) -> Lineage:
    """The lineage of a model that is registered now.

    Args:
        folder: the project's; its git repository is asked.
        data: files and folders of training data: they are hashed, and not registered.
        environ: where a pipeline's run says which it is.

    Raises:
        ModelError: a file of data cannot be read.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no") if commit else None
    origin = _git(folder, "remote", "get-url", "origin") if commit else None
    return Lineage(
        commit=commit or "",
        clean=None if changes is None else not changes,
        repository=without_password(origin or ""),
        data={str(path): digest_of(path) for path in data},
        pipeline=environ.get(PIPELINE, ""),
        run=environ.get(RUN, ""),
        who=user(),
    )


def params_around(environ: Mapping[str, str] = os.environ) -> dict[str, Value]:
    """The parameters of the pipeline's run that we are a step of; none outside of one.

    Raises:
        ModelError: the variable holds something else than an object of plain values.
    """
    text = environ.get(PARAMS, "")
    if not text:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(
        isinstance(v, bool | int | float | str) for v in found.values()
    ):
        raise ModelError(
            f"{PARAMS} is {text[:80]!r}, expected a JSON object of numbers, texts, true and false",
            "It is for `serinus run` to set: unset it.",
        )
    return found


def digest_of(path: Path | str) -> str:
    """The digest of a file's content, or over the files of a folder, as ``sha256:<hex>``.

    Raises:
        ModelError: it cannot be read, or is empty.
    """
    found = {file.path: local.hashed(file, lambda done: None) for file in local.find([path])}
    return model_digest(found) or ""


def without_password(url: str) -> str:
    """The address of a repository without what stands before its host's ``@``, where it is a URL."""
    parts = urlsplit(url)
    if not parts.scheme or "@" not in parts.netloc:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def user() -> str:
    """Who is at this terminal: ``USER@HOST``."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # no name for this number: as in a container
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"


def _git(folder: Path, *words: str) -> str | None:
    """What git says; None where there is no repository, or no git."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
