"""The lock: ``serinus.lock`` beside the project file, and how it comes about.

It is a requirements file with hashes, which pip can install as it is, below comment lines that say what it
was made from: the format, the Python version, the project's own requirements, those of Serinus' serving part,
the digest over all three, and the base image of each platform. So a lock that is out of date can say what
changed. No address of an index and no password stands in it.

:func:`read`, :func:`render` and :func:`changes` are pure; :func:`resolve` runs uv; :func:`ensure` is the
loop around them.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from serinus.errors import LockError
from serinus.events import Observer, ignore, step
from serinus.files import alone, write_atomically
from serinus.image.requirements import logical_lines
from serinus.image.requirements import read as read_requirements
from serinus.image.runtime import Kind, kind_of, requirements
from serinus.image.uv import Uv, UvError, uv
from serinus.project import Project

FILE = "serinus.lock"
FORMAT = 1

_TITLE = f"# serinus lock {FORMAT}: made by `serinus build`; commit it, and do not edit it"
_PIN = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?:\[[^\]]*\])?"
    r"(?:==(?P<version>[^\s;@]+)|\s*@\s*(?P<url>\S+))(?:\s*;\s*(?P<marker>.*?))?"
)
_HASH = re.compile(r"\s+--hash=(\S+)")
_HASH_FORM = re.compile(r"[a-z0-9]+:[0-9a-f]+")
_DIGEST = re.compile(r"sha(?:256|512):[0-9a-f]{64,128}")


@dataclass(frozen=True, slots=True)
class Pin:
    """One package at one version, ``numpy==2.4.6 ; python_full_version < '3.12'``, with its files' hashes."""

    name: str
    version: str
    """Empty where ``url`` says which file it is."""
    marker: str = ""
    """Environment marker (PEP 508) of where it is installed; empty is everywhere."""
    hashes: tuple[str, ...] = ()
    """``sha256:<hex>`` of each file that may be installed, sorted."""
    url: str = ""


@dataclass(frozen=True, slots=True)
class LockedBase:
    """The base image of one platform: what the project calls it, and the digest of its manifest."""

    reference: str
    platform: str
    digest: str


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a lock is made from."""

    python: str
    """``3.11``"""
    project: tuple[str, ...] = ()
    """The project's requirements, sorted, without hashes and without passwords."""
    runtime: tuple[str, ...] = ()
    """What the serving part of Serinus requires, sorted."""
    files: tuple[Path, ...] = field(default=(), compare=False)
    """Requirements files that uv reads instead of ``project``: their options and variables are its matter."""
    index: tuple[str, ...] = field(default=(), compare=False, repr=False)
    """Index options of those files, as written: for uv alone, never for the lock."""

    @property
    def digest(self) -> str:
        """``sha256:<hex>`` over all that decides what is locked."""
        text = "\0".join((str(FORMAT), self.python, "", *self.project, "", *self.runtime))
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Lock:
    """What ``serinus.lock`` says."""

    python: str
    project: tuple[str, ...]
    runtime: tuple[str, ...]
    pins: tuple[Pin, ...]
    """In the order of their names."""
    inputs: str
    """Digest of the :class:`Inputs` that it was made from."""
    bases: tuple[LockedBase, ...] = ()

    def base(self, reference: str, platform: str) -> str | None:
        """The digest of the base image, if it is locked."""
        return next(
            (b.digest for b in self.bases if (b.reference, b.platform) == (reference, platform)), None
        )

    def with_base(self, reference: str, platform: str, digest: str) -> Lock:
        """The lock with this base image. Those of another reference go: the project has one base."""
        others = [b for b in self.bases if b.reference == reference and b.platform != platform]
        bases = sorted((*others, LockedBase(reference, platform, digest)), key=lambda b: b.platform)
        return replace(self, bases=tuple(bases))


