"""The lock: that it installs, pins everything, and is made from what the project requires now."""

from __future__ import annotations

from pathlib import Path

from serinus.checks import Finding, Result, check
from serinus.checks.subjects import Locked
from serinus.image import install
from serinus.image import lock as locks
from serinus.project import Project

STRONG = ("sha256", "sha384", "sha512")
"""Digests that nobody can make another file for."""
_MISSING = Finding(
    "there was no serinus.lock: what is installed is decided anew by each machine that builds",
    "This run has made one if it could; commit it.",
    locks.FILE,
)


@check(
    "dependencies.installed",
    why="A package without a wheel for the target was found out by the build on the day of the release.",
    seconds=0.1,
)
def installed(packages: Path) -> Result:
    """The locked packages can be installed for this machine, each checked against its hashes."""
    found = install.packages(packages)
    if not found and any(packages.iterdir()):
        told = f"there are files in {packages}, and not one package among them"
        return Result(findings=(Finding(told, "Remove the folder, and run the check again."),))
    return Result(f"{len(found)} packages are installed")


@check(
    "dependencies.pinned",
    why="An onnxruntime that was not pinned changed its inputs one day, and every request failed.",
    seconds=0.1,
)
def pinned(lock: Locked) -> Result:
    """Every package is pinned in the lock to one version and to the digests of its files."""
    if lock.lock is None:
        return Result(findings=(_MISSING,), warning=True)
    findings = tuple(found for pin in lock.lock.pins if (found := loose(pin)) is not None)
    return Result("" if findings else f"{len(lock.lock.pins)} packages are pinned by digests", findings)


def loose(pin: locks.Pin) -> Finding | None:
    """What lets a pin stand for more than one file of one version; None where nothing does. Pure."""
    weak = [digest for digest in pin.hashes if digest.partition(":")[0] not in STRONG]
    if pin.hashes and not weak and (pin.version or pin.url) and "*" not in pin.version:
        return None
    found = f"the digest {weak[0]}" if weak else "no digest" if not pin.hashes else f"{pin.version!r}"
    return Finding(
        f"{pin.name} is pinned by {found}, expected one version and SHA-256 digests of its files",
        "Remove the lock, and run `serinus build`.",
        locks.FILE,
    )


@check(
    "dependencies.current",
    why="A requirement was added and the lock was not made anew: the image went out without the package.",
    seconds=0.1,
)
def current(source: Project, lock: Locked) -> Result:
    """The lock was made from the requirements and the Python that the project names now."""
    if lock.lock is None:
        return Result(findings=(_MISSING,), warning=True)
    changed = locks.changes(lock.lock, lock.inputs)
    file = source.image.requirements or "requirements.txt"
    findings = tuple(
        Finding(f"{locks.FILE} is out of date: {one}", "Run `serinus build`, and commit the lock.", file)
        for one in changed
    )
    return Result("" if findings else f"made from the {len(lock.inputs.project)} requirements", findings)
