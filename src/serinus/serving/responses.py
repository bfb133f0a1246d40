"""Responses as they go over the wire, decoded to be held to the contract."""

from __future__ import annotations

from typing import Any

import orjson

from serinus.contract import Violation
from serinus.contract.violations import BrokenContract


def decoded(body: bytes) -> Any:
    """The document in a response body.

    Raises:
        BrokenContract: not JSON. ``NaN`` and ``Infinity``, which Python's :mod:`json` writes, are named with
            the pointer of each place; anything else is a fault of the whole document.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BrokenContract(
            _not_finite(body) or [Violation("", f"the response is not JSON: {error}")]
        ) from None


def _not_finite(body: bytes) -> list[Violation]:
    """The places of NaN and Infinity in what Python's own reader takes for JSON."""
    import json

    from serinus.contract.wire import foreign

    try:
        return list(foreign(json.loads(body)))
    except (ValueError, RecursionError):
        return []
