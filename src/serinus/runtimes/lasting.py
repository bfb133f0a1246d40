"""Sandboxes that outlive the process that started them, and how the next one finds them.

Each has a folder of its own, ``NAME.RANDOM``, in the folder that they all share::

    replica.json   what it is
    status         written by bubblewrap itself: the process of the sandbox and, at its end, the exit code
    log            what the service writes

The path of that folder stands in bubblewrap's command line, so ``/proc`` tells what runs, whoever was killed
when: the folder is there, whole, before bubblewrap starts; as long as a process bears its path the replica
runs; without one it has ended. No process id is ever written down to be believed later, so none can be
mistaken for that of another process. What bears the path of a folder that is gone is ended.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

from serinus.errors import RuntimeUnavailable
from serinus.files import TEMPORARY, temporary
from serinus.runtimes import Replica, Survivor
from serinus.runtimes.launch import plain
from serinus.runtimes.tails import TailFile

MARK = "serinus.replica"
"""Stands before the folder in the command line: as a variable, which is gone before the service starts."""
UNKNOWN = 137
"""The exit code where none is known, because bubblewrap itself was killed: as of a killed service."""
_SETTLING = 5.0
"""Seconds that the kernel and bubblewrap may take for what takes them milliseconds."""
_PAUSE = 0.005
_LEFT = 3600.0
"""Age in seconds at which a folder that never got its name is dropped: its maker was killed."""


@dataclass(frozen=True, slots=True)
class Record:
    """What ``replica.json`` says."""

    name: str
    environment: str
    version: str
    number: int
    port: int
    labels: Mapping[str, str] = field(hash=False)
    stop_signal: str

    @staticmethod
    def read(folder: Path) -> Record | None:
        """That of a folder; None where there is none."""
        try:
            return Record(**json.loads((folder / "replica.json").read_bytes()))
        except (OSError, ValueError, TypeError):
            return None


class Line(NamedTuple):
    """How bubblewrap is started."""

    before: Sequence[str]
    """Its program, and what is to run that."""
    options: Sequence[str]
    """What it is told; not on its command line, for they hold the service's variables."""
    command: Sequence[str]
    """What runs inside."""


def prepare(state: Path, replica: Replica, stop_signal: str) -> Path:
    """Make the folder of a replica that is to start; what is left under its name makes way.

    Raises:
        RuntimeUnavailable: the folder cannot be written.
    """
    record = Record(
        replica.name,
        replica.environment,
        replica.image.digest,
        replica.number,
        replica.port,
        dict(replica.labels),
        stop_signal,
    )
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        state, name = state.resolve(), plain(replica.name)
        for left in state.iterdir():
            if left.name.rpartition(".")[0] == name:
                clear(left)
        made = temporary(state)
        made.mkdir(mode=0o700)
        (made / "replica.json").write_text(json.dumps(asdict(record)))
        return made.rename(state / f"{name}.{os.urandom(4).hex()}")
    except OSError as error:
        raise RuntimeUnavailable(
            f"replica {replica.name!r} cannot be noted in {state}: {error.strerror or error}",
            "Make room there, or choose another folder for the state.",
        ) from error


