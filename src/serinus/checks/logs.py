"""What the log of a replica says of one failed answer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from serinus.image import WORKDIR

_FRAME = re.compile(rf'File "{WORKDIR}/([^"]+)", line (\d+)')
_LONGEST = 300


def reason(log: bytes, identity: str) -> str:
    """Why an answer failed: the exception, and the last line of the service's own code that it went through.

    Args:
        log: what the replica wrote, JSON lines among it.
        identity: the member ``id`` of the problem details.

    Returns:
        ``ValueError: boo, at service.py:17``; empty where the log has nothing of it.
    """
    for line in _lines(log):
        if line.get("id") == identity and isinstance(line.get("exception"), str):
            trace: str = line["exception"]
            frames = _FRAME.findall(trace)
            place = f", at {frames[-1][0]}:{frames[-1][1]}" if frames else ""
            return trace.strip().rpartition("\n")[2][:_LONGEST] + place
    return ""


def _lines(log: bytes) -> Iterator[dict[str, Any]]:
    for line in reversed(log.decode("utf-8", "replace").splitlines()):
        try:
            document = json.loads(line)
        except ValueError:
            continue
        if isinstance(document, dict):
            yield document
