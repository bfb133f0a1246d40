"""Every check there is, in the order in which reports show them."""

from __future__ import annotations

from serinus.checks import Check, code, dependencies, drift, model, quality, transport

CHECKS: tuple[Check, ...] = (
    *code.CHECKS,
    *dependencies.CHECKS,
    *model.CHECKS,
    *transport.CHECKS,
    *quality.CHECKS,
    *drift.CHECKS,
)
"""The checks that Serinus brings; those of the project come from ``own``."""
