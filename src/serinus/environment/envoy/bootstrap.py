"""What does not change while Envoy runs: the public listener, its filters, its logs. Pure.

All paths are relative to the folder in which Envoy runs. Names of fields: Envoy's API v3, as JSON.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from serinus.environment.envoy import Settings
from serinus.environment.envoy.lines import FORMAT
from serinus.environment.envoy.names import COOKIE, DRAW, ROUTES, TYPE, USER, Document
from serinus.environment.envoy.routes import reading

ADMIN = "admin.sock"
ATTEMPTS, ACCESS = "attempts", "access"
"""Names of the logs, without ``.jsonl``."""
PREFIX = "public"
"""Under which Envoy counts what comes in."""
_PROBLEM = "application/problem+json"
_FILTERS = TYPE + "envoy.extensions.filters.http."
_ANSWERED = (400, 403, 404, 408, 413, 414, 426, 431, 500, 502, 503, 504)
"""Statuses that Envoy answers itself."""

ACCESS_FORMAT = {
    "time": "%START_TIME%",
    "method": "%REQ(:method)%",
    "path": "%PATH(NQ)%",
    "status": "%RESPONSE_CODE%",
    "milliseconds": "%DURATION%",
    "request_id": "%REQ(x-request-id):128%",
    "version": "%RESP(serinus-version):128%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "received": "%BYTES_RECEIVED%",
    "sent": "%BYTES_SENT%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
}
"""What a line about a request says to people; without its query, which may hold what is nobody's business."""


def bootstrap(settings: Settings) -> Document:
    """What Envoy is started with."""
    listener = {
        "name": PREFIX,
        "address": {"socket_address": {"address": settings.host, "port_value": settings.port}},
        # Two programs must not share the port without knowing of each other.
        "enable_reuse_port": False,
        "per_connection_buffer_limit_bytes": 1 << 20,
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": _connections(settings),
                    }
                ]
            }
        ],
    }
    return {
        "node": {"id": "serinus", "cluster": "serinus"},
        "admin": {"address": {"pipe": {"path": ADMIN, "mode": 0o600}}},
        "dynamic_resources": {"cds_config": _file("clusters")},
        "static_resources": {"listeners": [listener]},
    }


def _file(name: str) -> Document:
    return {"path_config_source": {"path": f"./{name}.json"}, "resource_api_version": "V3"}


def _log(name: str, fields: dict[str, str]) -> Document:
    return {
        "name": f"serinus.{name}",
        "typed_config": {
            "@type": TYPE + "envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": f"{name}.jsonl",
            "log_format": {"json_format": fields},
        },
    }


def _connections(settings: Settings) -> Document:
    return {
        "@type": TYPE + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": PREFIX,
        "rds": {"route_config_name": ROUTES, "config_source": _file("routes")},
        "http_filters": _filters(settings),
        "access_log": [_log(ACCESS, ACCESS_FORMAT)],
        "use_remote_address": True,
        "normalize_path": True,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "server_header_transformation": "PASS_THROUGH",
        "http_protocol_options": {"accept_http_10": True, "default_host_for_http_10": "localhost"},
        "request_headers_timeout": "30s",
        "request_timeout": "300s",
        "early_header_mutation_extensions": [_cleaning()],
        "generate_request_id": True,
        "preserve_external_request_id": True,
        "always_set_request_id_in_response": True,
        "request_id_extension": {
            "typed_config": {
                "@type": TYPE + "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig",
                "pack_trace_reason": False,
                "use_request_id_for_trace_sampling": False,
            }
        },
        "local_reply_config": _own_answers(settings),
    }


def _cleaning() -> Document:
    """Before anything else looks at them: headers by which a caller could steer Envoy, or pose as us."""
    draw = {"header": {"key": DRAW, "value": "%UNIQUE_ID%"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    return {
        "name": "serinus.clean",
        "typed_config": {
            "@type": TYPE + "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
            "mutations": [
                {"remove_on_match": {"key_matcher": {"prefix": "x-envoy-"}}},
                {"remove": USER},
                {"append": draw},
            ],
        },
    }


def _filters(settings: Settings) -> list[Document]:
    router = {
        "@type": _FILTERS + "router.v3.Router",
        "suppress_envoy_headers": True,
        "upstream_log": [_log(ATTEMPTS, FORMAT)],
    }
    buffer = {"@type": _FILTERS + "buffer.v3.Buffer", "max_request_bytes": settings.max_body}
    return [
        {"name": COOKIE, "disabled": True, "typed_config": reading(None)},
        {"name": "serinus.whole", "typed_config": buffer},
        {"name": "envoy.filters.http.router", "typed_config": router},
    ]


def _own_answers(settings: Settings) -> Document:
    """Envoy's own answers, as ``application/problem+json`` (RFC 9457)."""
    details = {
        413: f"the body is over {settings.max_body} bytes",
        502: "what a replica of the service answered was not HTTP",
        504: "the service did not answer in time",
    }
    unreachable = {"response_flag_filter": {"flags": ["UH", "UF", "UC", "UR", "UO", "LR", "NC", "NR", "URX"]}}
    mappers = [_mapper(503, "no replica of the service could answer", unreachable)]
    mappers += [_mapper(status, details.get(status, "%LOCAL_REPLY_BODY%")) for status in _ANSWERED]
    return {"mappers": mappers, "body_format": _problem("%RESPONSE_CODE_DETAILS%", "%LOCAL_REPLY_BODY%")}


def _mapper(status: int, detail: str, where: Document | None = None) -> Document:
    value = {"default_value": status, "runtime_key": "serinus.status"}
    matched: Document = {"status_code_filter": {"comparison": {"op": "EQ", "value": value}}}
    if where:
        matched = {"and_filter": {"filters": [matched, where]}}
    made: dict[str, Any] = {
        "filter": matched,
        "body_format_override": _problem(HTTPStatus(status).phrase, detail),
    }
    if status == 503:
        made["headers_to_add"] = [{"header": {"key": "retry-after", "value": "1"}}]
    return made


def _problem(title: str, detail: str) -> Document:
    fields = {
        "type": "about:blank",
        "title": title,
        "status": "%RESPONSE_CODE%",
        "detail": detail,
        "id": "%REQ(x-request-id):128%",
    }
    return {"json_format": fields, "content_type": _PROBLEM}
