"""What is measured, as processes: started on their cores, found ready, weighed, and stopped as a whole."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
CACHE = ROOT / ".cache" / "bench" / "serving"
SHARED = Path(os.environ.get("SERINUS_SHARED", ROOT.parent / "shared"))
HOST = "127.0.0.1"
PATIENCE = 90.0
"""Seconds that a service may take to become ready."""
_PAUSE = 0.002
_HERTZ = os.sysconf("SC_CLK_TCK")


class CannotMeasureError(Exception):
    """Something that the benchmark needs is missing, or did not do what it must; the message says what."""


@dataclass(frozen=True)
class Cores:
    """Where the service runs, and where the load comes from."""

    service: tuple[int, ...]
    load: tuple[int, ...]

    def __str__(self) -> str:
        return f"service on {_numbers(self.service)}, load on {_numbers(self.load)}"


def _numbers(cores: Sequence[int]) -> str:
    return f"core{'s' * (len(cores) > 1)} {', '.join(map(str, cores))}"


def layout(service: int) -> Cores:
    """As many cores for the service; the load has others where there are two more, else it shares them."""
    there = tuple(sorted(os.sched_getaffinity(0)))
    if len(there) < service + 2:
        return Cores(there[:service], there[:service])
    return Cores(there[:service], there[service:])


def apart() -> Cores:
    """One core for the service and the rest for the load: neither takes the other's time.

    Raises:
        CannotMeasureError: there is one core alone.
    """
    first, *rest = sorted(os.sched_getaffinity(0))
    if not rest:
        raise CannotMeasureError("this needs two cores, and there is one")
    return Cores((first,), tuple(rest))


@dataclass(frozen=True)
class Command:
    """How a service is started. ``{port}`` in words and values is the port that it gets.

    ``{second}`` and ``{third}`` are ports for what it opens beside that.
    """

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)

    def at(self, port: int) -> Command:
        """The command for a port."""
        ports = {"{port}": port, "{second}": free_port(), "{third}": free_port()}

        def filled(text: str) -> str:
            for name, number in ports.items():
                text = text.replace(name, str(number))
            return text

        argv = tuple(map(filled, self.argv))
        return Command(argv, self.cwd, {name: filled(value) for name, value in self.env.items()})


@dataclass(frozen=True)
class Started:
    """A service that runs."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    begin: float
    """When it was started, by :func:`time.monotonic`."""

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def pids(self, without: str = "") -> list[int]:
        """The processes of the service, but none whose command line holds ``without``."""
        return [pid for pid in family(self.process.pid) if not without or without not in command_line(pid)]

    def tail(self) -> str:
        return self.log.read_text("utf-8", "replace")[-2000:]


