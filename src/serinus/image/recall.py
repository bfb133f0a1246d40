"""Remembering what importing a service told, for as long as nothing that it depends on has changed.

Importing takes longer than all else that a build does after a change of code, and most changes are made
inside functions that only run when they are called. So a contract is remembered with the skeleton of each
file that it was made from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from serinus import __version__
from serinus.contract import Contract
from serinus.files import write_atomically
from serinus.image import WORKDIR
from serinus.image.contracts import Found, digest_of_runtime, examples_file, needs_import
from serinus.image.lock import Lock, render_pins
from serinus.image.skeleton import skeleton
from serinus.image.stages import Gathered, Workshop
from serinus.project import Project

_PLACE = WORKDIR.lstrip("/") + "/"


@dataclass(frozen=True, slots=True)
class Note:
    """What is remembered."""

    key: str
    """Digest over all that the contract depends on but the code."""
    files: Mapping[str, tuple[str, str]]
    """Path -> digest of the content, and of the skeleton where it is a Python file."""
    executed: tuple[str, ...]
    """``Found.executed``, sorted."""
    contract: str | None


def key_of(project: Project, lock: Lock) -> str:
    """Digest over what the outcome of importing the service depends on, but the code."""
    examples = examples_file(project)
    parts = (
        __version__,
        repr(project.service),
        repr(project.contract),
        project.image.python,
        render_pins(lock.pins),
        examples.read_bytes().hex() if examples and examples.is_file() else "",
        digest_of_runtime(),
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def recall(
    shop: Workshop, project: Project, lock: Lock, code: Gathered, find: Callable[[], Found]
) -> Contract | None:
    """The contract that was found before, if nothing it depends on has changed; else it is found now.

    Args:
        shop: keeps the note.
        project: the project.
        lock: its lock.
        code: its files.
        find: finds the contract.
    """
    contents = {item.path: item.source for item in code.items if item.link is None}
    if not needs_import(project) or any(path not in code.known for path in contents):
        return find().contract
    file, key = shop.state / "cache/contract.json", key_of(project, lock)
    before = _read(file)
    if before is not None and before.key == key and _same(before, code.known, contents):
        return Contract.trusted(before.contract) if before.contract is not None else None
    found = find()
    files = {
        path: (code.known[path], _skeleton(path, source, found.executed)) for path, source in contents.items()
    }
    text = found.contract.to_json() if found.contract else None
    with shop.forgiving():
        _write(file, Note(key, files, tuple(sorted(found.executed)), text))
    return found.contract


def _same(note: Note, known: Mapping[str, str], contents: Mapping[str, Path | bytes | None]) -> bool:
    """Whether the same files are there, and differ at most in bodies of functions that did not run."""
    if set(note.files) != set(contents):
        return False
    executed = frozenset(note.executed)
    return all(
        known[path] == digest or (shape != "" and shape == _skeleton(path, contents[path], executed))
        for path, (digest, shape) in note.files.items()
    )


def _skeleton(path: str, source: Path | bytes | None, executed: frozenset[str]) -> str:
    """The skeleton of a Python file; empty where there is none, and the whole content counts."""
    if not path.endswith(".py") or source is None:
        return ""
    own = f"{path.removeprefix(_PLACE)}:"
    ran = {name.removeprefix(own) for name in executed if name.startswith(own)}
    return skeleton(source if isinstance(source, bytes) else source.read_bytes(), ran) or ""


def _read(file: Path) -> Note | None:
    """The note; None where it is missing or damaged, which is the same as none."""
    try:
        note: Any = json.loads(file.read_bytes())
        files = {path: (str(digest), str(shape)) for path, (digest, shape) in note["files"].items()}
        contract = note["contract"]
        if not (contract is None or isinstance(contract, str)):
            return None
        return Note(str(note["key"]), files, tuple(note["executed"]), contract)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _write(file: Path, note: Note) -> None:
    write_atomically(file, json.dumps(asdict(note)).encode())
