"""Replicas in containers: one that ends with its starter, and one that lasts."""

from __future__ import annotations

import json
import subprocess
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Protocol

from serinus.errors import RuntimeUnavailable
from serinus.runtimes.following import Follow
from serinus.runtimes.tails import Ring

COMMAND_TIMEOUT = 600.0
"""Seconds that an engine may take for one command: starting a first container can take long, for ever not."""
_KILLED = 137
_LINES = "10000"
"""Lines that a log begins with when one begins to read it."""
_FIRST = 0.5
"""Seconds that whoever asks for a log first waits for its beginning."""
_AGAIN = 1.0
"""Seconds after which an engine that did not answer is asked again."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that ended."""

    code: int
    out: str
    err: str


def words(done: Ran) -> str:
    """The last lines that a command wrote."""
    lines = [line.strip() for line in (done.err or done.out).splitlines() if line.strip()]
    return " ".join(lines[-3:]) or f"exit code {done.code}"


class Commands(Protocol):
    """What a container needs of its engine."""

    @property
    def command(self) -> tuple[str, ...]:
        """The program and its global arguments."""
        ...

    @property
    def follow(self) -> Follow:
        """Runs what is to be read while it runs."""
        ...

    def call(self, *arguments: str, timeout: float | None = COMMAND_TIMEOUT) -> Ran:
        """Run one command to its end."""
        ...


class Container:
    """A replica in a container. Once it has ended its container is gone, and its log kept here."""

    def __init__(self, engine: Commands, identity: str) -> None:
        self._engine = engine
        self._id = identity
        self._code: int | None = None
        self._log = b""
        self._removal = weakref.finalize(self, engine.call, "rm", "--force", "--volumes", identity)

    def wait(self, timeout: float | None = None) -> int | None:
        """The exit code, or None when it still runs after ``timeout`` seconds."""
        if self._code is not None:
            return self._code
        running, code = self._state()
        if running and timeout != 0:
            try:
                self._engine.call("wait", self._id, timeout=timeout)
            except subprocess.TimeoutExpired:
                return None
            running, code = self._state()
        return None if running else self._end(code)

    def stop(self, grace: float = 30.0) -> int:
        """Its stop signal, and SIGKILL after ``grace`` seconds; the exit code."""
        if self._code is not None:
            return self._code
        _stop(self._engine, self._id, grace)
        return self._end(self._state()[1])

    def logs(self, since: int = 0) -> bytes:
        """What it has written so far from that byte on, standard output before standard error."""
        if self._code is None:
            done = self._engine.call("logs", self._id)
            return (done.out + done.err).encode()[since:]
        return self._log[since:]

    def _state(self) -> tuple[bool, int]:
        done = self._engine.call("inspect", "--format", "{{json .State}}", self._id)
        if done.code != 0:
            return False, _KILLED  # somebody else removed it
        state = json.loads(done.out)
        return bool(state["Running"]), int(state["ExitCode"])

    def _end(self, code: int) -> int:
        self._log = self.logs()
        self._code = code
        self._removal()
        return code


class LastingContainer:
    """A replica in a container that stays when its starter ends. Once it has ended its container is removed.

    Its end is waited for by a command of the engine that runs all the while (``docker wait``), and its log is
    read by another from the first call of :meth:`logs` on: nothing is asked again and again.

    Args:
        engine: that has it.
        identity: of the container.
        ended: whether it is known to have ended.
    """

    def __init__(self, engine: Commands, identity: str, *, ended: bool = False) -> None:
        self._engine = engine
        self._id = identity
        self._log = _Log(engine, identity)
        self._end = _End(engine, identity, self._log)
        self._ended = ended
        weakref.finalize(self, self._end.let_go)
        weakref.finalize(self, self._log.let_go)

    def wait(self, timeout: float | None = None) -> int | None:
        """The exit code, or None when it still runs after ``timeout`` seconds."""
        self._end.watch(self._ended)
        self._end.told.wait(timeout)
        return self._end.code

    def stop(self, grace: float = 30.0) -> int:
        """Its stop signal, and SIGKILL after ``grace`` seconds; the exit code.

        Raises:
            RuntimeUnavailable: the engine did not stop it.
        """
        if not self._ended and not self._end.told.is_set():
            done = _stop(self._engine, self._id, grace)
            if done.code != 0 and not isinstance(_state(self._engine, self._id), int):
                raise RuntimeUnavailable(
                    f"container {self._id[:12]} was not stopped: {words(done)}", "Stop it by hand."
                )
            self._ended = True
        self._end.watch(self._ended)
        self._end.told.wait()
        return _KILLED if self._end.code is None else self._end.code

    def logs(self, since: int = 0) -> bytes:
        """What it has written so far; its newest words may be missing for a moment while it runs."""
        if not self._end.told.is_set():
            self._log.read_along()
        return self._log.read(since)


