"""Checks of behaviour: the same question, the same answer.

``answers`` compares answers with the examples, with each other, with the source tree and with those from a
batch; ``metamorphic`` looks at what changes of a text do to the prediction.
"""

from __future__ import annotations

from serinus.checks import Check
from serinus.checks.behaviour.answers import golden, repeat, source
from serinus.checks.behaviour.batch import batch
from serinus.checks.behaviour.metamorphic import metamorphic

CHECKS: tuple[Check, ...] = (golden, repeat, batch, source, metamorphic)
