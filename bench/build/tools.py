"""Running commands, measuring them, and saying on what machine."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Environment = Mapping[str, str]
_PROBE = "serinus-bench-probe"


class CannotMeasureError(Exception):
    """A command that the benchmark needs failed; its output is the message."""


def run(command: Sequence[str | Path], *, cwd: Path | None = None, env: Environment | None = None) -> str:
    """Run a command to its end and give back its standard output.

    Raises:
        CannotMeasureError: it is missing, or its exit code is not 0.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise CannotMeasureError(str(error)) from None
    if done.returncode != 0:
        raise CannotMeasureError(
            f"{' '.join(words[:4])} ...: exit code {done.returncode}\n{done.stdout}{done.stderr}"[-4000:]
        )
    return done.stdout


def timed(act: Callable[[], object]) -> float:
    """Seconds of wall-clock time. What earlier steps wrote is on the disk before the clock starts."""
    os.sync()
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin


@dataclass(frozen=True)
class Sample:
    """Several measurements of the same thing, in seconds."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def __str__(self) -> str:
        return f"{self.median:.2f} s ({min(self.seconds):.2f} to {max(self.seconds):.2f})"

    def to_json(self) -> dict[str, object]:
        return {"median": self.median, "seconds": list(self.seconds)}


def serinus() -> Path:
    """The `serinus` program that belongs to this Python, as the user has it."""
    program = Path(sys.executable).with_name("serinus")
    if not program.is_file():
        raise CannotMeasureError(f"{program} is not there: pip install . into this Python first")
    return program


def uv() -> str:
    """The `uv` program of the package."""
    from uv import find_uv_bin

    return find_uv_bin()


def machine(dockers: Mapping[str, str]) -> dict[str, str]:
    """What the figures were measured on; ``dockers`` are the programs by the builder they stand for."""
    form = "{{.Client.Version}}, daemon {{.Server.Version}}"
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "serinus": run([serinus(), "--version"]).split()[-1],
        "uv": run([uv(), "--version"]).split()[1],
        **{name: "client " + run([p, "version", "--format", form]).strip() for name, p in dockers.items()},
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def builders(work: Path) -> list[tuple[str, str, dict[str, str]]]:
    """Docker's builders here, as (name, program, environment): plain `docker build` first, then BuildKit.

    Where BuildKit is what plain `docker build` uses, it is the only one.

    Raises:
        CannotMeasureError: no Docker client builds anything.
    """
    context = work / "probe"
    context.mkdir(exist_ok=True)
    (context / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    programs = _programs("docker")
    if not programs:
        raise CannotMeasureError("there is no docker program")
    words = ["build", "-t", _PROBE, str(context)]
    try:
        # The classic builder says what it sends; BuildKit writes to the other stream.
        classic = "Sending build context" in run([programs[0], *words])
        found = [("docker build" if classic else "docker build, BuildKit", programs[0], dict[str, str]())]
        for program in programs if classic else []:
            with contextlib.suppress(CannotMeasureError):
                run([program, *words], env={"DOCKER_BUILDKIT": "1"})
                return [*found, ("docker build, BuildKit", program, {"DOCKER_BUILDKIT": "1"})]
        return found
    finally:
        run([programs[0], "rmi", "--force", _PROBE])


def _programs(name: str) -> list[str]:
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    there = (shutil.which(name, path=folder) for folder in folders)
    return list(dict.fromkeys(os.path.realpath(path) for path in there if path))
