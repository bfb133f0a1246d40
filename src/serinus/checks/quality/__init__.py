"""How good the predictions are, on labelled data: against a floor, against the version in charge, per slice.

``scores`` pairs labels and predictions, ``metrics`` makes a number of them, ``statistics`` says how sure
it is.
"""

from __future__ import annotations

from serinus.checks import Check
from serinus.checks.quality.against import against
from serinus.checks.quality.floor import floor
from serinus.checks.quality.slices import slice_floor, slices

CHECKS: tuple[Check, ...] = (floor, against, slice_floor, slices)
"""The checks of this layer."""
