"""Checks of the contract: what callers were promised, held to what comes over the wire.

``examples`` and ``types`` look at answers, ``generated`` at requests that nobody thought of, ``compatible``
at the version in charge.
"""

from __future__ import annotations

from serinus.checks import Check
from serinus.checks.contract.compatible import compatible
from serinus.checks.contract.examples import answered
from serinus.checks.contract.generated import generated
from serinus.checks.contract.types import types

CHECKS: tuple[Check, ...] = (answered, types, generated, compatible)
