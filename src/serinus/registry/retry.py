"""When to try again. Pure."""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime

ATTEMPTS = 5
"""Tries of one request, or of one blob without a byte of progress."""
LONGEST = 60.0
"""Seconds: the longest wait a registry may ask for; one that wants more is unavailable."""
_FIRST = 0.5
_CAP = 10.0
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)


def is_transient(status: int) -> bool:
    """Whether a request answered so may succeed when it is sent again."""
    return status in _TRANSIENT


def retry_after(value: str, now: float) -> float | None:
    """Seconds to wait by a ``Retry-After`` header (RFC 9110, section 10.2.3): a number, or a date.

    Args:
        value: of the header; ``""`` where there was none.
        now: seconds since the epoch.

    Returns:
        None when there is nothing to go by; never negative.
    """
    if re.fullmatch(r"[0-9]{1,9}", value.strip()):
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, IndexError):
        return None
    return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now)


def delay(attempt: int, asked: float | None, jitter: float, attempts: int = ATTEMPTS) -> float | None:
    """Seconds to wait before the next try, or None when there is none.

    Args:
        attempt: how many tries there have been, from 1.
        asked: what the server asked for, if it did.
        jitter: from 0 to 1, so that many clients do not come back at once.
        attempts: how many tries there may be.
    """
    if attempt >= attempts:
        return None
    if asked is not None:
        return asked + jitter if asked <= LONGEST else None
    # The exponent is bounded before the power is taken: a long series must not overflow.
    return float(min(_CAP, _FIRST * 2 ** min(attempt - 1, 10))) * (0.5 + 0.5 * jitter)
