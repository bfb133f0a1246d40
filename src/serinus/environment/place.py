"""Where an environment keeps what others need to find it: a folder in the project."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from serinus.environment.api import token as tokens
from serinus.errors import ControlError
from serinus.files import write_atomically
from serinus.registry.places import OCI, split_tag

FOLDER = ".serinus/environment"
"""The environment's folder, in the project's."""
ANNOUNCED = "control.json"
_UP = "Start it: `serinus up`."


@dataclass(frozen=True, slots=True)
class Announced:
    """An environment that says where it is."""

    url: str
    """Of its control API."""
    process: int
    """Its process."""


def folder_of(project: Path) -> Path:
    """The environment's folder of a project, named by its folder or its file."""
    return (project.parent if project.is_file() else project) / FOLDER


def known_as(name: str, folder: Path) -> str:
    """By what a runtime knows the replicas of an environment.

    An engine is shared by all projects of a machine, and two of them may call their environments the same.
    """
    return f"{name}-{hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:8]}"


def token_file(folder: Path) -> Path:
    """The file that holds the token."""
    return folder / tokens.FILE


def absolute(image: str, here: Path) -> str:
    """``oci:PATH[:TAG]`` as it is meant in a folder, for a process that runs in another one."""
    if not image.startswith(OCI):
        return image
    path, tag = split_tag(image.removeprefix(OCI))
    return f"{OCI}{(here / path).absolute()}:{tag}" if path else image


def announce(folder: Path, url: str) -> None:
    """Say where the control API of this process is.

    Raises:
        ControlError: it cannot be written.
    """
    document = {"url": url, "process": os.getpid()}
    try:
        write_atomically(folder / ANNOUNCED, json.dumps(document).encode(), mode=0o600)
    except OSError as error:
        raise ControlError(
            f"{folder / ANNOUNCED} cannot be written: {error.strerror or error}",
            "See that this user may write there and the disk has room.",
        ) from None


def withdraw(folder: Path) -> None:
    """Say no more where it is, unless another process says so by now."""
    try:
        if announced(folder).process == os.getpid():
            (folder / ANNOUNCED).unlink(missing_ok=True)
    except (ControlError, OSError):
        return


def announced(folder: Path) -> Announced:
    """Where the environment of a folder is.

    An environment that was killed still says where it was; whoever listens there now must not be sent its
    token. So the process that said it must be there.

    Raises:
        ControlError: none runs there.
    """
    file = folder / ANNOUNCED
    try:
        document = json.loads(file.read_bytes())
        found = Announced(str(document["url"]), int(document["process"]))
    except FileNotFoundError:
        raise ControlError(f"no environment runs here: there is no {file}", _UP) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ControlError(f"{file} cannot be read: {error}", _UP) from None
    if not _runs(found.process):
        raise ControlError(
            f"the environment at {found.url} runs no more: its process {found.process} has ended", _UP
        )
    return found


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return process > 0
