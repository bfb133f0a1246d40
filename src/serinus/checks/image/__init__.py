"""The layer ``image``: what was built, as it is stored and as it will run.

``contents`` reads the layers' tars once; the other modules hold one topic each.
"""

from __future__ import annotations

from serinus.checks import Check
from serinus.checks.image.built import built, size
from serinus.checks.image.described import labels, python, sbom
from serinus.checks.image.recipe import dockerfile, reproducible
from serinus.checks.image.running import read_only
from serinus.checks.image.safe import code, secrets, user

CHECKS: tuple[Check, ...] = (
    built, user, read_only, secrets, code, labels, sbom, python, reproducible, size, dockerfile
)  # fmt: skip
