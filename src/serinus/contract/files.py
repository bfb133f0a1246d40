"""Contracts as files: the canonical document, or schemas and examples each in a file of its own.

Examples are JSON lines: one ``{"request": ..., "response": ...}`` a line, the response may be left out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from serinus.contract import UNKNOWN, Contract, Example, Schema, Violation
from serinus.contract.violations import Check, check_schema
from serinus.contract.violations import compile as compile_schema
from serinus.contract.wire import found, loads
from serinus.errors import ContractError

REQUEST, RESPONSE, EXAMPLES = "request.json", "response.json", "examples.jsonl"
"""Names of the three files in a folder."""
_MEMBERS = {"request", "response", "examples"}


def parse(text: str | bytes) -> Contract:
    """Read a canonical contract: ``{"request": schema, "response": schema, "examples": [...]}``.

    Raises:
        ContractError: not JSON, not these members, or a schema that is not valid draft 2020-12.
    """
    try:
        document = loads(text)
    except ValueError as error:
        raise ContractError(
            f"the contract is not JSON: {error}", "Write it again with `serinus contract write`."
        ) from None
    if not isinstance(document, dict) or not {"request", "response"} <= set(document) <= _MEMBERS:
        shown = f"the members {sorted(document)}" if isinstance(document, dict) else found(document)
        raise ContractError(
            f"the contract holds {shown}, expected the members request, response and examples",
            "Write it again with `serinus contract write`.",
        )
    examples = document.get("examples", [])
    if not isinstance(examples, list):
        raise ContractError(f"the examples of the contract are {found(examples)}, expected an array")
    return Contract(
        _schema(document["request"], "the request's schema"),
        _schema(document["response"], "the response's schema"),
        tuple(_example(entry, f"example {number}") for number, entry in enumerate(examples, 1)),
    )


def read(path: Path | str) -> Contract:
    """Read a contract file, or a folder with ``request.json``, ``response.json`` and ``examples.jsonl``.

    The examples may be missing from a folder.

    Raises:
        ContractError: a file cannot be read or is not as it must be; the message names it.
    """
    path = Path(path)
    if path.is_dir():
        examples = path / EXAMPLES
        return read_files(path / REQUEST, path / RESPONSE, examples if examples.exists() else None)
    try:
        return parse(_content(path))
    except ContractError as error:
        raise _in(path, error) from None


def read_files(request: Path, response: Path, examples: Path | None = None) -> Contract:
    """Read a contract from schema files, and hold its examples to the schemas.

    Raises:
        ContractError: a file cannot be read, a schema is not valid, or an example breaks one; the message
            names the file, and of the examples the line.
    """
    contract = Contract(
        read_schema(request), read_schema(response), read_examples(examples) if examples else ()
    )
    if examples:
        for number, side, fault in broken_examples(contract):
            line = _lines_of(examples)[number]
            raise ContractError(
                f"{examples}:{line}: the {side} of the example breaks the contract at "
                f"{fault.pointer or 'its root'}: {fault.message}",
                "Correct the example or the schema.",
            )
    return contract


def read_schema(path: Path) -> Schema:
    """Read one JSON Schema.

    Raises:
        ContractError: it cannot be read, is not JSON or not a valid schema; the message names the file.
    """
    try:
        return _schema(loads(_content(path)), "the schema")
    except ValueError as error:
        raise ContractError(f"{path}: not JSON: {error}", "Correct the file.") from None
    except ContractError as error:
        raise _in(path, error) from None


def read_examples(path: Path) -> tuple[Example, ...]:
    """Read examples, one a line; empty lines are skipped.

    Raises:
        ContractError: the message names file and line.
    """
    return tuple(example for _, example in _numbered(path))


def broken_examples(contract: Contract) -> Iterator[tuple[int, str, Violation]]:
    """Faults of the contract's own examples: (index of the example, request or response, Violation)."""
    request: Check | None = None
    response: Check | None = None
    for index, example in enumerate(contract.examples):
        request = request or compile_schema(contract.request)
        for fault in request.violations(example.request):
            yield index, "request", fault
        if example.response is not UNKNOWN:
            response = response or compile_schema(contract.response)
            for fault in response.violations(example.response):
                yield index, "response", fault


def write(contract: Contract, path: Path | str) -> None:
    """Write the canonical document; the file is there whole or not at all."""
    _replace(Path(path), contract.to_json() + "\n")


def write_files(contract: Contract, request: Path, response: Path, examples: Path | None = None) -> None:
    """Write schemas and examples for people to read and edit, each file whole or not at all."""
    _replace(request, json.dumps(contract.request, indent=2, ensure_ascii=False) + "\n")
    _replace(response, json.dumps(contract.response, indent=2, ensure_ascii=False) + "\n")
    if examples is not None:
        _replace(examples, "".join(line + "\n" for line in _example_lines(contract.examples)))


def _example_lines(examples: Iterable[Example]) -> Iterator[str]:
    for example in examples:
        entry = {"request": example.request}
        if example.response is not UNKNOWN:
            entry["response"] = example.response
        yield json.dumps(entry, ensure_ascii=False, allow_nan=False)


def _schema(schema: Any, name: str) -> Schema:
    try:
        check_schema(schema)
    except ContractError as error:
        raise ContractError(f"{name}: {error.message}", error.todo) from None
    if isinstance(schema, bool):
        return {} if schema else {"not": {}}
    decoded: Schema = schema
    return decoded


def _example(entry: Any, name: str) -> Example:
    if not isinstance(entry, dict) or "request" not in entry or not set(entry) <= {"request", "response"}:
        shown = f"the members {sorted(entry)}" if isinstance(entry, dict) else found(entry)
        raise ContractError(
            f"{name}: found {shown}, expected an object with request, and response if it is known",
            'Write {"request": ..., "response": ...}.',
        )
    return Example(entry["request"], entry.get("response", UNKNOWN))


def _numbered(path: Path) -> Iterator[tuple[int, Example]]:
    text = _content(path)
    for number, line in enumerate(text.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            entry = loads(line)
        except ValueError as error:
            raise ContractError(f"{path}:{number}: not JSON: {error}", "Correct the line.") from None
        yield number, _example(entry, f"{path}:{number}")


def _lines_of(path: Path) -> list[int]:
    return [number for number, _ in _numbered(path)]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ContractError(
            f"{path}: {(error.strerror or str(error)).lower()}", "Check the path under [contract]."
        ) from None


def _in(path: Path, error: ContractError) -> ContractError:
    return ContractError(f"{path}: {error.message}", error.todo)


def _replace(path: Path, text: str) -> None:
    """Write beside the file, then rename over it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise ContractError(
            f"{path}: cannot be written: {(error.strerror or str(error)).lower()}",
            "Check that the folder is there and may be written to.",
        ) from None
    finally:
        temporary.unlink(missing_ok=True)
