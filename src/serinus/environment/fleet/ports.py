"""Ports for replicas: free ones on loopback, from where the kernel takes none by itself.

The kernel gives connections a port of their own out of ``ip_local_port_range``. A replica's port must not be
among them: whoever asks there before the replica listens may be connected to itself, and holds the port.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Collection
from pathlib import Path

from serinus.errors import RuntimeUnavailable

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_WANTED = 12_000
"""Ports to choose from, where there are as many."""
_PRIVILEGED = 1024
_TRIES = 200


def outside(low: int, high: int) -> range:
    """Ports that the kernel takes none of, below its range or else above it; all of them when it takes all.

    >>> outside(32768, 60999)
    range(20768, 32768)
    >>> outside(1024, 60999)
    range(61000, 65536)
    """
    below = range(max(_PRIVILEGED, low - _WANTED), low)
    above = range(high + 1, 65536)
    widest = max(below, above, key=len)
    return widest or range(_PRIVILEGED, 65536)


def free(taken: Collection[int], choose: random.Random | None = None) -> int:
    """A port that nobody listens on at 127.0.0.1.

    Args:
        taken: given out already.
        choose: draws them.

    Raises:
        RuntimeUnavailable: none was found.
    """
    choose = choose or random.Random()  # noqa: S311 (nobody need not guess it)
    ports = outside(*_kernels())
    for port in (choose.choice(ports) for _ in range(_TRIES)):
        if port not in taken and is_free(port):
            return port
    raise RuntimeUnavailable(
        f"none of {_TRIES} ports tried between {ports.start} and {ports.stop - 1} is free at 127.0.0.1",
        "End what listens there.",
    )


def is_free(port: int) -> bool:
    """Whether one can listen on a port at 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _kernels() -> tuple[int, int]:
    try:
        low, high = map(int, _RANGE.read_text("ascii").split())
    except (OSError, ValueError):
        return 32768, 60999
    return low, high
