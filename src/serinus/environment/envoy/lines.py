"""One line of Envoy's log of attempts -> an attempt. Pure.

Envoy's router writes a line for each try at a replica, with what was known of it then. Only first tries are
attempts; second ones and those of copies are not.
"""

from __future__ import annotations

from typing import Any

import orjson

from serinus.environment.envoy.names import CANARY, MIRROR, USER, WHOLE
from serinus.rollout import Arm, Attempt
from serinus.serving import VIOLATION

FORMAT = {
    "cluster": "%UPSTREAM_CLUSTER%",
    "try": "%REQ(x-envoy-attempt-count)%",
    "route": "%METADATA(ROUTE:serinus)%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "us": "%COMMON_DURATION(DS_RX_BEG:US_RX_END:us)%",  # null unless the answer came to its end
    "ms": "%DURATION%",
    "violation": f"%RESP({VIOLATION}):512%",
    "user": f"%REQ({USER}):256%",
    "id": "%REQ(x-request-id):128%",
    "at": "%START_TIME(%s.%6f)%",
}
"""What a line says: JSON, by Envoy's command operators."""
LEFT = 499
"""Status of an attempt whose caller went away before the answer and before the attempt's time was over."""
_SLACK = 0.98
"""An attempt has had its time when it had this much of it: Envoy's timers are coarse."""


def attempt(line: bytes) -> Attempt | None:
    """The attempt that a line tells of; None if it tells of none.

    Raises:
        ValueError: it is not such a line.
    """
    try:
        told: dict[str, Any] = orjson.loads(line)
        cluster, route = told["cluster"], told["route"]
        if told["try"] != "1" or cluster is None or cluster.startswith(MIRROR):
            return None
        micros = told["us"]
        candidate = cluster.startswith(CANARY)
        return Attempt(
            Arm.CANDIDATE if candidate else Arm.STABLE,
            route["weight"] / WHOLE,
            told["status"] if micros is not None else _broken(told, route["limits"][candidate]),
            micros / 1e6 if micros is not None else told["ms"] / 1e3,
            told["violation"],
            route["forced"],
            route["predicts"],
            told["user"] or "",
            told["id"] or "",
            float(told["at"]),
            int(route["generation"]),
        )
    except (KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise ValueError(f"no line of an attempt: {line[:200]!r}") from error


def _broken(told: dict[str, Any], limit: float) -> int:
    """The status of an attempt of which no whole answer came.

    A failed answer is not read to its end, so its status counts. Without an answer Envoy's flags say what
    went wrong; there are none when the caller left, nor when the attempt's time was over.
    """
    flags, status = told["flags"], int(told["status"])
    if told["ms"] >= limit * _SLACK:
        return 0
    if flags == "-":
        return status or LEFT
    return LEFT if "DC" in flags else 0
