"""The routes of a routing: who gets which version, what is retried, what stands in the log. Pure.

Envoy applies the retry policy of a route to all clusters among which the route chooses. What is retried for
the candidate alone stands in request headers that the choice of its cluster adds.
"""

from __future__ import annotations

import re

from serinus.environment.envoy import Settings
from serinus.environment.envoy.names import (
    CANARY,
    COOKIE,
    DRAW,
    FORCE,
    MIRROR,
    ROUTES,
    TYPE,
    USER,
    WHOLE,
    Document,
    canary_of,
    longest,
    short,
    span,
    weight_of,
)
from serinus.rollout import Backend, Routing, Sticky
from serinus.serving import RECORD, VIOLATION

_UNPROCESSED = "connect-failure,refused-stream,reset-before-request"
"""The request was certainly not processed."""
_STABLE = f"{_UNPROCESSED},reset,retriable-status-codes"
_CANDIDATE = f"{_UNPROCESSED},reset,5xx,retriable-headers"
_COOKIE_AGE = 30 * 24 * 3600


def routes(routing: Routing, settings: Settings) -> Document:
    """The route configuration."""
    host = {
        "name": ROUTES,
        "domains": ["*"],
        "include_request_attempt_count": True,
        "request_headers_to_remove": [DRAW, RECORD],
        # Before a mirrored request is copied: both versions are to note what they answer.
        "request_headers_to_add": [_header(RECORD, "1")] if _mirroring(routing) else [],
        "routes": _all_routes(routing, settings),
    }
    return {
        "@type": TYPE + "envoy.config.route.v3.RouteConfiguration",
        "name": ROUTES,
        "virtual_hosts": [host],
    }


def _all_routes(routing: Routing, settings: Settings) -> list[Document]:
    stable = routing.stable
    if stable is None:
        body = {"inline_string": "no version is in charge yet"}
        return [{"name": "none", "match": {"prefix": "/"}, "direct_response": {"status": 503, "body": body}}]
    made = []
    for predicts in (True, False):
        if canary_of(routing) is not None:
            made += [_forced(routing, settings, stable, arm, predicts) for arm in ("candidate", "stable")]
        made += _chosen(routing, settings, stable, predicts)
    return made


def _route(routing: Routing, settings: Settings, name: str, predicts: bool, action: Document) -> Document:
    """A route; what it says about itself stands in the log with each attempt."""
    retry = {
        "retry_on": _STABLE if routing.idempotent else _UNPROCESSED,
        "num_retries": 1,
        "per_try_timeout": span(routing.timeout),
        "retriable_status_codes": [503],
        "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.010s"},
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {
                    "@type": TYPE + "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                },
            }
        ],
        "host_selection_retry_max_attempts": 50,  # least request prefers the dead one, who has none
    }
    said = {
        "generation": routing.generation,
        "weight": weight_of(routing),
        "forced": name.startswith("forced"),
        "predicts": predicts,
        "limits": [round(1000 * s) for s in (routing.timeout, min(routing.try_timeout, routing.timeout))],
    }
    return {
        "name": f"{name}.{'predict' if predicts else 'other'}",
        "match": {"path": routing.route} if predicts else {"prefix": "/"},
        "metadata": {"filter_metadata": {"serinus": said}},
        "request_body_buffer_limit": max(settings.max_body, settings.max_answer),
        "route": action | {"timeout": span(longest(routing)), "retry_policy": retry},
    }


def _forced(routing: Routing, settings: Settings, stable: Backend, arm: str, predicts: bool) -> Document:
    whole = WHOLE if arm == "candidate" else 0
    action = _choice(routing, stable, whole)
    if predicts and arm == "stable":
        action |= _mirroring(routing)
    made = _route(routing, settings, f"forced.{arm}", predicts, action)
    made["match"]["headers"] = [{"name": FORCE, "string_match": {"exact": arm}}]
    return made


def _choice(routing: Routing, stable: Backend, weight: int) -> Document:
    """The choice between the versions, the candidate first; its attempts are rescued."""
    name, candidate = short(stable.version), canary_of(routing)
    if candidate is None:
        return {"cluster": name}
    canary: Document = {"name": f"{CANARY}{short(candidate.version)}.{name}", "weight": weight}
    if routing.idempotent:
        canary["request_headers_to_add"] = [
            _header("x-envoy-retry-on", _CANDIDATE),
            _header("x-envoy-retriable-header-names", VIOLATION),
        ]
    return {"weighted_clusters": {"clusters": [canary, {"name": name, "weight": WHOLE - weight}]}}


def _mirroring(routing: Routing) -> Document:
    candidate = canary_of(routing)
    if candidate is None or not routing.mirror:
        return {}
    share = {"numerator": round(routing.mirror * WHOLE), "denominator": "TEN_THOUSAND"}
    policy = {
        "cluster": MIRROR + short(candidate.version),
        "runtime_fraction": {"default_value": share},
        "disable_shadow_host_suffix_append": True,
    }
    return {"request_mirror_policies": [policy]}


def _chosen(routing: Routing, settings: Settings, stable: Backend, predicts: bool) -> list[Document]:
    """The routes of those who do not choose for themselves."""
    action = _choice(routing, stable, weight_of(routing)) | (_mirroring(routing) if predicts else {})
    made = _route(routing, settings, "chosen", predicts, action)
    sticky = routing.sticky
    if sticky is None or canary_of(routing) is None:
        return [made]
    if sticky.kind == "header":
        return [_sticking(made, [{"header": {"header_name": sticky.name}}], f"%REQ({sticky.name})%")]
    known = _sticking(made, [{"cookie": {"name": sticky.name}}], f"%DYNAMIC_METADATA(serinus:{USER})%")
    known["name"] = f"known.{known['name']}"
    known["match"] = made["match"] | {"headers": [_carries(sticky)]}
    known["typed_per_filter_config"] = {COOKIE: reading(sticky)}
    fresh = _sticking(made, [{"header": {"header_name": DRAW}}], f"%REQ({DRAW})%")
    value = f"{sticky.name}=%REQ({USER})%; Path=/; Max-Age={_COOKIE_AGE}; HttpOnly; SameSite=Lax"
    fresh["response_headers_to_add"] = [_header("set-cookie", value, "APPEND_IF_EXISTS_OR_ADD")]
    return [known, fresh]


def _sticking(route: Document, policy: list[Document], user: str) -> Document:
    """The choice is made by a hash, the same at every weight: who has the candidate keeps it as it grows."""
    action = route["route"]
    choice = action["weighted_clusters"] | {"use_hash_policy": True}
    return route | {
        "route": action | {"weighted_clusters": choice, "hash_policy": policy},
        "request_headers_to_add": [_header(USER, user)],
    }


def _carries(sticky: Sticky) -> Document:
    pattern = rf"(?:.*;)?\s*{re.escape(sticky.name)}=[^;\s].*"
    return {"name": "cookie", "string_match": {"safe_regex": {"regex": pattern}}}


def reading(sticky: Sticky | None) -> Document:
    """The filter that reads a cookie's value; without one it reads nothing."""
    rule = {"cookie": sticky.name} if sticky else {"header": USER}
    into = {"metadata_namespace": "serinus", "key": USER, "type": "STRING"}
    return {
        "@type": TYPE + "envoy.extensions.filters.http.header_to_metadata.v3.Config",
        "request_rules": [rule | {"on_header_present": into}],
    }


def _header(name: str, value: str, action: str = "OVERWRITE_IF_EXISTS_OR_ADD") -> Document:
    return {"header": {"key": name, "value": value}, "append_action": action}
