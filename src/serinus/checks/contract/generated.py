"""Requests that nobody thought of."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from serinus.checks import Finding, NotApplicable, Result, check, priority
from serinus.checks.contract.asking import Reply, ask, faults, shown
from serinus.checks.contract.requests import generate, simpler
from serinus.checks.subjects import Service
from serinus.contract import Contract
from serinus.contract import violations as compiled
from serinus.project import Checks

SHRINKING = 5.0
"""Seconds for finding a simpler request that goes wrong as well."""
ASKED = 200
"""Requests for that, at most."""
AT_ONCE = 4
"""Requests that are asked at a time."""


@check(
    "contract.generated",
    why="Callers send what no example shows: an empty text, a very large number. Each such crash was found "
    "by a user first.",
    seconds=5.0,
)
def generated(settings: Checks, contract: Contract, service: Service) -> Result:
    """Generated requests get an answer that the contract allows or a 4xx; those it forbids always get a 4xx.

    Never 5xx, and never no answer. ``checks.contract.requests`` of each kind are made from the schema of the
    request, the same ones for the same ``checks.contract.seed``; the smallest one found to go wrong is shown.
    """
    made = generate(contract.request, settings.contract.requests, settings.contract.seed)
    if not made.valid:
        raise NotApplicable("no request could be made from its schema", "Simplify the request's schema.")
    request, response = compiled.compile(contract.request), compiled.compile(contract.response)

    def on_valid(value: Any) -> str:
        return wrong(ask(service, value), response)

    def on_invalid(value: Any) -> str:
        reply = ask(service, value)
        return "" if 400 <= reply.status < 500 else f"found {told(reply)}, expected 4xx"

    found = [
        *_first("allows", made.valid, on_valid, request.ok),
        *_first("forbids", made.invalid, on_invalid, lambda value: not request.ok(value)),
    ]
    summary = f"{len(made.valid)} valid and {len(made.invalid)} invalid requests"
    return Result("" if found else summary, tuple(found))


def wrong(reply: Reply, response: compiled.Check) -> str:
    """What is wrong with the answer to a request that the contract allows; empty if nothing is. Pure."""
    if 400 <= reply.status < 500:
        return ""
    told = (f"at {f.pointer}: {f.message}" if f.pointer else f.message for f in faults(reply, response))
    return "; ".join(told)


def told(reply: Reply) -> str:
    """The status of a reply in words."""
    return f"the status {reply.status}" if reply.status else f"no answer ({reply.fault})"


def _first(
    what: str, requests: Sequence[Any], fault: Callable[[Any], str], fits: Callable[[Any], bool]
) -> list[Finding]:
    for begin in range(0, len(requests), 4 * AT_ONCE):
        some = requests[begin : begin + 4 * AT_ONCE]
        with ThreadPoolExecutor(AT_ONCE, initializer=priority.give_way) as pool:
            told_of = list(pool.map(fault, some))
        for request, first in ((r, t) for r, t in zip(some, told_of, strict=True) if t):
            smallest, said = smallest_of(request, first, fault, fits)
            message = f"a request that the contract {what}, {shown(smallest)}: {said}"
            todo = "Mend the service. To keep the request, save it: `serinus check --from-failure FILE`."
            return [Finding(message, todo)]
    return []


def smallest_of(
    request: Any,
    said: str,
    fault: Callable[[Any], str],
    fits: Callable[[Any], bool],
    clock: Callable[[], float] = time.monotonic,
) -> tuple[Any, str]:
    """A simplest request that goes wrong as well, and how; greedy, and bounded in time and number."""
    until, left = clock() + SHRINKING, ASKED
    going = True
    while going:
        going = False
        for other in simpler(request):
            if left <= 0 or clock() >= until:
                break
            if not fits(other):
                continue
            left -= 1
            if also := fault(other):
                request, said, going = other, also, True
                break
    return request, said
