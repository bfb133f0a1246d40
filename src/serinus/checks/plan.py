"""Which job runs next. Pure: a plan takes values and returns values.

A job is a check, or the making of a fixture that checks take. A job is ready when all that it needs is
there. At most one job that measures time runs at once, in a lane of its own; the others share the slots.
What the longest chain of jobs hangs on goes first (list scheduling by critical path: Graham, "Bounds on
Multiprocessing Timing Anomalies", SIAM J. Appl. Math. 17, 1969).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from serinus.errors import ProjectError


@dataclass(frozen=True, slots=True)
class Job:
    """Something to do, and what must have been done before."""

    name: str
    needs: frozenset[str] = frozenset()
    measuring: bool = False
    seconds: float = 1.0
    """About how long it takes."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The jobs of a run, in the order in which they are to be started if several are ready."""

    jobs: Mapping[str, Job] = field(hash=False)

    def ready(self, done: Iterable[str], running: Iterable[str], slots: int) -> tuple[Job, ...]:
        """The jobs to start now.

        Args:
            done: names of those that are over, however they ended.
            running: names of those under way.
            slots: how many that do not measure may run at once.
        """
        over, busy = frozenset(done), frozenset(running)
        free = slots - sum(not self.jobs[name].measuring for name in busy)
        quiet = not any(self.jobs[name].measuring for name in busy)
        start = []
        for job in self.jobs.values():
            if job.name in over or job.name in busy or not job.needs <= over:
                continue
            if job.measuring and quiet:
                quiet = False
                start.append(job)
            elif not job.measuring and free > 0:
                free -= 1
                start.append(job)
        return tuple(start)

    def after(self, name: str) -> frozenset[str]:
        """The jobs that need this one, directly or through others."""
        found: set[str] = set()
        for job in self._by_depth():
            if name in job.needs or job.needs & found:
                found.add(job.name)
        return frozenset(found)

    def _by_depth(self) -> list[Job]:
        return [self.jobs[name] for name in _order(self.jobs)]


def plan(jobs: Sequence[Job]) -> Plan:
    """Order jobs by the longest chain that hangs on each.

    Raises:
        ProjectError: two jobs of one name, a need that is no job, or a circle; it is named.
    """
    known = {job.name: job for job in jobs}
    if len(known) < len(jobs):
        twice = sorted({job.name for job in jobs if sum(other.name == job.name for other in jobs) > 1})
        raise ProjectError(f"there is more than one check called {', '.join(twice)}", "Rename all but one.")
    for job in jobs:
        if missing := sorted(job.needs - known.keys()):
            raise ProjectError(f"{job.name} needs {', '.join(missing)}, which is not among the jobs")
    chain: dict[str, float] = {}
    users: dict[str, list[str]] = {name: [] for name in known}
    order = _order(known)
    for name in order:
        for need in known[name].needs:
            users[need].append(name)
    for name in reversed(order):
        chain[name] = known[name].seconds + max((chain[user] for user in users[name]), default=0.0)
    place = {job.name: number for number, job in enumerate(jobs)}
    return Plan({name: known[name] for name in sorted(known, key=lambda name: (-chain[name], place[name]))})


def _order(jobs: Mapping[str, Job]) -> list[str]:
    """The names, each behind all that it needs."""
    from graphlib import CycleError, TopologicalSorter

    try:
        return list(TopologicalSorter({job.name: sorted(job.needs) for job in jobs.values()}).static_order())
    except CycleError as error:
        raise ProjectError(f"these need each other: {' -> '.join(error.args[1])}") from None
