"""Several workers: processes that each serve by themselves on the same port, and one above that watches them.

The kernel spreads connections over the workers (``SO_REUSEPORT``). Each worker answers the others on an
abstract Unix socket with its metrics and whether it is ready, so that ``/metrics`` and ``/readyz`` speak for
all of them, whichever is asked.

Not Granian's own process manager: here a worker stops in the same way, and fails to start with the same
message and exit code, as a server with one process.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from serinus.serving.logs import log
from serinus.serving.metrics import merge

TIMEOUT = 2.0
"""Seconds that a worker has to say how it is."""
CRASH_LOOP = 10.0
"""A worker that dies within this many seconds is not started again: everything ends."""


@dataclass(frozen=True, slots=True)
class Worker:
    """One of several workers: its number and how it finds the others."""

    number: int
    count: int
    token: str
    """Common to the workers of one server, and to nobody else."""

    def _name(self, number: int) -> str:
        return f"\0serinus-{self.token}-{number}"

    async def listen(self, state: Callable[[], tuple[str, bool]]) -> asyncio.AbstractServer:
        """Answer the other workers with this one's metrics and readiness."""

        async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            text, ready = state()
            writer.write((b"1" if ready else b"0") + text.encode())
            await writer.drain()
            writer.close()

        return await asyncio.start_unix_server(tell, self._name(self.number))

    async def gather(self, text: str, ready: bool) -> tuple[str, bool]:
        """The metrics of all workers as one text, and whether all of them are ready.

        A worker that cannot be reached counts as not ready.
        """
        others = [self._ask(number) for number in range(self.count) if number != self.number]
        told = await asyncio.gather(*others)
        texts = [text, *(other for other, _ in told if other)]
        return merge(texts), ready and all(well for _, well in told)

    async def _ask(self, number: int) -> tuple[str, bool]:
        try:
            async with asyncio.timeout(TIMEOUT):
                reader, writer = await _connected(self._name(number))
                answer = await reader.read()
                writer.close()
        except (OSError, TimeoutError):
            return "", False
        return answer[1:].decode(), answer[:1] == b"1"


async def _connected(name: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to an abstract Unix socket; uvloop wants it made by hand."""
    own = socket.socket(socket.AF_UNIX)
    try:
        own.setblocking(False)
        await asyncio.get_running_loop().sock_connect(own, name)
        return await asyncio.open_unix_connection(sock=own)
    except BaseException:
        own.close()
        raise


def supervise(count: int, serve: Callable[[Worker], int], clock: Callable[[], float] = time.monotonic) -> int:
    """Run ``count`` workers until a signal, and start those again that die.

    Args:
        count: how many.
        serve: what a worker does, in a process of its own; returns its exit code.
        clock: seconds.

    Returns:
        The largest exit code of the workers; 1 when one died at once, however it did.
    """
    token = os.urandom(8).hex()
    running: dict[int, tuple[int, float]] = {}
    stopping = False

    def stop(number: int = signal.SIGTERM, frame: object = None) -> None:
        nonlocal stopping
        stopping = True
        for pid in running:
            os.kill(pid, signal.SIGTERM)

    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, stop)
    for number in range(count):
        running[_fork(serve, Worker(number, count, token))] = (number, clock())
    worst = 0
    while running:
        pid, status = os.wait()
        number, since = running.pop(pid)
        code = os.waitstatus_to_exitcode(status)
        if stopping:
            worst = max(worst, 1 if code < 0 else code)
            continue
        log.error("worker %d ended", number, extra={"exit_code": code, "pid": pid})
        if code == 2 or clock() - since < CRASH_LOOP:
            worst = max(worst, code if code > 0 else 1)
            stop()
            continue
        running[_fork(serve, Worker(number, count, token))] = (number, clock())
    return worst


def _fork(serve: Callable[[Worker], int], worker: Worker) -> int:
    """Start a worker; its process id. This process has one thread and never another: forking is safe."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, signal.SIG_DFL)
        code = serve(worker)
    except BaseException:  # noqa: BLE001  (whatever it was, the process ends here)
        log.exception("worker %d failed", worker.number)
    finally:
        from serinus.serving.server import leave

        leave(code)
    return 0
