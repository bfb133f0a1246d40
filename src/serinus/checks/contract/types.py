"""Types, strictly, on the wire."""

from __future__ import annotations

from serinus.checks import Finding, Result, check
from serinus.checks.contract.asking import ask, faults, finding, shown
from serinus.checks.contract.requests import generate
from serinus.checks.subjects import Service
from serinus.contract import Contract
from serinus.contract import violations as compiled
from serinus.project import Checks

GENERATED = 10
"""So many generated requests beside the examples."""


@check(
    "contract.types",
    why='An answer became {"positive": "false"}: HTTP 200, no traceback, and true for every caller.',
    seconds=2.0,
)
def types(settings: Checks, contract: Contract, service: Service) -> Result:
    """Answers to the examples and to generated requests have exactly the types of the contract in their JSON.

    Neither ``"false"`` for ``false`` nor ``1`` for ``true``, no ``1.0`` for an integer, no NaN, no member
    twice, none renamed, and none too many where the contract allows no others.
    """
    response = compiled.compile(contract.response)
    requests = [example.request for example in contract.examples]
    made = generate(contract.request, settings.contract.requests, settings.contract.seed)
    requests += made.valid[:GENERATED]
    found, seen = [], set()
    answers = 0
    for request in requests:
        reply = ask(service, request)
        if not (200 <= reply.status < 300 or reply.violation is not None):
            continue
        answers += 1
        for fault in faults(reply, response):
            if fault not in seen:
                seen.add(fault)
                todo = "Return the type that the contract names, or change the contract."
                found.append(finding(f"the answer to {shown(request, 200)}", fault, todo))
    if not answers:
        todo = "Mend the service; see contract.examples."
        return Result(findings=(Finding(f"not one of {len(requests)} requests was answered", todo),))
    return Result(f"{answers} answers" if not found else "", tuple(found[:20]))
