"""What a replica takes of memory, and whether it takes more with each request."""

from __future__ import annotations

from serinus.checks import Finding, Measure, NotApplicable, Plot, Result, check
from serinus.checks.speed import measured, numbers
from serinus.checks.speed.measured import Loads
from serinus.project import Checks

GAUGE = "process_resident_memory_bytes"
FEWEST = 5
"""Looks at the memory that a conclusion takes."""


@check(
    "speed.memory",
    why="A model that fitted on the developer's machine was killed for memory in a container of 512 MiB, at"
    " the first large request.",
)
def memory(loads: Loads, settings: Checks) -> Result:
    """Resident memory of a replica after the load, all its workers together, within `checks.speed.memory`."""
    found, budget = _told(loads), settings.speed.memory
    if budget is None:
        raise NotApplicable(
            f"no budget to hold it to; measured {numbers.size(found)}", "Set checks.speed.memory."
        )
    result = Measure("memory", found, "B", at_most=budget)
    if result.holds:
        return Result(f"{numbers.size(found)} after the load", measures=(result,))
    over = Finding(
        f"a replica takes {numbers.size(found)} after the load, expected at most {numbers.size(budget)}",
        "Load the model once and in the precision it needs, serve with fewer workers, or raise"
        " checks.speed.memory.",
        "serinus.toml",
    )
    return Result(over.message, (over,), (result,))


@check(
    "speed.leak",
    why="A list that kept every request grew until the replica was killed, each time some hours after a"
    " release that every check had passed.",
)
def leak(loads: Loads, settings: Checks) -> Result:
    """Memory of a warm service grows by at most `checks.speed.leak` bytes with each request.

    It grows by more only if the slope, which single jumps do not change, is above it three loads in a row.
    """
    _told(loads)
    load, bound = loads.closed, settings.speed.leak
    # A load that ended since memory had grown by hundreds of megabytes needs no more answers to be judged.
    ended = measured.full(load)
    slope, least = measured.growth(load)
    if len(load.memory) < FEWEST or (load.answers < measured.ENOUGH and not ended):
        raise NotApplicable(
            f"{load.answers} answers and {len(load.memory)} looks at the memory are too few to say",
            "Let the load last longer: checks.speed.seconds.",
        )
    points = tuple((float(answers), size / (1 << 20)) for answers, size in load.memory)
    plot = Plot("Memory", (("this image", points),), "answers", "MiB")
    grew = Measure("growth", slope, "B", bound if least > bound or slope <= bound else None)
    said = f"{numbers.size(slope)} a request over {load.answers} answers"
    if not least > bound:
        return Result(said, measures=(grew,), plots=(plot,))
    found = Finding(
        f"memory grows by {said}, expected at most {numbers.size(bound)} a request",
        "Look for what outlives a request: a list or a cache that only grows, a session that is not closed.",
    )
    return Result(found.message, (found,), (grew,), (plot,))


def _told(loads: Loads) -> float:
    if loads.memory is None:
        raise NotApplicable(
            f"the service does not tell its memory: its /metrics has no {GAUGE}",
            "Serve it with Serinus, or show that gauge of the Prometheus clients.",
        )
    return loads.memory
