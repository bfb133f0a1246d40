"""The layer ``code``: what can be told of the service's Python files without running them."""

from __future__ import annotations

from serinus.checks import Check
from serinus.checks.code.imports import resolved
from serinus.checks.code.lint import lint

CHECKS: tuple[Check, ...] = (lint, resolved)
