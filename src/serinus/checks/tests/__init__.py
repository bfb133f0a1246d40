"""The project's own pytest tests, as a check."""

from __future__ import annotations

from serinus.checks.tests.run import pytest_tests

CHECKS = (pytest_tests,)
