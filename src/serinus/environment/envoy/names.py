"""The words that the parts of Envoy's configuration have in common. Pure."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from serinus.rollout import Backend, Routing
from serinus.serving import VERSION

Document = dict[str, Any]
"""A message of Envoy's API v3, as JSON."""
TYPE = "type.googleapis.com/"
WHOLE = 10_000
"""Weights of a choice add up to this."""
ROUTES = "serinus"
"""Name of the route configuration."""
FORCE = VERSION
"""Request header with which a caller chooses: ``candidate`` or ``stable``."""
USER, DRAW = "serinus-user", "serinus-draw"
"""Request headers that the router sets itself: the value it sticks to, and a random one."""
COOKIE = "serinus.cookie"
"""The filter that reads a cookie; switched off but for routes that stick to one."""
FIRST, RESCUE, CANARY, MIRROR = "first.", "rescue.", "canary.", "mirror."
"""How the names of clusters begin that are not simply a version's."""


def short(version: str) -> str:
    """The name of a version in Envoy: fit for statistics and files.

    >>> short("sha256:" + "0123456789abcdef" * 4)
    '0123456789abcdef'
    """
    found = re.fullmatch(r"sha256:([0-9a-f]{16})[0-9a-f]{48}", version)
    return found[1] if found else "v" + hashlib.sha256(version.encode()).hexdigest()[:15]


def canary_of(routing: Routing) -> Backend | None:
    """The candidate, if requests can go to it: it has replicas, and there is stable to rescue them."""
    if routing.stable is None or routing.candidate is None or not routing.candidate.addresses:
        return None
    return routing.candidate


def weight_of(routing: Routing) -> int:
    """The candidate's share of :data:`WHOLE`."""
    return round(routing.weight * WHOLE) if canary_of(routing) is not None else 0


def span(seconds: float) -> str:
    """A duration of the API."""
    return f"{max(seconds, 0.001):.3f}s"


def longest(routing: Routing) -> float:
    """Seconds that a request may take: two attempts, each with its whole time."""
    return 2 * routing.timeout + 1
