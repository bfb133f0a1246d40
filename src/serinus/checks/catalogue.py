"""Every check there is, in the order in which reports show them."""

from __future__ import annotations

from serinus.checks import Check, transport

CHECKS: tuple[Check, ...] = (*transport.CHECKS,)
"""The checks that Serinus brings; those of the project come from ``own``."""
