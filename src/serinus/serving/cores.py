"""How many cores this process may use, and the thread counts of model runtimes that follow it.

A runtime that counts the host's cores starts too many threads in a container, and its threads then stand in
each other's way until the kernel throttles them all. So does one that uses all cores for each of several
calls at once: they are dealt out to the calls. What counts is the smallest of

- the CPU bandwidth limit of the control group and of each group above it: ``cpu.max`` in version 2, quota and
  period in version 1 (Linux ``Documentation/admin-guide/cgroup-v2.rst`` and ``scheduler/sched-bwc.rst``);
- the CPUs that the process may be scheduled on, which include what a ``cpuset`` leaves of them.

:func:`bandwidth` and :func:`environment` decide, :func:`available` and :func:`apply` read and write.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, MutableMapping
from pathlib import Path, PurePosixPath

_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "RAYON_NUM_THREADS",
)
CORES_VARIABLE = "SERINUS_CORES"
"""The cores that this process may use, for functions that start threads of their own."""
_V1_MOUNTS = ("cpu,cpuacct", "cpuacct,cpu", "cpu")


def bandwidth(quota: str, period: str) -> float | None:
    """The cores that a bandwidth limit allows: ``quota`` microseconds of CPU time in each ``period``.

    Takes the words as they stand in the files of the control group. None means no limit: ``max`` (version 2),
    ``-1`` (version 1), or words that are not the numbers they should be.
    """
    try:
        allowed, every = int(quota), int(period)
    except ValueError:
        return None
    return allowed / every if allowed > 0 and every > 0 else None


def usable(limits: Iterable[float | None], cpus: int) -> int:
    """The whole cores to plan for: the smallest of the limits and the CPUs, rounded up, at least one.

    Rounded up, because a runtime with one thread too few leaves paid time unused on every request, and one
    with a fraction too many is throttled only under full load.
    """
    smallest = min([float(cpus), *(limit for limit in limits if limit is not None)])
    return max(1, math.ceil(smallest))


def each(cores: int, calls: int) -> int:
    """The threads of one call, when so many calls run at once on so many cores: at least 1.

    Rounded down, for a core that two calls want serves neither.
    """
    return max(1, cores // max(1, calls))


def environment(cores: int, calls: int = 1) -> dict[str, str]:
    """The environment variables by which numeric libraries learn how many threads to start for a call.

    Args:
        cores: that this process may use.
        calls: that run at once, and share them.
    """
    threads = each(cores, calls)
    parallel = "true" if threads > 1 else "false"
    counts = {CORES_VARIABLE: str(cores), **dict.fromkeys(_VARIABLES, str(threads))}
    return {**counts, "TOKENIZERS_PARALLELISM": parallel}


def available(root: Path = Path("/"), cpus: int | None = None) -> int:
    """The cores that this process may use, at least 1.

    Args:
        root: where ``proc`` and ``sys`` are.
        cpus: the CPUs that the process may be scheduled on; asked of the kernel when left out.
    """
    return usable(_limits(root), len(os.sched_getaffinity(0)) if cpus is None else cpus)


def apply(environ: MutableMapping[str, str] = os.environ, cores: int | None = None, calls: int = 1) -> int:
    """Set :func:`environment`, leaving alone what is set already; returns the number of cores.

    Must run before the service is imported: most libraries read their variable once, when they are loaded.
    """
    count = available() if cores is None else cores
    for name, value in environment(count, calls).items():
        environ.setdefault(name, value)
    return count


def _limits(root: Path) -> Iterator[float | None]:
    groups = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            for base in (groups, groups / "unified"):
                yield from (_v2(folder) for folder in _ancestry(base, path))
        elif "cpu" in controllers.split(","):
            for base in (groups / mount for mount in _V1_MOUNTS):
                yield from (_v1(folder) for folder in _ancestry(base, path))


def _ancestry(base: Path, path: str) -> Iterator[Path]:
    """The folders of a group and of those above it.

    A container sees its own group as the root of the mount, and ``path`` may then name a folder that only the
    host has: those that are missing count as no limit. ``..`` (a group beside ours) has no folder either.
    """
    relative = PurePosixPath(path.lstrip("/"))
    if ".." not in relative.parts:
        yield from (base / part for part in (relative, *relative.parents))
    else:
        yield base


def _v2(folder: Path) -> float | None:
    quota, _, period = _text(folder / "cpu.max").strip().partition(" ")
    return bandwidth(quota, period)


def _v1(folder: Path) -> float | None:
    return bandwidth(_text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us"))


def _text(path: Path) -> str:
    """The content of a file; nothing where it is missing or may not be read, as in a sandbox."""
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""