def start(folder: Path, line: Line, stop_signal: str, held: int) -> LastingSandbox:
    """Start bubblewrap for a folder that was prepared, and wait until it says which process the sandbox is.

    Args:
        folder: from :func:`prepare`.
        line: what is started.
        stop_signal: ends the service.
        held: a lock that lasts as long as the sandbox.

    Raises:
        RuntimeUnavailable: bubblewrap refused.
    """
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    told = os.memfd_create("options")
    status, log = (os.open(folder / name, append, 0o600) for name in ("status", "log"))
    try:
        os.pwrite(told, b"\0".join(map(os.fsencode, line.options)), 0)
        own = ["--setenv", MARK, str(folder), "--json-status-fd", str(status)]
        own += ["--sync-fd", str(held), "--args", str(told)]
        process = subprocess.Popen(
            [*line.before, *own, "--", *line.command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env={},
            pass_fds=(status, held, told),
            start_new_session=True,
        )
    finally:
        for file in (told, status, log):
            os.close(file)
    running = LastingSandbox(folder, os.pidfd_open(process.pid), stop_signal)
    process.returncode = 0  # from here on it is waited for as the next one would: through its pidfd
    while not _said(folder, "child-pid"):
        if running.wait(_PAUSE) is not None:
            words = running.logs().decode("utf-8", "replace").strip()
            raise RuntimeUnavailable(f"bubblewrap refused: {words}")
    return running


def survivors(state: Path, environment: str) -> tuple[Survivor, ...]:
    """The replicas of an environment that run or have ended, by their folders."""
    if not state.is_dir():
        return ()
    state = state.resolve()
    found = []
    bearing = _bearing(state)
    for folder in sorted(state.iterdir()):
        if folder.name.startswith(TEMPORARY):
            _drop_if_old(folder)
            continue
        bearers = bearing.pop(folder.name, [])
        record = Record.read(folder)
        if record is None or record.environment != environment:
            continue
        with suppress(FileNotFoundError):  # somebody else cleared it away at this moment
            found.append(_survivor(folder, record, bearers))
    for name in bearing:
        _kill_bearers(state / name)
    return tuple(found)


def _survivor(folder: Path, record: Record, bearers: Sequence[int]) -> Survivor:
    running = LastingSandbox(folder, _opened(_outside(folder, bearers), folder), record.stop_signal)
    return Survivor(
        record.name,
        record.version,
        record.number,
        record.port,
        record.labels,
        running.is_alive(),
        running,
    )


class LastingSandbox:
    """A replica in a sandbox, child or not. Once it has ended its folder is gone, and its log kept open here.

    bubblewrap is two processes: the one outside, which ends with the service and notes its exit code, and
    process 1 inside, with whose end the kernel ends everything in the sandbox.

    Args:
        folder: of the replica.
        outside: a pidfd of the former, which is closed with this; -1 when it has ended.
        stop_signal: ends the service.
    """

    def __init__(self, folder: Path, outside: int, stop_signal: str) -> None:
        self._folder = folder
        self._signal = getattr(signal, stop_signal, signal.SIGTERM)
        self._log = TailFile(folder / "log")
        self._code: int | None = None
        self._lock = threading.Lock()
        self._pidfd = outside
        if outside >= 0:
            weakref.finalize(self, os.close, outside)

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._pidfd >= 0 and not _ends(self._pidfd, 0)

    def wait(self, timeout: float | None = None) -> int | None:
        """The exit code, or None when it still runs after ``timeout`` seconds."""
        if self._code is None:
            if self._pidfd >= 0 and not _ends(self._pidfd, timeout):
                self._log.trim()
                return None
            self._finish()
        return self._code

    def stop(self, grace: float = 30.0) -> int:
        """Its stop signal, and SIGKILL after ``grace`` seconds; the exit code."""
        end = time.monotonic() + _SETTLING
        while self.wait(0) is None:
            if service := children(int(_said(self._folder, "child-pid") or 0)):
                for pid in service:
                    kill(pid, self._signal)
                break
            if time.monotonic() > end:
                break
            time.sleep(_PAUSE)
        if self.wait(grace) is None:
            _kill_bearers(self._folder)
        code = self.wait()
        return UNKNOWN if code is None else code

    def logs(self, since: int = 0) -> bytes:
        """What it has written so far, from that byte on."""
        return self._log.read(since)

    def _finish(self) -> None:
        """Note the exit code, and clear away."""
        with self._lock:
            if self._code is not None:
                return
            if self._pidfd >= 0:
                with suppress(ChildProcessError):
                    os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG)
            code = _said(self._folder, "exit-code")
            clear(self._folder)
            self._code = UNKNOWN if code is None else int(code)


def clear(folder: Path) -> None:
    """End what still bears the path of a replica's folder, and remove the folder."""
    _kill_bearers(folder)
    shutil.rmtree(folder, ignore_errors=True)


def children(parent: int) -> list[int]:
    """The processes whose parent this is, by ``proc(5)``; the file ``children`` is not in every kernel."""
    return [pid for pid in _processes() if parent and _parent(pid) == parent]


def kill(pid: int, number: int) -> None:
    """Send a signal, unless the process is gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _said(folder: Path, word: str) -> int | None:
    """A number that bubblewrap wrote down in ``status``: JSON documents, a line each."""
    try:
        lines = (folder / "status").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        with suppress(ValueError):
            document = json.loads(line)
            if word in document:
                return int(document[word])
    return None


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208


def _parent(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except (OSError, ProcessLookupError):
        return 0
    return int(text.rpartition(")")[2].split()[1])


def _borne(pid: int) -> str:
    """The folder whose path a process of this user bears; empty where it bears none."""
    try:
        place = Path(f"/proc/{pid}/cmdline")
        line = place.read_bytes()
        mark = f"\0--setenv\0{MARK}\0".encode()
        if mark not in line or place.stat().st_uid != os.geteuid():
            return ""
    except (OSError, ProcessLookupError):
        return ""
    return os.fsdecode(line.partition(mark)[2].partition(b"\0")[0])


def _bearing(state: Path) -> dict[str, list[int]]:
    """The processes that bear the path of a folder in ``state``, by its name."""
    found: dict[str, list[int]] = {}
    for pid in _processes():
        path = _borne(pid)
        if path and Path(path).parent == state:
            found.setdefault(Path(path).name, []).append(pid)
    return found


def _outside(folder: Path, bearers: Sequence[int]) -> int:
    """Of bubblewrap's processes the one outside; 0 when it has ended."""
    inside = _said(folder, "child-pid") or 0
    if inside in bearers:
        parent = _parent(inside)
        return parent if parent in bearers else 0
    return next((pid for pid in bearers if _parent(pid) not in bearers), 0)


def _opened(pid: int, folder: Path) -> int:
    """A pidfd of a process that bears a folder's path; -1 when it does not, or has ended."""
    if not pid:
        return -1
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return -1
    # Looked at after it was opened: from now on the number is that of this process alone.
    if _borne(pid) == str(folder):
        return pidfd
    os.close(pidfd)
    return -1


def _ends(pidfd: int, timeout: float | None) -> bool:
    """Whether a process ends within so many seconds."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(None if timeout is None else max(0, round(timeout * 1000))))


def _kill_bearers(folder: Path) -> None:
    """SIGKILL for what bears a folder's path, and wait until it is gone."""
    for pid in _bearing(folder.parent).get(folder.name, ()):
        if (pidfd := _opened(pid, folder)) < 0:
            continue
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        _ends(pidfd, _SETTLING)
        os.close(pidfd)


def _drop_if_old(folder: Path) -> None:
    with suppress(OSError):
        if time.time() - folder.stat().st_mtime > _LEFT:
            shutil.rmtree(folder)