@contextmanager
def running(command: Command, cores: Sequence[int], name: str) -> Iterator[Started]:
    """Run a service on these cores until the end of the block; its output goes to a file."""
    port = free_port()
    at = command.at(port)
    log = CACHE / "logs" / f"{name.replace(' ', '-').replace('/', '-')}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    # Whatever becomes of this program, what it started is told to end.
    words = ("setpriv", "--pdeathsig", "TERM", "taskset", "-c", ",".join(map(str, cores)), *at.argv)
    with log.open("wb") as output:
        begin = time.monotonic()
        process = subprocess.Popen(
            words,
            cwd=at.cwd,
            env=clean_environment() | dict(at.env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield Started(process, port, log, begin)
    finally:
        stop(process)


def clean_environment() -> dict[str, str]:
    """Our own environment without what would change how Python, a server or a thread pool behaves."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "SERINUS_CACHE", "UV_CACHE_DIR")
    return {name: value for name, value in os.environ.items() if name in kept}


def stop(process: subprocess.Popen[bytes], grace: float = 15.0) -> None:
    """SIGTERM, then SIGKILL for what is left: the process, and all that it started in any session."""
    everyone = family(process.pid)
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for pid in everyone:
        if pid != process.pid and _parent(pid) is not None:
            _wait_gone(pid, 2.0)


def _wait_gone(pid: int, seconds: float) -> None:
    """Wait for a process that lost its parent, and kill it when it does not end by itself."""
    started = _started_at(pid)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if _started_at(pid) != started or started is None:
            return
        time.sleep(0.02)
    if _started_at(pid) == started:
        os.kill(pid, signal.SIGKILL)


def free_port() -> int:
    """A port of loopback on which nobody listens."""
    with socket.create_server((HOST, 0)) as free:
        return int(free.getsockname()[1])


# --------------------------------------------------------------------------------------------- asking


@dataclass(frozen=True)
class Answered:
    """What came back."""

    status: int
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def post(port: int, path: str, body: bytes, timeout: float = 30.0) -> Answered:
    """One prediction over a connection of its own.

    Raises:
        OSError: nobody answers; so does ``HTTPException``.
    """
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout)
    try:
        connection.request("POST", path, body, {"content-type": "application/json"})
        response = connection.getresponse()
        return Answered(response.status, response.read())
    finally:
        connection.close()


def get(port: int, path: str) -> int:
    """The status of a GET; 0 when nobody answers."""
    connection = http.client.HTTPConnection(HOST, port, timeout=10.0)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def first_answer(started: Started, path: str, body: bytes, patience: float = PATIENCE) -> float:
    """Ask until the answer is 200; the seconds from the start until then.

    Raises:
        CannotMeasureError: the service ended, or the time is over; with the end of its log.
    """
    last = "no answer"
    while time.monotonic() < started.begin + patience:
        try:
            answered = post(started.port, path, body)
        except (OSError, http.client.HTTPException) as error:
            last = repr(error)
        else:
            if answered.status == 200:
                return time.monotonic() - started.begin
            last = f"{answered.status} {answered.body[:300]!r}"
        if started.process.poll() is not None:
            raise CannotMeasureError(
                f"{started.log.name}: ended with {started.process.returncode}\n{started.tail()}"
            )
        time.sleep(_PAUSE)
    raise CannotMeasureError(f"{started.log.name}: not ready after {patience:g} s: {last}\n{started.tail()}")


def eventually(holds: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until something holds.

    Raises:
        CannotMeasureError: it does not.
    """
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise CannotMeasureError(f"after {seconds:g} s: {what}")
        time.sleep(0.05)


# ------------------------------------------------------------------------------------------- processes


def family(pid: int) -> list[int]:
    """A process and all that it started, and those, and so on."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (parent := _parent(int(entry.name))) is not None:
            children.setdefault(parent, []).append(int(entry.name))
    found, ahead = [pid], [pid]
    while ahead:
        started = children.get(ahead.pop(), [])
        found += started
        ahead += started
    return found


def _stat(path: Path) -> list[str]:
    """The fields of a ``stat`` file after the command's name (``proc(5)``); none when the process is gone."""
    try:
        return path.read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _parent(pid: int) -> int | None:
    fields = _stat(Path(f"/proc/{pid}/stat"))
    return int(fields[1]) if fields and fields[0] != "Z" else None


def _started_at(pid: int) -> str | None:
    fields = _stat(Path(f"/proc/{pid}/stat"))
    return fields[19] if fields and fields[0] != "Z" else None


def born(pid: int) -> float:
    """When a process was made, by :func:`time.monotonic`, to a hundredth of a second."""
    ticks = float(_started_at(pid) or 0.0) / os.sysconf("SC_CLK_TCK")
    return ticks - (time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic())


def comm(pid: int) -> str:
    """Of the program that a process runs, its first 15 letters."""
    return Path(f"/proc/{pid}/comm").read_text("utf-8", "replace").strip()


def command_line(pid: int) -> str:
    """The words of a process, blank between them; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").replace("\0", " ")
    except OSError:
        return ""


def cpu(pids: Sequence[int]) -> float:
    """Seconds of processor time that processes have taken."""
    fields = [_stat(Path(f"/proc/{pid}/stat")) for pid in pids]
    return sum(int(one[11]) + int(one[12]) for one in fields if one) / _HERTZ


def threads(pid: int) -> dict[int, float]:
    """Thread -> seconds of processor time."""
    tasks = Path(f"/proc/{pid}/task")
    found = {int(task.name): _stat(task / "stat") for task in tasks.iterdir()}
    return {number: (int(one[11]) + int(one[12])) / _HERTZ for number, one in found.items() if one}


def proportional(pids: Sequence[int]) -> float:
    """Megabytes (of 10^6 bytes) of processes, shared pages divided by those who share them."""
    return sum(_kib(pid, "Pss") for pid in pids) * 1024 / 1e6


def memory(pids: Sequence[int]) -> float:
    """Megabytes of processes that belong together: their private pages, and the shared ones once.

    Not the proportional size: what strangers share (the same Python runs this benchmark) would make a
    service look small. Of one process it is the resident size.
    """
    private = sum(_kib(pid, "Private_Clean", "Private_Dirty") for pid in pids)
    shared = max((_kib(pid, "Shared_Clean", "Shared_Dirty") for pid in pids), default=0)
    return (private + shared) * 1024 / 1e6


def _kib(pid: int, *members: str) -> int:
    """The sum of members of ``smaps_rollup`` (``proc(5)``); nothing when the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.partition(":")[0] in members)


def python() -> str:
    """The Python that runs the benchmark, with Serinus in it."""
    return sys.executable


def system_python() -> str:
    """Debian's Python, which images have on their default base, for the peers: builds differ by a quarter.

    Where there is none as new as Serinus needs, the one that runs the benchmark.
    """
    words = [_DEBIANS, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
    there = Path(_DEBIANS).exists() and subprocess.run(words, check=False).returncode == 0
    return _DEBIANS if there else sys.executable


_DEBIANS = "/usr/bin/python3"
