"""What the checks of speed take, beside the fixtures of all checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serinus.contract import Example
from serinus.project import Checks

if TYPE_CHECKING:
    from serinus.checks.speed.measured import Loads
    from serinus.checks.starting import Start
    from serinus.checks.subjects import Given


def rival(given: Given, settings: Checks) -> Start | None:
    """Starts a replica of the version in charge; None where none is named."""
    from serinus.checks import fixtures

    if given.against is None and settings.against is None:
        return None
    return fixtures.start_baseline(given, fixtures.baseline(given, settings))


def loads(start: Start, rival: Start | None, examples: tuple[Example, ...], settings: Checks) -> Loads:
    """What loads have shown that were put to a replica of its own, and to the version in charge if any."""
    from serinus.checks.speed.measured import measure

    return measure(start, rival, examples, settings.speed)
