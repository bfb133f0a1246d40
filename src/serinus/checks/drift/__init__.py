"""How predictions and inputs are distributed, against a reference: drift is a warning, unless it is to fail.

``features`` makes columns of JSON documents, ``samples`` compares two columns.
"""

from __future__ import annotations

from serinus.checks import Check
from serinus.checks.drift.inputs import inputs
from serinus.checks.drift.predictions import predictions, reference

CHECKS: tuple[Check, ...] = (predictions, reference, inputs)
"""The checks of this layer."""
