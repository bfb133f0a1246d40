"""A request that went wrong becomes an example, so that it cannot go wrong again unseen."""

from __future__ import annotations

import json
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serinus.contract import UNKNOWN, Contract, Example
from serinus.contract import violations as compiled
from serinus.contract.files import read_examples
from serinus.contract.wire import loads
from serinus.errors import ContractError
from serinus.events import Observer, ignore
from serinus.files import write_atomically
from serinus.image.contracts import EXAMPLES, examples_file
from serinus.image.promises import of_project
from serinus.project import Project

_EXAMPLE = {"request", "response"}


@dataclass(frozen=True, slots=True)
class Kept:
    """Where a request stands among the examples."""

    file: Path
    number: int
    """Of the example, from 1."""
    new: bool
    """False where it stood there before."""


def add(project: Project, file: Path, *, observer: Observer = ignore) -> Kept:
    """Add the request in a file to the project's examples.

    Args:
        project: the project.
        file: the bare request as JSON; or ``{"request": ..., "response": ...}``, the response being what it
            should have been; or a log record with a member ``request``.
        observer: told of each step of inferring the contract.

    Raises:
        ContractError: the file is not JSON, the request or the response breaks the contract, or an example
            with another response for this request is there.
    """
    contract = of_project(project, observer) or Contract({}, {})
    example = example_in(_document(file), contract)
    _hold(example, contract, file)
    target = (examples_file(project) or project.root / EXAMPLES).resolve()
    known = read_examples(target) if target.is_file() else ()
    if (number := _place(example, known)) is not None:
        _agree(known[number], example, target, number)
        return Kept(target, number + 1, new=False)
    _append(target, example)
    return Kept(target, len(known) + 1, new=True)


def example_in(document: Any, contract: Contract) -> Example:
    """The example that a document stands for. Pure.

    A request may have a member ``request`` of its own: the reading that the contract allows counts.
    """
    if not isinstance(document, dict) or "request" not in document:
        return Example(document, UNKNOWN)
    allowed = compiled.compile(contract.request)
    if not allowed.ok(document["request"]) and allowed.ok(document):
        return Example(document, UNKNOWN)
    # The response of a log record is the one that went wrong.
    right = document.get("response", UNKNOWN) if set(document) <= _EXAMPLE else UNKNOWN
    return Example(document["request"], right)


def _document(file: Path) -> Any:
    try:
        return loads(file.read_bytes())
    except OSError as error:
        raise ContractError(
            f"{file} cannot be read: {error.strerror or error}", "Name another file."
        ) from None
    except ValueError as error:
        raise ContractError(f"{file} is not JSON: {error}", "Let it hold one request as JSON.") from None


def _hold(example: Example, contract: Contract, file: Path) -> None:
    sides = [("request", contract.request, example.request)]
    if example.response is not UNKNOWN:
        sides.append(("response", contract.response, example.response))
    for side, schema, value in sides:
        for fault in compiled.compile(schema).violations(value):
            raise ContractError(
                f"{file}: the {side} breaks the contract at {fault.pointer or 'its root'}: {fault.message}",
                "Such a request is rightly answered 422." if side == "request" else "Correct the response.",
            )


def _place(example: Example, known: Sequence[Example]) -> int | None:
    wanted = _canonical(example.request)
    return next((n for n, other in enumerate(known) if _canonical(other.request) == wanted), None)


def _agree(old: Example, new: Example, file: Path, number: int) -> None:
    if new.response is not UNKNOWN and (
        old.response is UNKNOWN or _canonical(old.response) != _canonical(new.response)
    ):
        raise ContractError(
            f"example {number + 1} in {file} has this request with another response, or with none",
            "Correct that line.",
        )


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _append(file: Path, example: Example) -> None:
    row = {"request": example.request}
    if example.response is not UNKNOWN:
        row["response"] = example.response
    old, mode = b"", None
    if file.is_file():
        old, mode = file.read_bytes(), stat.S_IMODE(file.stat().st_mode)
    end = b"" if not old or old.endswith(b"\n") else b"\n"
    line = json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    write_atomically(file, old + end + line, mode=mode)
