"""A project's dependencies as its author wrote them: requirements lines, or a ``pyproject.toml``.

Follows pip's requirements file format as far as a lock can: what cannot be pinned by a hash (a folder, an
editable install, a version control URL) is an error, and so is a password in a URL. The lines are kept for
the lock; the files themselves are given to uv, which reads options and expands variables on its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from serinus.errors import LockError
from serinus.image.uv import redacted

DEFAULT = "requirements.txt"

_INDEX = ("-i", "--index-url", "--extra-index-url", "-f", "--find-links", "--no-index", "--trusted-host")
_COMMENT = re.compile(r"(?:^|\s)#.*$")
_HASH = re.compile(r"\s--hash[=\s]\S+")
_VCS = re.compile(r"(?:^|@\s*)(?:git|hg|svn|bzr)\+")
_LOCAL = re.compile(
    r"^(?:[./~]|file:)|@\s*(?:file:|[./])|^[^@;<>=!~\[\s]+[/\\]|^[^@;\s]+\.(?:whl|tar\.gz|zip)$"
)
_PASSWORD = re.compile(r"://[^/@\s]+@")


@dataclass(frozen=True, slots=True)
class Written:
    """What the author wrote."""

    lines: tuple[str, ...] = ()
    """Requirements, sorted; constraints begin with ``constraint ``, options with ``option ``."""
    files: tuple[Path, ...] = ()
    """What uv is to read."""
    index: tuple[str, ...] = field(default=(), repr=False)
    """Options that say where packages are, as written: they may hold passwords and go to uv alone."""


def read(root: Path, named: str | None) -> Written:
    """Read a project's dependencies.

    Args:
        root: the project's folder.
        named: the file that the project names; None takes ``requirements.txt`` if there is one.

    Raises:
        LockError: the file is not there or not text, or a line cannot be locked; named by file and line.
    """
    path = root / (named or DEFAULT)
    if named is None and not path.exists():
        return Written()
    if path.suffix == ".toml":
        return _pyproject(path)
    lines: list[str] = []
    index: list[str] = []
    _gather(path, (), lines, index)
    return Written(tuple(sorted(set(lines))), (path,), tuple(index))


def _pyproject(path: Path) -> Written:
    import tomllib

    try:
        project = tomllib.loads(_text(path)).get("project", {})
        lines = [str(line) for line in project.get("dependencies", [])]
        dynamic = project.get("dynamic", [])
    except (tomllib.TOMLDecodeError, AttributeError, TypeError) as error:
        raise LockError(f"{path} cannot be read: {error}", "Correct the file.") from None
    if "dependencies" in dynamic:
        raise LockError(
            f"the dependencies in {path} are dynamic: they are known only by running its build",
            "Write them under [project] dependencies, or name a requirements file in [image] requirements.",
        )
    for line in lines:
        _check(line, str(path))
    return Written(tuple(sorted({_tidy(line) for line in lines})))


def _gather(path: Path, above: tuple[Path, ...], lines: list[str], index: list[str], mark: str = "") -> None:
    """Take in a requirements file and all that it includes."""
    if path.resolve() in above:
        return  # pip reads a file that includes itself once
    for number, line in logical_lines(_text(path)):
        where = f"{path}:{number}"
        option, value = split_option(line)
        if option in ("-r", "--requirement", "-c", "--constraint"):
            further = "constraint " if option in ("-c", "--constraint") else mark
            _gather(path.parent / value, (*above, path.resolve()), lines, index, further)
        elif option in ("-e", "--editable"):
            raise _unlockable(where, line, "an editable install")
        elif option:
            lines.append(_option(option, value))
            if option in _INDEX:
                index.append(_absolute(option, value, path.parent))
        else:
            _check(line, where)
            lines.append(mark + _tidy(line))


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines of a requirements file as (number of the first, text).

    Lines that end in a backslash are joined with the next, comments and empty lines left out.
    """
    begin, joined = 1, ""
    for number, line in enumerate(text.splitlines(), 1):
        begin = begin if joined else number
        if line.endswith("\\") and not line.lstrip().startswith("#"):
            joined += line[:-1] + " "
            continue
        if full := _COMMENT.sub("", joined + line).strip():
            yield begin, full
        joined = ""
    if full := _COMMENT.sub("", joined).strip():
        yield begin, full


def split_option(line: str) -> tuple[str, str]:
    """An option line as (option, value); both empty for a requirement."""
    if not line.startswith("-"):
        return "", ""
    if line.startswith("--"):
        option, _, value = line.replace("=", " ", 1).partition(" ")
    else:
        option, value = line[:2], line[2:].lstrip("= ")
    return option, value.strip()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise LockError(
            f"the requirements in {path} cannot be read: {said}",
            "Correct [image] requirements, or the line that includes it.",
        ) from None


def _option(option: str, value: str) -> str:
    # Where packages come from decides what is locked, but its address does not belong in the lock.
    if option in _INDEX and value:
        value = sha256(redacted(value).encode()).hexdigest()[:12]
    return f"option {option} {value}".strip()


def _absolute(option: str, value: str, folder: Path) -> str:
    if option in ("-f", "--find-links") and "://" not in value:
        value = str((folder / value).resolve())
    return f"{option} {value}".strip()


def _tidy(line: str) -> str:
    return " ".join(_HASH.sub("", line).split())


def _check(line: str, where: str) -> None:
    if _PASSWORD.search(line):
        raise LockError(
            f"{where}: {redacted(line)} holds credentials, which would stand in the lock",
            "Take them out of the URL; uv finds them in ~/.netrc, in UV_INDEX or in its keyring.",
        )
    if _VCS.search(line):
        raise _unlockable(where, line, "a version control URL")
    if _LOCAL.search(line) and not line.startswith(("http://", "https://")):
        raise _unlockable(where, line, "a file or folder of this machine")


def _unlockable(where: str, line: str, what: str) -> LockError:
    return LockError(
        f"{where}: {redacted(line)} is {what}, which no hash can pin for another machine",
        "Put the package's code into the project, or build a wheel and name its folder by --find-links.",
    )
