"""Turning new callers away while those who are connected are still served.

Closing a listening socket resets what stands in its queue: connections that the kernel has completed,
perhaps with a request on them, and that the server has not seen. So before it is closed a filter is put on it
that drops packets with the SYN flag (``socket(7)``, ``SO_ATTACH_FILTER``; classic BPF): the queue empties,
nothing new comes in, and a caller that tries again a second later finds the port closed.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SO_ATTACH_FILTER = 26
_FLAGS, _SYN = 13, 0x02
_DROP, _PASS = 0, 0xFFFFFFFF
_PROGRAM = (
    (0x30, 0, 0, _FLAGS),  # load the byte with the flags of the TCP header
    (0x45, 0, 1, _SYN),  # jump over the next when SYN is not among them
    (0x06, 0, 0, _DROP),
    (0x06, 0, 0, _PASS),
)


def turn_away(port: int) -> bool:
    """Let no new connection come to this process's listening sockets on the port.

    Returns:
        Whether there was one, and the kernel took the filter; without, closing does its best.
    """
    done = False
    for listener in _listening(port):
        done = _filter(listener) or done
    return done


def _filter(listener: socket.socket) -> bool:
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _PROGRAM))
    program = struct.pack("HL", len(_PROGRAM), ctypes.addressof(code))
    try:
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    except OSError:
        return False
    return True


def _listening(port: int) -> Iterator[socket.socket]:
    """The process's listening TCP sockets on a port; Granian keeps its own to itself."""
    try:
        numbers = [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]
    except OSError:  # a sandbox without /proc
        return
    for number in numbers:
        with _opened(number) as found:
            if found is not None and _listens(found, port):
                yield found


@contextmanager
def _opened(number: int) -> Iterator[socket.socket | None]:
    try:
        found = socket.socket(fileno=os.dup(number))
    except OSError:  # no socket, or closed in the meantime
        yield None
        return
    with found:
        yield found


def _listens(found: socket.socket, port: int) -> bool:
    if found.family not in (socket.AF_INET, socket.AF_INET6) or found.type != socket.SOCK_STREAM:
        return False
    if not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return False
    address: tuple[str, int] = found.getsockname()[:2]
    return address[1] == port
