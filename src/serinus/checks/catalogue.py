"""Every check there is, in the order in which reports show them."""

from __future__ import annotations

from serinus.checks import (
    Check,
    behaviour,
    code,
    contract,
    dependencies,
    drift,
    image,
    model,
    quality,
    speed,
    tests,
    transport,
)

CHECKS: tuple[Check, ...] = (
    *code.CHECKS,
    *dependencies.CHECKS,
    *model.CHECKS,
    *image.CHECKS,
    *transport.CHECKS,
    *contract.CHECKS,
    *behaviour.CHECKS,
    *quality.CHECKS,
    *drift.CHECKS,
    *speed.CHECKS,
    *tests.CHECKS,
)
"""The checks that Serinus brings; those of the project come from ``own``."""
