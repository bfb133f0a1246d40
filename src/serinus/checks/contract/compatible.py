"""The contract, compared with that of the version in charge."""

from __future__ import annotations

from serinus.checks import Finding, NotApplicable, Result, check
from serinus.checks.subjects import Subject
from serinus.contract import Contract
from serinus.contract.compare import compare
from serinus.image import LABEL_CONTRACT
from serinus.image.promises import of_image

VERSION = "org.opencontainers.image.version"
"""The label with ``service.version`` (OCI image specification 1.1, "Annotations")."""


@check(
    "contract.compatible",
    why="A renamed member broke every caller at once, though each test of the new version passed.",
    seconds=0.2,
)
def compatible(contract: Contract, image: Subject, baseline: Subject) -> Result:
    """No change since the version in charge breaks callers, unless the major version says that it does.

    The versions are those of ``service.version``, in both images.
    """
    if LABEL_CONTRACT not in baseline.labels:
        raise NotApplicable(
            f"{baseline.name} carries no contract to compare with", "Build it with `serinus build`."
        )
    before = of_image(baseline.layout, baseline.manifest, baseline.name)
    changes = compare(before, contract)
    broken = [change for change in changes if change.breaking]
    old, new = major(baseline.labels.get(VERSION)), major(image.labels.get(VERSION))
    if broken and old is not None and new is not None and new > old:
        return Result(f"{len(broken)} breaking changes, allowed by the new major version {new} (was {old})")
    todo = "Take the change back, or raise the major version of service.version."
    found = tuple(
        Finding(f"{c.side} at {c.pointer or 'its root'}: {c.why}", todo, pointer=c.pointer) for c in broken
    )
    return Result("" if found else f"{len(changes)} changes, none of them breaks callers", found)


def major(version: str | None) -> int | None:
    """The major version (Semantic Versioning 2.0.0, item 8); None where there is none."""
    first = (version or "").partition(".")[0]
    return int(first) if first.isascii() and first.isdecimal() else None
