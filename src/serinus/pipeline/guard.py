"""What a killed run leaves behind is cleared away: its processes, and outputs that are not whole.

A run starts a guard, a process of its own that does nothing until the run ends. If the run says good-bye, the
guard goes too. If it is killed, its end of the pipe closes, and the guard clears away at once. If both are
killed, the next run of the pipeline does it: :func:`clear_away` is the same for both.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import serinus
from serinus.errors import PipelineBusy, PipelineError
from serinus.files import TEMPORARY
from serinus.pipeline.plan import Outcome
from serinus.pipeline.record import Record
from serinus.pipeline.store import remove

FOLDER = Path(".serinus") / "pipeline"
"""Where what pipelines keep lies, below the project's folder."""
_PATIENCE = 10.0
"""Seconds that a guard may take, and that processes may take to be gone after a kill."""


@contextmanager
def held(root: Path, pipeline: str, run: str = "", *, guard: bool = False) -> Iterator[int]:
    """Be the only one that runs this pipeline of this project; the kernel lets go when the process ends.

    Args:
        root: the project's folder.
        pipeline: its name.
        run: the run, for others to be told.
        guard: whether this is a guard, for which others wait.

    Yields:
        The descriptor on which the lock is; :func:`tell` says more by it.

    Raises:
        PipelineBusy: another process runs it.
    """
    path = root / FOLDER / f"{pipeline}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _lock(handle, path, pipeline, guard=guard)
        tell(handle, run, guard=guard)
        yield handle
    finally:
        os.close(handle)


def _lock(handle: int, path: Path, pipeline: str, *, guard: bool) -> None:
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = _other(handle)
            # Guards are quick. And a guard may hear of a kill before the kernel has let go of the lock.
            if (guard or other.get("guard")) and time.monotonic() < until:
                time.sleep(0.05)
                continue
            raise PipelineBusy(
                f"the pipeline {pipeline} runs already: {other.get('run') or 'a run'}, process "
                f"{other.get('pid', 'unknown')}, holds {path}",
                "Wait for its end, or stop that process.",
            ) from None
        return


def _other(handle: int) -> dict[str, object]:
    with suppress(OSError, ValueError):
        found = json.loads(os.pread(handle, 4096, 0))
        if isinstance(found, dict):
            return found
    return {}


def tell(handle: int, run: str, *, guard: bool = False) -> None:
    """Say who holds a lock."""
    text = json.dumps({"run": run, "pid": os.getpid(), "guard": guard}).encode()
    os.ftruncate(handle, 0)
    os.pwrite(handle, text, 0)


def clear_away(root: Path, pipeline: str, record: Record) -> list[str]:
    """Clear away what killed runs of a pipeline left; whoever calls this holds its lock.

    Returns:
        The runs that were killed.
    """
    killed = [row.id for row in record.open_runs(pipeline)]
    mine = [(run, step, outputs) for run, step, outputs in record.making() if _is_of(run, pipeline)]
    if mine or killed:
        _kill(root, [(run, step) for run, step, _ in mine])
    for run, step, outputs in mine:
        for output in outputs:
            remove(root / output)
        record.give_up(run, step)
    if mine and (making := root / FOLDER / "store/making").is_dir():
        for path in making.glob(f"{TEMPORARY}*"):
            remove(path)
    for run in killed:
        record.end_run(run, Outcome.KILLED)
    return killed


def _is_of(run: str, pipeline: str) -> bool:
    name, _, number = run.rpartition("-")
    return name == pipeline and number.isdecimal()


def _kill(root: Path, steps: list[tuple[str, str]]) -> None:
    """Kill every process that was started for one of these steps, and wait until all are gone."""
    until = time.monotonic() + _PATIENCE
    while (found := list(_processes(root, steps))) and time.monotonic() < until:
        for process in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.01)


def _processes(root: Path, steps: list[tuple[str, str]]) -> Iterator[int]:
    """The processes of these steps: children inherit the variables that say whose they are."""
    wanted = [
        {
            f"SERINUS_RUN={run}".encode(),
            f"SERINUS_STEP={step}".encode(),
            b"SERINUS_PROJECT=" + os.fsencode(root),
        }
        for run, step in steps
    ]
    for entry in Path("/proc").iterdir() if wanted else ():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            variables = set((entry / "environ").read_bytes().split(b"\0"))
            if any(one <= variables for one in wanted):
                yield int(entry.name)


class Guard:
    """The guard of a run, as the run sees it.

    Args:
        root: the project's folder.
        pipeline: the pipeline.
    """

    def __init__(self, root: Path, pipeline: str) -> None:
        source = str(Path(serinus.__file__).parent.parent)
        code = (
            "import sys; sys.path.insert(0, sys.argv[1]); from serinus.pipeline import guard; guard.watch()"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", code, source, str(root), pipeline],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # No variable of this process: no secret, and nothing that says whose step it is.
            env={"LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )

    def dismiss(self) -> None:
        """Say that the run has ended by itself."""
        with suppress(BrokenPipeError, OSError, subprocess.TimeoutExpired):
            self._process.communicate(b"good-bye", timeout=_PATIENCE)


def watch() -> None:
    """What a guard does: wait for the end of its run, and clear away if that was a kill."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    root, pipeline = Path(sys.argv[2]), sys.argv[3]
    if sys.stdin.buffer.read():
        return
    with (
        suppress(PipelineError),
        held(root, pipeline, guard=True),
    ):  # else a run goes on, and has cleared away
        record = Record(root)
        clear_away(root, pipeline, record)
        record.close()