def _stop(engine: Commands, identity: str, grace: float) -> Ran:
    seconds = str(max(0, round(grace)))
    return engine.call("stop", "--time", seconds, identity, timeout=grace + COMMAND_TIMEOUT)


def _state(engine: Commands, identity: str) -> int | Literal["running"] | None:
    """Whether it runs, or its exit code; None when the engine does not say."""
    done = engine.call("inspect", "--format", "{{json .State}}", identity)
    if done.code == 0:
        state = json.loads(done.out)
        return "running" if state["Running"] else int(state["ExitCode"])
    return _KILLED if "no such" in done.err.lower() else None


class _End:
    """Notices that a container has ended, and clears it away. It knows nothing of who waits for it."""

    def __init__(self, engine: Commands, identity: str, log: _Log) -> None:
        self.told = threading.Event()
        self.code: int | None = None
        self._engine = engine
        self._id = identity
        self._log = log
        self._lock = threading.Lock()
        self._stop: Callable[[], object] | None = None
        self._let_go = False
        self._clearing = False

    def watch(self, ended: bool) -> None:
        """Begin to wait for its end, unless that is done already; clear it away at once if it has ended."""
        with self._lock:
            if ended and not self._clearing:
                self._clearing = True
                threading.Thread(target=self._look, name=f"clear {self._id[:12]}", daemon=True).start()
            elif self._stop is None and not self._clearing:
                self._stop = self._engine.follow((*self._engine.command, "wait", self._id), self._heard)

    def let_go(self) -> None:
        """Stop waiting."""
        self._let_go = True
        if self._stop is not None:
            self._stop()

    def _heard(self, piece: bytes) -> None:
        if not piece and not self._let_go:
            self._look()

    def _look(self) -> None:
        while not self._let_go and not self.told.is_set():
            with suppress(RuntimeUnavailable, subprocess.TimeoutExpired):
                state = _state(self._engine, self._id)
                if state == "running" and not self._clearing:
                    # The command ended and the container did not: the engine was restarted.
                    self._stop = self._engine.follow((*self._engine.command, "wait", self._id), self._heard)
                    return
                if isinstance(state, int):
                    self._clear(state)
                    return
            time.sleep(_AGAIN)

    def _clear(self, code: int) -> None:
        with self._lock:
            if self.told.is_set():
                return
            self._log.finish()
            self._engine.call("rm", "--force", "--volumes", self._id)
            self.code = code
            self.told.set()


class _Log:
    """The log of a container, read along from the moment that somebody asks for it."""

    def __init__(self, engine: Commands, identity: str) -> None:
        self._engine = engine
        self._id = identity
        self._ring = Ring()
        self._lock = threading.Lock()
        self._stop: Callable[[], object] | None = None
        self._heard_first, self._over = threading.Event(), threading.Event()
        self._let_go = False

    def read(self, since: int) -> bytes:
        with self._lock:
            return self._ring.read(since)

    def read_along(self) -> None:
        """Begin to read; returns when there is something, or soon after."""
        with self._lock:
            if self._stop is not None:
                return
            self._stop = self._begin("--tail", _LINES)
        self._heard_first.wait(_FIRST)

    def finish(self) -> None:
        """Take the rest of the log of a container that has ended."""
        with self._lock:
            read = self._stop is not None
        if read:
            self._over.wait(_AGAIN)
            self.let_go()
            return
        done = self._engine.call("logs", "--tail", _LINES, self._id)
        with self._lock:
            self._ring.append((done.out + done.err).encode())

    def let_go(self) -> None:
        self._let_go = True
        if self._stop is not None:
            self._stop()

    def _begin(self, *where: str) -> Callable[[], object]:
        argv = (*self._engine.command, "logs", "--follow", *where, self._id)
        return self._engine.follow(argv, self._heard)

    def _heard(self, piece: bytes) -> None:
        with self._lock:
            self._ring.append(piece)
        self._heard_first.set()
        if piece or self._let_go:
            return
        ended = datetime.now(UTC).isoformat()
        with suppress(RuntimeUnavailable, subprocess.TimeoutExpired):
            if _state(self._engine, self._id) == "running":  # the engine was restarted
                time.sleep(_AGAIN)
                self._stop = self._begin("--since", ended)
                return
        self._over.set()
