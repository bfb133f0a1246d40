"""Starting what checks look at: replicas of an image, and the service from source."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from serinus.checks import priority
from serinus.checks.subjects import Served, Subject
from serinus.runtimes import Replica, Running, Runtime
from serinus.runtimes.wait import Unfit, ready

Start = Callable[[str], AbstractContextManager[Served]]
"""A name for the replica -> a replica that answers, stopped at the end of the block."""
ADVISORY = {"SERINUS_EXAMPLES": "advisory"}
"""Has a replica answer even if an example is answered wrongly: that ends one check, not all."""

_ports = threading.Lock()
_taken: set[int] = set()


def starter(subject: Subject, runtime: Runtime, route: str, timeout: float) -> Start:
    """What starts replicas of an image.

    Args:
        subject: the image.
        runtime: runs it.
        route: path that answers predictions.
        timeout: seconds within which a replica must be ready.
    """

    @contextmanager
    def start(name: str) -> Iterator[Served]:
        port = free_port()
        running = runtime.start(
            Replica(f"check-{name}-{port}", subject.layout, subject.manifest, port, env=ADVISORY)
        )
        priority.pass_on(running)
        url = f"http://127.0.0.1:{port}"
        try:
            seconds, unfit = waited(url, running, timeout)
            yield Served(url, route, running, seconds, unfit)
        finally:
            running.stop(grace=5.0)

    return start


def waited(url: str, running: Running, timeout: float) -> tuple[float, str]:
    """Wait until a service answers: the seconds, and why it is not ready although it does.

    Raises:
        ServiceError: it ended, or the time is over.
    """
    begin = time.monotonic()
    try:
        return ready(url, running, timeout=timeout), ""
    except Unfit as error:
        return time.monotonic() - begin, error.message


def free_port() -> int:
    """A loopback port that nobody listens on, and that was not given out before by this process."""
    with _ports:
        while True:
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = int(free.getsockname()[1])
            if port not in _taken:
                _taken.add(port)
                return port


class Local:
    """A process of this machine as a :class:`~serinus.runtimes.Running`; what it writes is kept.

    Args:
        argv: the command.
        cwd: where it starts.
        env: its whole environment.
    """

    def __init__(self, argv: tuple[str, ...], cwd: Path, env: Mapping[str, str]) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed when nobody asks for it any more
        weakref.finalize(self, self._log.close)
        self.process = subprocess.Popen(
            argv, cwd=cwd, env=dict(env), stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log
        )

    def wait(self, timeout: float | None = None) -> int | None:
        """The exit code, or None when it still runs after ``timeout`` seconds."""
        with suppress(subprocess.TimeoutExpired):
            return self.process.wait(timeout)
        return None

    def stop(self, grace: float = 30.0) -> int:
        """SIGTERM, and SIGKILL after ``grace`` seconds; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        if (code := self.wait(grace)) is None:
            self.process.kill()
            code = self.process.wait()
        return code

    def logs(self, since: int = 0) -> bytes:
        """What it has written so far, from that byte on."""
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), max(0, size - since), since)
