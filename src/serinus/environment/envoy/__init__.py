"""The router: Envoy, told what to do by files, and its record of attempts.

The flow, and the module that serves each stage::

    config     a routing -> ``clusters`` and ``routes``                             (all pure)
    bootstrap  what does not change while Envoy runs: the listener, filters, logs   (pure)
    lines      one line of Envoy's log of attempts -> an attempt                    (pure)
    record     the attempts, read bit by bit
    files      the folder: documents, and logs that are kept short
    admin      asks Envoy what is in force
    process    one Envoy that outlives whoever started it
    router     Envoy, a :class:`~serinus.rollout.Router`

Everything lies in one folder, so whoever comes next finds the routing, the process and the record.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """What an environment fixes for its router; a change of these restarts Envoy."""

    host: str = "127.0.0.1"
    """Address of the public listener."""
    port: int = 8080
    """Its port."""
    max_body: int = 16 << 20
    """Bytes that a request may have; more is answered 413. A request is held until it is whole, so that it
    can be asked twice and a slow sender counts against no version."""
    max_answer: int = 64 << 20
    """Bytes up to which an answer is held until it is whole, so that a broken one can be replaced."""
    rescues: int = 1024
    """Rescues that may be under way at once: beyond them a failed answer of the candidate goes to the caller,
    so that a candidate that breaks down does not take stable with it."""
    requests: int = 4096
    """Requests and connections that one version may have at once; beyond them callers are answered 503."""
    workers: int = 2
    """Threads that serve."""


DEFAULTS = Settings()
