"""The image while it runs."""

from __future__ import annotations

import re
import time

from serinus.checks import Finding, NotApplicable, Result, check
from serinus.checks.asked import ask
from serinus.checks.subjects import Served, Service
from serinus.contract import Example
from serinus.image import WORKDIR

_WRITE = re.compile(r"(Read-only file system|Permission denied)(?:[^\n]{0,40}?['\"](/?[^'\"\n]+)['\"])?")
_PLACE = re.compile(
    r"File \\?[\"'](?P<file>" + re.escape(WORKDIR) + r"/[^\"'\\]+)\\?[\"'], line (?P<line>\d+)"
)
_PATIENCE = 1.0
"""Seconds that the log of a failed answer may take."""


@check(
    "image.read-only",
    why="A service that wrote beside its code worked on a desk and failed in a cluster, where the root is "
    "read-only.",
)
def read_only(served: Served, service: Service, examples: tuple[Example, ...]) -> Result:
    """The service answers its examples on a read-only root, and its log tells of no try to write there."""
    if served.running is None:
        raise NotApplicable("the service was started by somebody else, who has its log", "Leave out the URL.")
    answers = ask(service, [example.request for example in examples[:5]])
    faults = complaints(served.running.logs())
    until = time.monotonic() + _PATIENCE
    while not faults and any(one.fault for one in answers) and time.monotonic() < until:
        time.sleep(0.05)
        faults = complaints(served.running.logs())
    return Result(f"{len(answers)} answers", faults)


def complaints(log: bytes) -> tuple[Finding, ...]:
    """What a log tells of attempts to write where nothing can be written, each path once. Pure."""
    text = log.decode("utf-8", "replace")
    faults: dict[str, Finding] = {}
    for match in _WRITE.finditer(text):
        path = match[2] or "a file"
        places = list(_PLACE.finditer(text, max(0, match.start() - 8000), match.start()))
        last = places[-1] if places else None
        file = last["file"].removeprefix(f"{WORKDIR}/") if last else ""
        message = f"the service could not write to {path}: {match[1]}"
        todo = "Write to /tmp, or to a volume that the image declares."
        faults.setdefault(path, Finding(message, todo, file, int(last["line"]) if last else None))
    return tuple(faults.values())
