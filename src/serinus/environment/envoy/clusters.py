"""The clusters of a routing, and where their replicas are. Pure.

Each is named after versions, so that no change of the routing touches one that is in use::

    S               stable's first attempts, and their second ones
    first.C         the candidate's first attempts, bounded by ``try_timeout``
    rescue.S        stable's answers in place of the candidate's: counted apart
    canary.C.S      for each request: first.C, and if that fails rescue.S
    mirror.C        copies of requests, whose answers nobody gets

The limit of a first attempt is the longest duration of a stream of ``first.C``, for the time-out of an
attempt belongs to the route, and there it is stable's. An answer is held by a filter in front of the upstream
connection until it is whole: until then, what breaks can be asked again.
"""

from __future__ import annotations

import ipaddress

from serinus.environment.envoy import Settings
from serinus.environment.envoy.names import (
    CANARY,
    FIRST,
    MIRROR,
    RESCUE,
    TYPE,
    Document,
    canary_of,
    short,
    span,
)
from serinus.errors import RouterError
from serinus.rollout import Backend, Routing

_HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_KEPT = "4s"
"""An idle connection is closed after this: before common servers close it, for that may cross a request."""

_HOLD = """
local limit, unknown = {limit}, {unknown}
function envoy_on_response(handle)
  local headers = handle:headers()
  local length = headers:get("content-length")
  if length then
    if tonumber(length) > limit then return end
  else
    local kind = headers:get("content-type") or ""
    if not unknown or not string.find(kind, "json", 1, true) or string.find(kind, "ndjson", 1, true)
      or string.find(kind, "jsonl", 1, true) or string.find(kind, "json-", 1, true) then return end
  end
  handle:body()
end
"""
"""Holds an answer until it is whole. The candidate's is held too if it is JSON of a length not known before,
and no stream of it: past the limit that is an error."""


def clusters(routing: Routing, settings: Settings) -> list[Document]:
    """All clusters that a routing needs."""
    if routing.stable is None:
        return []
    stable = short(routing.stable.version)
    made = [_replicas(stable, stable, settings, settings.requests)]
    canary = canary_of(routing)
    if canary is None:
        return made
    name = short(canary.version)
    first, rescue = FIRST + name, RESCUE + stable
    limit = span(min(routing.try_timeout, routing.timeout))
    made += [
        _replicas(first, name, settings, settings.requests, limit=limit),
        _replicas(rescue, stable, settings, settings.rescues),
        _canary(name, stable, [first, rescue], settings),
    ]
    if routing.mirror:
        made.append(_replicas(MIRROR + name, name, settings, settings.requests))
    return made


def _replicas(name: str, version: str, settings: Settings, most: int, limit: str | None = None) -> Document:
    """A cluster of the replicas of a version; ``limit`` bounds one request."""
    common = {"idle_timeout": _KEPT} | ({"max_stream_duration": limit} if limit else {})
    config = {"path_config_source": {"path": f"./endpoints/{version}.json"}, "resource_api_version": "V3"}
    return {
        "@type": TYPE + "envoy.config.cluster.v3.Cluster",
        "name": name,
        "type": "EDS",
        "connect_timeout": "2s",
        "eds_cluster_config": {"service_name": version, "eds_config": config},
        "lb_policy": "LEAST_REQUEST",
        "circuit_breakers": {"thresholds": [_thresholds(most)]},
        "outlier_detection": _OUTLIERS,
        "typed_extension_protocol_options": {_HTTP: _protocol(settings, common)},
    }


def _thresholds(most: int) -> Document:
    names = ("max_connections", "max_pending_requests", "max_requests")
    budget = {"budget_percent": {"value": 50}, "min_retry_concurrency": 100}
    return dict.fromkeys(names, most) | {"retry_budget": budget}


_OUTLIERS = {
    # A replica that cannot be reached is left alone for a while; what one answers is the version's doing.
    "split_external_local_origin_errors": True,
    "consecutive_local_origin_failure": 3,
    "enforcing_consecutive_local_origin_failure": 100,
    "enforcing_consecutive_5xx": 0,
    "enforcing_consecutive_gateway_failure": 0,
    "enforcing_success_rate": 0,
    "enforcing_local_origin_success_rate": 0,
    "max_ejection_percent": 50,  # and never the only one
    "always_eject_one_host": False,
    "interval": "1s",
    "base_ejection_time": "2s",
    "max_ejection_time": "10s",
}


def _canary(name: str, stable: str, order: list[str], settings: Settings) -> Document:
    config = {
        "@type": TYPE + "envoy.extensions.clusters.composite.v3.ClusterConfig",
        "clusters": [{"name": name} for name in order],
    }
    return {
        "@type": TYPE + "envoy.config.cluster.v3.Cluster",
        "name": f"{CANARY}{name}.{stable}",
        "connect_timeout": "2s",
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": {"name": "envoy.clusters.composite", "typed_config": config},
        "circuit_breakers": {"thresholds": [{"max_retries": settings.rescues}]},
        "typed_extension_protocol_options": {_HTTP: _protocol(settings, {}, unknown=True)},
    }


def _protocol(settings: Settings, common: Document, unknown: bool = False) -> Document:
    script = _HOLD.replace("{limit}", str(settings.max_answer)).replace("{unknown}", str(unknown).lower())
    codec = TYPE + "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"
    return {
        "@type": TYPE + _HTTP,
        "explicit_http_config": {"http_protocol_options": {}},
        "common_http_protocol_options": common,
        "http_filters": [
            {
                "name": "serinus.hold",
                "typed_config": {
                    "@type": TYPE + "envoy.extensions.filters.http.lua.v3.Lua",
                    "default_source_code": {"inline_string": script},
                },
            },
            {"name": "envoy.filters.http.upstream_codec", "typed_config": {"@type": codec}},
        ],
    }


def assignment(backend: Backend) -> Document:
    """Where the replicas of a version are.

    Raises:
        RouterError: an address is none that Envoy takes.
    """
    ends = []
    for host, port in sorted(set(backend.addresses)):
        try:
            address = {"address": str(ipaddress.ip_address(host)), "port_value": port}
        except ValueError:
            raise RouterError(
                f"a replica of {backend.version} is said to be at {host!r}; expected an IP address",
                "Give the address that the name stands for.",
            ) from None
        ends.append({"endpoint": {"address": {"socket_address": address}}})
    return {
        "@type": TYPE + "envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": short(backend.version),
        "endpoints": [{"lb_endpoints": ends}] if ends else [],
    }
