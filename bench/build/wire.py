"""A local registry, and how many bytes go to it."""

from __future__ import annotations

import contextlib
import shutil
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tools import CannotMeasureError


@contextlib.contextmanager
def registry(work: Path) -> Iterator[int]:
    """Debian's `docker-registry` on a free loopback port, with an empty store.

    Raises:
        CannotMeasureError: the program is missing or does not start.
    """
    if not shutil.which("docker-registry"):
        raise CannotMeasureError("docker-registry is missing: apt-get install docker-registry")
    port = free_port()
    shutil.rmtree(work / "registry", ignore_errors=True)
    config = work / "registry.yml"
    store = work / "registry"
    lines = [
        "version: 0.1",
        "log: {level: error}",
        f"storage: {{filesystem: {{rootdirectory: {store}}}}}",
        f"http: {{addr: '127.0.0.1:{port}'}}",
    ]
    config.write_text("\n".join(lines) + "\n")
    log = (work / "registry.log").open("wb")
    with log, subprocess.Popen(["docker-registry", "serve", str(config)], stdout=log, stderr=log) as process:
        try:
            _wait(port)
            yield port
        finally:
            process.terminate()


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _wait(port: int) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise CannotMeasureError(
        "docker-registry does not listen after 10 s; see registry.log in the working folder"
    )


class Meter:
    """A TCP relay on loopback that counts what is sent to its target."""

    def __init__(self, target: int) -> None:
        self.sent = 0
        self._lock = threading.Lock()
        meter = self

        class Relay(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with socket.create_connection(("127.0.0.1", target)) as far:
                    back = threading.Thread(target=_pump, args=(far, self.request, lambda n: None))
                    back.start()
                    _pump(self.request, far, meter._add)
                    back.join()

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Relay)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _add(self, count: int) -> None:
        with self._lock:
            self.sent += count

    def take(self) -> int:
        """The bytes since the last time."""
        with self._lock:
            sent, self.sent = self.sent, 0
        return sent


def _pump(source: socket.socket, target: socket.socket, count: Callable[[int], None]) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
            count(len(data))
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
