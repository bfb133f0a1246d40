"""One process of a step: started in a group of its own, listened to, and ended with all that it started."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL."""
_LOOK = 0.2
"""Seconds between looks whether a process has ended whose children hold its output open."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended."""

    code: int
    """Its exit code; negative for the signal that ended it."""
    reason: str = ""
    """What went wrong, for a person; empty where nothing did."""


@dataclass(slots=True)
class Group:
    """The process group of a step, which can be ended from another thread."""

    stopped: bool = False
    """Whether :meth:`stop` was called: nothing more is to be started."""
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def stop(self) -> None:
        """Ask all processes of the group to end, and let none be started."""
        self.stopped = True
        self.signal(signal.SIGTERM)

    def signal(self, number: int) -> None:
        """Send a signal to all processes of the group."""
        if self._process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def run(
        self,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        write: Callable[[bytes], None],
        *,
        timeout: float | None = None,
        grace: float = GRACE,
    ) -> Exit:
        """Run a command to its end; whatever it left running in its group is ended too.

        Args:
            command: its words.
            folder: where it runs.
            environment: all variables that it gets.
            write: takes what it prints on either stream, as it comes.
            timeout: seconds that it may take.
            grace: seconds between the request to end and the kill.
        """
        try:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                start_new_session=True,
            )
        except FileNotFoundError:
            return Exit(127, f"there is no program {command[0]!r}")
        except (OSError, ValueError) as error:
            return Exit(126, f"{command[0]!r} cannot be started: {getattr(error, 'strerror', None) or error}")
        self._process = process
        if self.stopped:  # between the question and the start
            self.signal(signal.SIGTERM)
        try:
            late = _listen(process, write, timeout, self, grace)
        finally:
            self.signal(signal.SIGKILL)
            code = process.wait()
            if process.stdout:
                process.stdout.close()
            self._process = None
        return Exit(code, _reason(code, timeout if late else None))


def _reason(code: int, late: float | None) -> str:
    if late is not None:
        return f"it took longer than {late:g} s"
    if code < 0:
        with suppress(ValueError):
            return f"it was ended by {signal.Signals(-code).name}"
    return f"it ended with exit code {code}" if code else ""


def _listen(
    process: subprocess.Popen[bytes],
    write: Callable[[bytes], None],
    timeout: float | None,
    group: Group,
    grace: float,
) -> bool:
    """Hand on what a process prints until it has ended; whether its time was over before."""
    assert process.stdout is not None  # noqa: S101 - it was asked for
    pipe = process.stdout.fileno()
    os.set_blocking(pipe, False)
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    until = time.monotonic() + timeout if timeout is not None else None
    late, killed_at, is_open = False, None, True
    while is_open or process.poll() is None:
        now = time.monotonic()
        if until is not None and now >= until and not late:
            late = True
            group.signal(signal.SIGTERM)
        if (late or group.stopped) and killed_at is None:
            killed_at = now + grace
        if killed_at is not None and now >= killed_at:
            group.signal(signal.SIGKILL)
        if is_open:
            rest = _LOOK if until is None or late else min(_LOOK, max(0.0, until - now))
            ended = process.poll() is not None if not poll.poll(rest * 1000) else False
            is_open = _drain(pipe, write) and not ended
        else:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_LOOK)
    return late


def _drain(pipe: int, write: Callable[[bytes], None]) -> bool:
    """Hand on what is there; whether more can come."""
    try:
        while data := os.read(pipe, 1 << 16):
            write(data)
    except BlockingIOError:
        return True
    return False