def normalised(name: str) -> str:
    """The name of a package in its normal form (PyPA, "Names and normalization"; also of a package URL)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def inputs(project: Project, kind: Kind | None = None) -> Inputs:
    """What a project's lock is to be made from.

    Args:
        project: the project; its requirements file is read.
        kind: of its service; None tells it from the source.

    Raises:
        LockError: the requirements cannot be read or cannot be locked.
    """
    written = read_requirements(project.root, project.image.requirements)
    runtime = requirements(kind or kind_of(project))
    return Inputs(project.image.python, written.lines, runtime, written.files, written.index)


def is_current(lock: Lock, wanted: Inputs) -> bool:
    """Whether a lock was made from these inputs."""
    return lock.inputs == wanted.digest


def changes(lock: Lock, wanted: Inputs) -> tuple[str, ...]:
    """What differs between the inputs of a lock and those wanted, a phrase each; empty when nothing does."""
    said = [] if lock.python == wanted.python else [f"Python {lock.python} became {wanted.python}"]
    for whose, old, new in (("", lock.project, wanted.project), (" (Serinus)", lock.runtime, wanted.runtime)):
        said += [f"{line!r}{whose} was added" for line in new if line not in old]
        said += [f"{line!r}{whose} was removed" for line in old if line not in new]
    if not said and not is_current(lock, wanted):
        said = ["its digest over the requirements is not that of its own lines: it was edited"]
    return tuple(said)


def ensure(
    project: Project,
    *,
    locked: bool = False,
    kind: Kind | None = None,
    observer: Observer = ignore,
    run: Uv = uv,
) -> tuple[Lock, Inputs]:
    """The project's lock, made anew where it is missing or out of date; pins that still fit are kept.

    Args:
        project: the project.
        locked: a missing or outdated lock is an error instead.
        kind: of its service; None tells it from the source.
        observer: told of the step ``lock``, when there is one.
        run: runs uv.

    Returns:
        The lock, and the inputs it is for.

    Raises:
        LockError: as above, or the requirements cannot be locked; uv's explanation is the message.
    """
    path = project.root / FILE
    wanted = inputs(project, kind)
    lock = load(path)
    if lock and is_current(lock, wanted):
        return lock, wanted
    if locked:
        raise _outdated(path, lock, wanted)
    with step("lock", observer) as told, alone(project.root):
        lock = load(path)  # another may have made it in the meantime, and added a base
        if lock is None or not is_current(lock, wanted):
            lock = resolve(wanted, lock, project.root, run)
            save(path, lock)
        told.detail = f"{len(lock.pins)} packages"
    return lock, wanted


def _outdated(path: Path, lock: Lock | None, wanted: Inputs) -> LockError:
    if lock is None:
        return LockError(
            f"there is no {path}, and --locked asks for one", "Run `serinus build` and commit it."
        )
    told = changes(lock, wanted)
    listed = "; ".join(told[:10]) + (f"; and {len(told) - 10} more" if len(told) > 10 else "")
    return LockError(
        f"{path} is out of date: {listed}", "Run `serinus build` without --locked, and commit it."
    )


def load(path: Path) -> Lock | None:
    """The lock in a file, or None where there is no such file.

    Raises:
        LockError: it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise LockError(f"{path} cannot be read: {error}", "Remove it, and run `serinus build`.") from None
    return read(text, str(path))


def save(path: Path, lock: Lock) -> None:
    """Write a lock, all or nothing; a file that says the same already is left alone."""
    text = render(lock)
    if not path.is_file() or path.read_bytes() != text.encode():
        write_atomically(path, text.encode())


def resolve(wanted: Inputs, previous: Lock | None, folder: Path, run: Uv = uv) -> Lock:
    """Resolve inputs to pins, for every platform at once; wheels only.

    Args:
        wanted: what is to be locked.
        previous: a lock whose pins are preferred, and whose base images are kept.
        folder: where uv runs: the project's, so that its settings are found.
        run: runs uv.

    Raises:
        LockError: there is no solution, a package has no wheel, or the index cannot be reached.
    """
    import tempfile

    with tempfile.TemporaryDirectory(prefix="serinus-") as name:
        own, out = Path(name, "serinus.txt"), Path(name, "locked.txt")
        lines = wanted.runtime if wanted.files else (*wanted.project, *wanted.runtime)
        own.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        out.write_text(render_pins(previous.pins) if previous else "", encoding="utf-8")
        sources = [str(file) for file in (own, *wanted.files)]
        try:
            run((*_COMPILE, "--python-version", wanted.python, "--output-file", str(out), *sources), folder)
        except UvError as failure:
            raise LockError(
                f"the dependencies cannot be locked for Python {wanted.python}: {failure}",
                "Change the requirements, or make the index reachable. A package without wheels: build one "
                "(`uv build --wheel`) and name its folder by --find-links in the requirements file.",
            ) from None
        pins = tuple(_pins(out.read_text(encoding="utf-8"), str(out)))
    return Lock(
        wanted.python, wanted.project, wanted.runtime, pins, wanted.digest, previous.bases if previous else ()
    )


