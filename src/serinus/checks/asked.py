"""Asking a service many requests: a fault is an answer too."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from serinus.checks.subjects import Answered, Service
from serinus.errors import SerinusError

AGAIN = 12
"""So many requests are asked more than once."""
ROUNDS = 3
"""How often."""


def ask(service: Service, requests: Sequence[Any], at_once: int = 8) -> tuple[Answered, ...]:
    """Put requests to a service, some at a time; a fault is an answer too."""
    from serinus.checks import priority

    with ThreadPoolExecutor(at_once, initializer=priority.give_way) as pool:
        return tuple(pool.map(lambda request: answered(service, request), requests))


def answered(service: Service, request: Any) -> Answered:
    """What a service answers to one request; a fault is an answer too."""
    try:
        return Answered(service(request))
    except (SerinusError, OSError) as error:
        return Answered(fault=str(error))
    except Exception as error:  # noqa: BLE001 - httpx has a tree of errors of its own
        return Answered(fault=f"{type(error).__name__}: {error}")
