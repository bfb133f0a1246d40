"""The layer ``dependencies``: the lock, and what it installs."""

from __future__ import annotations

from serinus.checks import Check
from serinus.checks.dependencies.licences import licences
from serinus.checks.dependencies.locking import current, installed, pinned
from serinus.checks.dependencies.opset import opset
from serinus.checks.dependencies.python import python

CHECKS: tuple[Check, ...] = (installed, pinned, current, python, opset, licences)
