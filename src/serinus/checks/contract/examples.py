"""The examples, answered."""

from __future__ import annotations

from serinus.checks import Finding, Result, check
from serinus.checks.contract.asking import ask, faults, finding
from serinus.checks.places import example_lines
from serinus.checks.subjects import Given, Service
from serinus.contract import Contract, Example
from serinus.contract import violations as compiled


@check(
    "contract.examples",
    why="A service that cannot answer what its own authors wrote down answers nobody.",
)
def answered(given: Given, contract: Contract, examples: tuple[Example, ...], service: Service) -> Result:
    """Every example is answered with a status of 2xx and a response that the contract allows.

    Whether the response is the one that the example names is looked at by ``behaviour.golden``.
    """
    response = compiled.compile(contract.response)
    file, lines = example_lines(given, len(examples))
    found: list[Finding] = []
    for index, example in enumerate(examples):
        for fault in faults(ask(service, example.request), response):
            todo = "Mend the service, or correct the example or the contract."
            found.append(finding(f"example {index + 1}", fault, todo, file, lines[index]))
    return Result(f"{len(examples)} examples answered" if not found else "", tuple(found))
