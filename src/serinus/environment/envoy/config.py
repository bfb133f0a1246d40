"""A routing -> what Envoy is told. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from serinus.environment.envoy import DEFAULTS, Settings
from serinus.environment.envoy.clusters import assignment, clusters
from serinus.environment.envoy.names import WHOLE, Document, canary_of, longest, short
from serinus.environment.envoy.routes import routes
from serinus.errors import RouterError
from serinus.rollout import Routing

_NAME = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class Configuration:
    """What Envoy is told."""

    clusters: Mapping[str, Document]
    """By name."""
    endpoints: Mapping[str, Document]
    """By the name of the version, see :func:`short`."""
    routes: Document
    generation: int
    longest: float
    """Seconds that a request may take once it is whole."""


def configuration(routing: Routing, settings: Settings = DEFAULTS) -> Configuration:
    """What Envoy is to be told for a routing.

    Raises:
        RouterError: the routing is not one that can be put in force; the message says why.
    """
    _check(routing)
    backends = [b for b in (routing.stable, canary_of(routing)) if b is not None]
    return Configuration(
        {cluster["name"]: cluster for cluster in clusters(routing, settings)},
        {short(b.version): assignment(b) for b in backends},
        routes(routing, settings),
        routing.generation,
        longest(routing),
    )


def discovery(resources: list[Document], prefix: str = "") -> tuple[bytes, str]:
    """A file of resources, and the version by which Envoy says that it has it."""
    digest = hashlib.sha256(orjson.dumps(resources, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
    version = f"{prefix}{digest}"
    return orjson.dumps({"version_info": version, "resources": resources}), version


def _check(routing: Routing) -> None:
    for name, share in (("weight", routing.weight), ("mirror", routing.mirror)):
        if not 0 <= share <= 1 or abs(share * WHOLE - round(share * WHOLE)) > 1e-6:
            raise RouterError(
                f"the routing's {name} is {share}; expected 0 to 1 in steps of {1 / WHOLE}", "Round it."
            )
    for name, seconds in (("try_timeout", routing.try_timeout), ("timeout", routing.timeout)):
        if not 0.001 <= seconds <= 86_400:
            raise RouterError(
                f"the routing's {name} is {seconds}; expected 0.001 to 86400 seconds", "Change it."
            )
    if not re.fullmatch(r"/[^?#\s]*", routing.route):
        raise RouterError(
            f"the routing's route is {routing.route!r}; expected a path", "Begin it with a slash."
        )
    if routing.sticky is not None and not _NAME.fullmatch(routing.sticky.name):
        raise RouterError(
            f"{routing.sticky.name!r} is no name of a {routing.sticky.kind}", "Change the policy."
        )
    if routing.sticky is not None and routing.sticky.kind not in ("header", "cookie"):
        raise RouterError(
            f"sticky by {routing.sticky.kind!r}; expected header or cookie", "Change the policy."
        )
    stable, candidate = routing.stable, routing.candidate
    if stable is not None and candidate is not None and stable.version == candidate.version:
        raise RouterError(f"stable and candidate are both {stable.version}", "Leave out the candidate.")
