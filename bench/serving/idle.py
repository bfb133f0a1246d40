"""Part 6: what a replica of the small model costs that does nothing, and how long it takes to start."""

from __future__ import annotations

import sys
import time

from closed import OURS, Settings
from peers import Service, granian, granian_embedded, serinus
from report import Claim, Part, Ratio, Table, median
from stand import Started, born, comm, first_answer, layout, memory, proportional, running
from tasks import small

from serinus.serving.talkers import NAME

MORE, TIMES = 25.0, 1.3
"""Megabytes that Serinus may take more than bare Granian, and how many times as long it may take to start."""
LEAST_RUNS = 5
_SETTLED = 1.0
"""Seconds between the first answer and the weighing."""


def idle_replica(settings: Settings) -> Part:
    """6: memory and cold start, beside bare Granian in both forms; the start is held to its command."""
    task, cores = small(), layout(2)
    bare = granian(task)
    services = [serinus(task, "small"), bare, granian_embedded(task)]
    found: dict[str, dict[str, list[float]]] = {
        one.name: {"start": [], "memory": [], "proportional": []} for one in services
    }
    for service in services:  # once, so that all is in the page cache
        with service.run(cores.service):
            pass
    for number in range(max(LEAST_RUNS, settings.rounds)):
        for service in services[:: -1 if number % 2 else 1]:
            own = found[service.name]
            with running(service.command, cores.service, f"idle {service.name}") as started:
                seconds = first_answer(started, service.path, service.bodies[0])
                own["start"].append(seconds - _before(service, started))
                time.sleep(_SETTLED)
                pids = started.pids(service.without)
                own["memory"].append(memory(pids))
                own["proportional"].append(proportional(pids))
        print(f"idle, round {number + 1}: {found[OURS]['start'][-1]:.2f} s", file=sys.stderr)
    medians = {name: {what: median(values) for what, values in own.items()} for name, own in found.items()}
    claims = []
    for name, other in medians.items():
        if name == OURS:
            continue
        more = medians[OURS]["memory"] - other["memory"]
        claims.append(Claim(f"memory beyond {name}", more, MORE, least=False, unit=" MB"))
        if name == bare.name:
            times = Ratio.of(found[OURS]["start"], found[name]["start"])
            claims.append(Claim.of(f"start over that of {name}", times, TIMES, least=False))
    rows = [
        (
            *(name, one["memory"], one["proportional"], one["start"] * 1e3),
            "-" if name == OURS else str(Ratio.of(found[OURS]["start"], found[name]["start"])),
        )
        for name, one in medians.items()
    ]
    heads = (
        *("Idle replica", "memory, MB", "proportional, MB", "exec to the first 200, ms"),
        f"{OURS} takes times as long",
    )
    notes = [
        "Memory of all processes of the service, shared pages once. Files are in the page cache. "
        "The start of Serinus is that of its process in the sandbox, which is made before."
    ]
    return Part("6. An idle replica", [Table(heads, rows)], claims, notes, {"runs": found})


def _before(service: Service, started: Started) -> float:
    """Seconds before the service itself began: Serinus' image is looked up, and its sandbox made."""
    if not service.without:
        return 0.0
    own = [born(pid) for pid in started.pids(service.without) if comm(pid) == NAME]
    return min(own) - started.begin
