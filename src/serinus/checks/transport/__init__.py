"""The layer ``transport``: the way to the service and back, HTTP as it stands on the wire.

``wire`` sends what no HTTP client would send; ``endpoint`` says what may be expected of whom: Serinus' own
server in front of a contract promises each status, any other only what HTTP itself promises.
"""

from __future__ import annotations

from serinus.checks import Check
from serinus.checks.transport.clients import cut_off, slow
from serinus.checks.transport.connections import chunked, head, keep_alive
from serinus.checks.transport.drain import drain
from serinus.checks.transport.leaks import leaks
from serinus.checks.transport.refusals import content_type, fields, malformed, method, oversize
from serinus.checks.transport.starts import ready, route, unchanged

CHECKS: tuple[Check, ...] = (
    *(ready, route, unchanged),
    *(method, content_type, malformed, fields, oversize, leaks),
    *(head, keep_alive, chunked, slow, cut_off, drain),
)
"""Its checks, in the order in which reports show them."""
