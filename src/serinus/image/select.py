"""Which files of a folder belong in the image.

Patterns have the syntax of gitignore(5): ``#`` comments, ``!`` negation, a trailing ``/`` for folders, a
slash elsewhere anchors, ``*`` and ``?`` stay within one name, ``**`` crosses folders, the last pattern that
matches wins, and nothing inside an ignored folder can be taken back. They come, in this order, from
:data:`DEFAULTS`, the project's ``.serinusignore`` and ``[image] ignore``; so a project can take a default
back with ``!``.

Two differences from git, both on purpose: only the ``.serinusignore`` beside the project file is read, and
``?`` stands for one character of a name, not for one byte of it.

Deciding is pure (:func:`rules`, :func:`ignored`, :func:`link_target`); :func:`walk` is the loop that looks.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from serinus.errors import BuildError

IGNORE_FILE = ".serinusignore"

NEVER = (
    # version control
    ".git", ".hg", ".svn", ".bzr", "_darcs",
    # secrets
    ".env", ".env.*", ".envrc", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.ppk",
    "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", ".ssh/", ".aws/", ".gnupg/", ".kube/", ".docker/",
    ".netrc", "_netrc", ".pypirc", ".npmrc", ".git-credentials", ".dockercfg", ".pgpass",
    # caches and what tools leave behind
    "__pycache__/", "*.py[cod]", ".ipynb_checkpoints/", ".pytest_cache/", ".mypy_cache/", ".ruff_cache/",
    ".hypothesis/", ".tox/", ".nox/", ".cache/", ".coverage", ".coverage.*", "htmlcov/", ".serinus/",
    "node_modules/", ".DS_Store", "Thumbs.db", "*.swp", "*~", ".serinus-*",
)  # fmt: skip
"""Left out of the code and of a model folder: version control, secrets, caches."""

DEFAULTS = (
    *NEVER,
    # virtual environments; a folder that holds pyvenv.cfg is one under any name, see walk
    ".venv/", "venv/",
    # what was built, and what a service does not need
    "/build/", "/dist/", "*.egg-info/", "/tests/", "/test/", "/checks/", "/docs/", "/notebooks/",
    "/labelled.jsonl",
    ".github/", ".gitlab-ci.yml", ".gitignore", ".gitattributes", ".gitmodules", ".pre-commit-config.yaml",
    ".idea/", ".vscode/",
    "/Dockerfile*", "/.dockerignore", "/Makefile",
    "/serinus.toml", "/serinus.lock", "/.serinusignore", "/.serinus.*",
)  # fmt: skip
"""Left out of the code, unless the project takes one back with ``!``."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Patterns that follow each other and say the same, ready to be asked."""

    expression: re.Pattern[str]
    """Matches a whole path relative to the project, parts joined by ``/``."""
    negated: bool
    folders_only: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or symbolic link that belongs in the image."""

    path: str
    """Relative to the folder, parts joined by ``/``; bytes that are not UTF-8 as in PEP 383."""
    executable: bool
    size: int
    """Bytes; 0 of a link."""
    link: str | None = None
    """Where a symbolic link points, relative to its own folder; None of a file."""
    state: os.stat_result | None = None
    """What ``stat`` said of a file, for the cache."""


def rules(patterns: Iterable[str]) -> tuple[Rule, ...]:
    """The patterns as rules, comments and empty lines left out.

    Args:
        patterns: lines in gitignore syntax, without their ends of line.
    """
    bodies = (body for line in patterns if (body := _body(line)) is not None)
    return tuple(
        Rule(re.compile("|".join(body for _, _, body in alike), re.DOTALL), negated, folders_only)
        for (negated, folders_only), alike in groupby(bodies, lambda body: body[:2])
    )


def exactly(path: str) -> str:
    """The pattern that matches one file and nothing else.

    Args:
        path: relative to the folder that the patterns are about.
    """
    escaped = re.sub(r"([\\*?\[ ])", r"\\\1", posixpath.normpath(path))
    return f"/{escaped}"


def ignored(path: str, is_folder: bool, decided: Sequence[Rule]) -> bool:
    """Whether the last of the rules that matches this path leaves it out.

    The folders above are not looked at: :func:`walk` does not go into a folder that is left out.
    """
    for rule in reversed(decided):
        if (is_folder or not rule.folders_only) and rule.expression.fullmatch(path):
            return not rule.negated
    return False


def link_target(path: str, target: str, root: str, real: str) -> str:
    """Where a symbolic link of the project points, said relative to the link, so that it holds in the image.

    Args:
        path: the link, relative to the project.
        target: what the link says, relative or absolute.
        root: the project's folder, absolute, itself free of links.
        real: the end of the link with every link on the way followed, absolute.

    Raises:
        BuildError: the link points out of the project.
    """
    folder = posixpath.join(root, posixpath.dirname(path))
    said = posixpath.normpath(posixpath.join(folder, target))
    if not all(
        end == root or end.startswith(root.rstrip("/") + "/") for end in (said, posixpath.normpath(real))
    ):
        raise BuildError(
            f"{path!r} is a symbolic link to {target!r}, outside of the project; what it points at "
            "would not be in the image",
            f"Copy the file to its place, or name it in {IGNORE_FILE}.",
        )
    return posixpath.relpath(said, folder) if posixpath.isabs(target) else target


def read_patterns(root: Path) -> tuple[str, ...]:
    """The lines of the project's ``.serinusignore``; none when there is no such file.

    Raises:
        BuildError: it cannot be read, or is not UTF-8.
    """
    file = root / IGNORE_FILE
    try:
        return tuple(file.read_text(encoding="utf-8-sig").split("\n"))
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        raise BuildError(f"{file} cannot be read: {error}", "It must be a text file in UTF-8.") from None


def walk(root: Path, decided: Sequence[Rule], *, follow: bool = False) -> tuple[Entry, ...]:
    """The files of a folder that the rules leave, sorted by the bytes of their paths.

    Folders come only through their files: like git, and so that an empty folder left behind by a deleted
    file changes no digest. A folder that holds ``pyvenv.cfg`` is a virtual environment and left out.

    Args:
        root: the folder.
        decided: what :func:`rules` made of the patterns.
        follow: take what symbolic links point at, wherever that is (for a model folder, whose files often are
            links into a cache), instead of the links themselves (for code).

    Raises:
        BuildError: a link out of the folder, a file that cannot be read, or something that is neither file,
            folder nor link; the message names it.
    """
    top = os.path.realpath(root)
    found: list[Entry] = []
    pending: list[tuple[str, tuple[str, ...]]] = [("", (top,))]
    while pending:
        prefix, above = pending.pop()
        items = _listing(top, prefix)
        if prefix and any(item.name == "pyvenv.cfg" for item in items):
            continue
        for item in items:
            path = prefix + item.name
            is_folder = item.is_dir(follow_symlinks=follow)
            if ignored(path, is_folder, decided):
                continue
            if is_folder:
                pending.extend(_below(item, path, above))
            else:
                found.append(_entry(item, path, top, follow))
    return tuple(sorted(found, key=lambda entry: os.fsencode(entry.path)))


def _below(
    item: os.DirEntry[str], path: str, above: tuple[str, ...]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The folder as the next to look into, unless links have brought us into it already: a circle."""
    if not item.is_symlink():
        yield path + "/", above
    elif (real := os.path.realpath(item.path)) not in above:
        yield path + "/", (*above, real)


