"""Probes: the examples, asked of the candidate through the router, before it has any traffic.

What callers rely on is stable's contract: its examples must be answered, with answers that keep it. The
candidate's own examples must be answered as they say.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from serinus.contract import UNKNOWN, Contract
from serinus.contract.files import read as read_contract
from serinus.contract.violations import compile as compile_schema
from serinus.image import CONTRACT
from serinus.registry.layout import Layout
from serinus.rollout.compare import differs
from serinus.rollout.seen import Probed
from serinus.rollout.state import Version
from serinus.runtimes.launch import read
from serinus.runtimes.rootfs import root
from serinus.serving import VERSION

MOST = 100
"""Examples of each version that are asked."""
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: status, the digest that the answer says it is from, the body."""

    status: int
    version: str
    body: bytes


Ask = Callable[[bytes], Answer]
"""Posts a JSON document to the service's route, for the candidate to answer; OSError where nobody does."""


def asker(host: str, port: int, route: str, timeout: float) -> Ask:
    """Ask through the router.

    Args:
        host: of the public listener.
        port: of it.
        route: of the service.
        timeout: seconds for one answer.
    """

    def ask(body: bytes) -> Answer:
        connection = http.client.HTTPConnection(host, port, timeout=timeout)
        headers = {"Content-Type": "application/json", VERSION: "candidate"}
        try:
            connection.request("POST", route, body, headers)
            response = connection.getresponse()
            return Answer(response.status, response.headers.get(VERSION, ""), response.read())
        finally:
            connection.close()

    return ask


Promises = Callable[[Version], Contract | None]
"""What a version promises, with its examples; None: nothing. SerinusError where it cannot be read."""


def promised(version: Version) -> Contract | None:
    """The contract in a version's image; that of its label, without examples, where the file is missing."""
    layout = Layout(Path(version.layout))
    image = read(layout, layout.resolve(version.digest))
    file = root(layout, image.layers) / CONTRACT.lstrip("/")
    if file.is_file():
        return read_contract(file)
    return Contract.from_json(version.contract) if version.contract else None


def probe(
    candidate: Version, stable: Version | None, ask: Ask, tolerance: float, promises: Promises = promised
) -> Probed:
    """Ask all examples; the faults, a sentence each.

    Args:
        candidate: whose examples must be answered as they say.
        stable: whose examples must be answered, within its contract; None: nothing is in charge.
        ask: asks the candidate.
        tolerance: numbers are equal within this, relative or absolute.
        promises: what a version promises.

    Raises:
        SerinusError: a contract cannot be read.
    """
    own = promises(candidate)
    held = promises(stable) if stable is not None else None
    questions = [(e.request, e.response, own) for e in (own.examples if own else ())[:MOST]]
    questions += [(e.request, UNKNOWN, held) for e in (held.examples if held else ())[:MOST]]
    faults = []
    for number, (request, expected, contract) in enumerate(questions, 1):
        try:
            answer = ask(json.dumps(request).encode())
        except (OSError, http.client.HTTPException) as error:
            faults.append(f"example {number}: no answer: {error}")
            continue
        found = _faults(candidate, answer, expected, contract, tolerance)
        faults += [f"example {number}: {fault}" for fault in islice(found, 1)]
    return Probed(candidate.digest, tuple(faults), len(questions))


def _faults(
    candidate: Version, answer: Answer, expected: Any, contract: Contract | None, tolerance: float
) -> Iterator[str]:
    shown = answer.body[:_SHOWN].decode("utf-8", "replace")
    if answer.version and answer.version != candidate.digest:
        yield f"the candidate failed, and {answer.version[:19]} answered in its place"
    if not 200 <= answer.status < 300:
        yield f"it was answered {answer.status}, {shown!r}; expected 2xx"
        return
    try:
        document = json.loads(answer.body)
    except ValueError:
        yield f"it was answered with what is no JSON: {shown!r}"
        return
    if contract is not None and (broken := compile_schema(contract.response).violations(document)):
        yield f"at {broken[0].pointer or '#'}: {broken[0].message}"
    if expected is not UNKNOWN and (where := differs(expected, document, tolerance)) is not None:
        yield f"at {where or '#'}: found {shown}; expected {json.dumps(expected)[:_SHOWN]}"
