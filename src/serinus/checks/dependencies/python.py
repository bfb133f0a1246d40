"""The Python of the lock, of the project and of the base: one and the same."""

from __future__ import annotations

import re

from serinus.checks import Finding, Result, check
from serinus.checks.subjects import Locked
from serinus.errors import LockError
from serinus.image import install
from serinus.image import lock as locks
from serinus.image.contracts import own_python
from serinus.project import Project
from serinus.registry import Platform, this_platform

DEBIAN = {"bullseye": "3.9", "bookworm": "3.11", "trixie": "3.13"}
"""The package ``python3`` of each release of Debian (packages.debian.org/python3)."""
_TAGGED = re.compile(r"(?:.*/)?python:(3\.\d+)(?:[.-].*)?(?:@.*)?")


@check(
    "dependencies.python",
    why="Wheels for one Python were put beside another: the first import in the container failed.",
    seconds=0.2,
)
def python(source: Project, lock: Locked) -> Result:
    """The lock is for the Python that the project names and the base has, and installs on each platform."""
    wanted = source.image.python
    findings = list(of_base(source.image.base, wanted))
    if lock.lock is not None and lock.lock.python != wanted:
        findings.append(
            Finding(
                f"{locks.FILE} is for Python {lock.lock.python}, expected {wanted} as image.python says",
                "Run `serinus build`, and commit the lock; or correct image.python.",
                locks.FILE,
            )
        )
    if lock.lock is not None and not findings:
        findings += _uninstallable(source, lock.lock, lock.inputs)
    return Result(
        "" if findings else f"Python {wanted} for {', '.join(source.image.platforms)}", tuple(findings)
    )


def of_base(base: str, wanted: str) -> tuple[Finding, ...]:
    """What is known of the Python of a base by its name alone, held to the one that is wanted. Pure.

    A base that says nothing by its name is looked into when the image is built.
    """
    tagged = _TAGGED.fullmatch(base)
    suite = base.partition(":")[2] if base.startswith("debian:") else ""
    found = tagged[1] if tagged else DEBIAN.get(suite)
    if found in (None, wanted):
        return ()
    told = f"the base {base} has Python {found}, expected {wanted} as image.python says"
    return (Finding(told, f'Write python = "{found}" under [image], or take another base.'),)


def _uninstallable(project: Project, lock: locks.Lock, inputs: locks.Inputs) -> list[Finding]:
    """The platforms of the image that the lock has no wheels for."""
    found = []
    for text in project.image.platforms:
        platform = Platform(*text.split("/"))
        if (platform, project.image.python) == (this_platform(), own_python().version):
            continue  # what ``dependencies.installed`` looks at
        try:
            install.tree(lock, platform, project.image.python, folder=project.root, index=inputs.index)
        except LockError as error:
            found.append(Finding(error.message, error.todo, locks.FILE))
    return found
