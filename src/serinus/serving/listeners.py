"""Turning new callers away while those who are connected are still served.

Closing a listening socket resets what stands in its queue: connections that the kernel has completed,
perhaps with a request on them, and that the server has not seen. So before it is closed it is told to take
packets alone that have come over no router (``IP_MINTTL`` of 255, ``ip(7)``; ``IPV6_MINHOPCOUNT``), which are
those of nobody: systems begin with 64 or 128, also on loopback. What opens a connection is dropped, the queue
empties, and a caller that tries again a second later finds the port closed. No privilege is needed (a filter
by ``SO_ATTACH_FILTER`` needs one under recent kernels).
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_IP_MINTTL, _IPV6_MINHOPCOUNT = 21, 73
_NOBODY, _ANYBODY = 255, 0
_ESTABLISHED = 1


def turn_away(port: int) -> bool:
    """Let no new connection come to this process's listening sockets on the port.

    Returns:
        Whether there was one, and the kernel took it; without, closing does its best.
    """
    done = False
    for listener in _listening(port):
        done = _admit(listener, _NOBODY) or done
    return done


def connected(port: int) -> int:
    """How many open connections of callers this process holds on the port; 0 where nobody can tell.

    A connection that was just being opened when callers were turned away has inherited that from its
    listener; it is let in here.
    """
    if not hasattr(socket, "TCP_INFO"):
        return 0
    count = 0
    for found in _sockets():
        if _bound(found, port) and _state(found) == _ESTABLISHED:
            _admit(found, _ANYBODY)
            count += 1
    return count


def _admit(found: socket.socket, least: int) -> bool:
    """Take only packets whose time to live is at least so much; whether the kernel does."""
    level, option = socket.IPPROTO_IP, _IP_MINTTL
    if found.family == socket.AF_INET6:
        level, option = socket.IPPROTO_IPV6, _IPV6_MINHOPCOUNT
    try:
        found.setsockopt(level, option, least)
    except OSError:
        return False
    return True


def _listening(port: int) -> Iterator[socket.socket]:
    """The process's listening TCP sockets on a port; Granian keeps its own to itself."""
    return (found for found in _sockets() if _bound(found, port) and _listens(found))


def _sockets() -> Iterator[socket.socket]:
    """The process's sockets, one after the other, each for as long as it is looked at."""
    try:
        numbers = [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]
    except OSError:  # a sandbox without /proc
        return
    for number in numbers:
        with _opened(number) as found:
            if found is not None:
                yield found


@contextmanager
def _opened(number: int) -> Iterator[socket.socket | None]:
    try:
        own = os.dup(number) if stat.S_ISSOCK(os.fstat(number).st_mode) else None
    except OSError:  # closed in the meantime
        own = None
    if own is None:
        yield None
        return
    with socket.socket(fileno=own) as found:
        yield found


def _bound(found: socket.socket, port: int) -> bool:
    if found.family not in (socket.AF_INET, socket.AF_INET6) or found.type != socket.SOCK_STREAM:
        return False
    try:
        address: tuple[str, int] = found.getsockname()[:2]
    except OSError:
        return False
    return address[1] == port


def _state(found: socket.socket) -> int:
    """The state of a TCP connection, the first byte of ``struct tcp_info`` (``tcp(7)``)."""
    return found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]


def _listens(found: socket.socket) -> bool:
    return bool(found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