def _listing(top: str, prefix: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(Path(top, prefix)) as items:
            return list(items)
    except OSError as error:
        raise _unreadable(prefix or top, error.strerror) from None


def _entry(item: os.DirEntry[str], path: str, top: str, follow: bool) -> Entry:
    try:
        if item.is_symlink() and not follow:
            target = str(Path(item.path).readlink())
            return Entry(path, False, 0, link_target(path, target, top, os.path.realpath(item.path)))
        state = item.stat(follow_symlinks=True)
    except OSError as error:
        raise _unreadable(path, error.strerror) from None
    if not stat.S_ISREG(state.st_mode):
        raise BuildError(
            f"{path!r} is neither a file nor a folder nor a symbolic link, and cannot go into an image",
            f"Remove it, or name it in {IGNORE_FILE}.",
        )
    return Entry(path, bool(state.st_mode & stat.S_IXUSR), state.st_size, None, state)


def _unreadable(path: str, reason: str | None) -> BuildError:
    return BuildError(
        f"{path!r} cannot be read: {reason or 'no reason given'}",
        f"Make it readable for the user who builds, or name it in {IGNORE_FILE}.",
    )


def _body(line: str) -> tuple[bool, bool, str] | None:
    """One line of gitignore syntax: whether it is negated, only for folders, and its regular expression.

    None for a comment, an empty line or a pattern that can match nothing.
    """
    text = _without_trailing_spaces(line.removesuffix("\r"))
    if not text or text.startswith("#"):
        return None
    negated = text.startswith("!")
    text = text[1:] if negated else text
    folders_only = text.endswith("/")
    text = text[:-1] if folders_only else text
    anchored = "/" in text
    body = _translate(text.removeprefix("/")) if text else None
    if body is None:
        return None
    return negated, folders_only, body if anchored else f"(?:.*/)?{body}"


def _without_trailing_spaces(text: str) -> str:
    """Spaces at the end do not count unless escaped by a backslash that is not itself escaped."""
    end, at = 0, 0
    while at < len(text):
        width = 2 if text[at] == "\\" and at + 1 < len(text) else 1
        end = at + width if width == 2 or text[at] != " " else end
        at += width
    return text[:end]


def _translate(pattern: str) -> str | None:
    """A pattern as the body of a regular expression; None when it can match nothing: not well formed."""
    pieces: list[str] = []
    at = 0
    while at < len(pattern):
        piece, width = _piece(pattern, at)
        if piece is None:
            return None
        pieces.append(piece)
        at += width
    return "".join(pieces)


def _piece(pattern: str, at: int) -> tuple[str | None, int]:
    """The expression for what stands at one place of a pattern, and how many characters that takes."""
    character = pattern[at]
    if character == "*":
        return _stars(pattern, at)
    if character == "?":
        return "[^/]", 1
    if character == "[":
        return _bracket(pattern, at)
    if character == "\\":
        # A backslash at the very end escapes nothing: git says that such a pattern never matches.
        return (re.escape(pattern[at + 1]), 2) if at + 1 < len(pattern) else (None, 1)
    return re.escape(character), 1


def _stars(pattern: str, at: int) -> tuple[str, int]:
    """One star stays within a name; two or more cross folders where slashes or ends stand on both sides."""
    end = at
    while end < len(pattern) and pattern[end] == "*":
        end += 1
    width = end - at
    opens = at == 0 or pattern[at - 1] == "/"
    if width == 1 or not opens or "/" not in pattern:
        return "[^/]*", width
    if end == len(pattern):
        return ".*", width
    if pattern[end] == "/":
        return "(?:.*/)?", width + 1
    return "[^/]*", width


_CLASSES = {
    "alnum": "0-9A-Za-z", "alpha": "A-Za-z", "blank": " \\t", "cntrl": "\\x00-\\x1f\\x7f", "digit": "0-9",
    "graph": "!-~", "lower": "a-z", "print": " -~", "punct": "!-/:-@\\[-`{-~", "space": " \\t\\n\\r\\f\\v",
    "upper": "A-Z", "xdigit": "0-9A-Fa-f",
}  # fmt: skip


def _bracket(pattern: str, at: int) -> tuple[str | None, int]:
    """``[a-z]``, ``[!a]``, ``[[:digit:]]``: never a slash; without its end it matches nothing."""
    start = at + 1
    negated = pattern[start : start + 1] in ("!", "^")
    place = start + negated
    members: list[str] = []
    previous = ""
    first = True
    while first or pattern[place : place + 1] != "]":
        first = False
        if pattern.startswith("[:", place) and (end := pattern.find(":]", place + 2)) >= 0:
            name = pattern[place + 2 : end]
            if name not in _CLASSES:
                return None, 1
            members.append(_CLASSES[name])
            place, previous = end + 2, ""
            continue
        ranged = (
            bool(previous)
            and pattern[place : place + 1] == "-"
            and pattern[place + 1 : place + 2] not in ("", "]")
        )
        place += ranged
        place += pattern[place : place + 1] == "\\"
        character = pattern[place : place + 1]
        if not character:
            return None, 1
        if ranged and previous <= character:
            members.append(f"{re.escape(previous)}-{re.escape(character)}")
        elif not ranged:
            members.append(re.escape(character))
        previous = "" if ranged else character
        place += 1
    inside = "".join(members)
    expression = f"[^/{inside}]" if negated else f"(?!/)[{inside}]" if inside else "(?!)"
    return expression, place + 1 - at