_COMPILE = (
    "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--no-header", "--no-annotate",
    "--no-emit-index-url", "--no-emit-find-links", "--only-binary", ":all:", "--python", sys.executable,
)  # fmt: skip


def render(lock: Lock) -> str:
    """The text of ``serinus.lock``; equal locks give equal text. :func:`read` reads it."""
    head = [_TITLE, f"# python {lock.python}"]
    head += [f"# project {line}" for line in lock.project]
    head += [f"# runtime {line}" for line in lock.runtime]
    head += [f"# inputs {lock.inputs}"]
    head += [f"# base {b.reference} {b.platform} {b.digest}" for b in lock.bases]
    return "\n".join(head) + "\n" + render_pins(lock.pins)


def render_pins(pins: tuple[Pin, ...]) -> str:
    """Pins as a requirements file with hashes, one package a paragraph."""
    lines = []
    for pin in pins:
        which = f"{pin.name} @ {pin.url}" if pin.url else f"{pin.name}=={pin.version}"
        marker = f" ; {pin.marker}" if pin.marker else ""
        lines.append(" \\\n    ".join((which + marker, *(f"--hash={h}" for h in pin.hashes))) + "\n")
    return "".join(lines)


def read(text: str, where: str = FILE) -> Lock:
    """Read what :func:`render` wrote.

    Raises:
        LockError: the text is not a lock of this format; the message names the line.
    """
    head: dict[str, list[str]] = {}
    first, *lines = text.splitlines() or [""]
    if not first.startswith("# serinus lock "):
        raise _broken(where, 1, first, "`# serinus lock` and the number of its format")
    if first.split()[3].rstrip(":") != str(FORMAT):
        raise _broken(where, 1, first, f"format {FORMAT}")
    for line in lines:
        if line.startswith("# "):
            key, _, value = line[2:].partition(" ")
            head.setdefault(key, []).append(value)
    for key, form in (("python", re.compile(r"3\.\d+")), ("inputs", _DIGEST)):
        if len(head.get(key, [])) != 1 or not form.fullmatch(head[key][0]):
            raise _broken(where, 1, f"{key} {head.get(key, [])}", f"one line `# {key} ...`")
    bases = tuple(_base(value, where) for value in head.get("base", []))
    pins = tuple(_pins(text, where))
    project, runtime = (tuple(head.get(key, [])) for key in ("project", "runtime"))
    return Lock(head["python"][0], project, runtime, pins, head["inputs"][0], bases)


def _base(value: str, where: str) -> LockedBase:
    words = value.split(" ")
    if len(words) != 3 or not _DIGEST.fullmatch(words[2]):
        raise _broken(where, 1, f"# base {value}", "`# base REFERENCE PLATFORM DIGEST`")
    return LockedBase(*words)


def _pins(text: str, where: str) -> Iterator[Pin]:
    for number, line in logical_lines(text):
        hashes = _HASH.findall(line)
        match = _PIN.fullmatch(_HASH.sub("", line).strip())
        if not match or not hashes or not all(map(_HASH_FORM.fullmatch, hashes)):
            raise _broken(where, number, line, "`NAME==VERSION` and the hashes of its files")
        if match["url"] and re.search(r"://[^/\s]*@", match["url"]):
            raise LockError(
                f"{where}:{number}: the address of {match['name']} holds credentials",
                "Take them out of the requirement's URL; uv finds them in ~/.netrc or in its keyring.",
            )
        marker, version, url = (match[key] or "" for key in ("marker", "version", "url"))
        yield Pin(match["name"], version, marker, tuple(sorted(hashes)), url)


def _broken(where: str, number: int, found: str, expected: str) -> LockError:
    shown = found if len(found) <= 80 else found[:79] + "…"
    return LockError(
        f"{where}:{number}: {shown!r} where {expected} was expected",
        "Remove the lock, and run `serinus build`.",
    )
