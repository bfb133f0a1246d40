"""What errors must not show."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from serinus.checks import Finding, Result, check
from serinus.checks.subjects import Subject
from serinus.checks.transport import wire
from serinus.checks.transport.endpoint import NOWHERE, Endpoint, ask
from serinus.checks.transport.mutations import extremes
from serinus.image import WORKDIR
from serinus.runtimes.launch import launch

_SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|PRIVATE|API_?KEY|ACCESS_?KEY", re.IGNORECASE)
_SHORTEST = 6
_TRACE = re.compile(r"Traceback \(most recent call last\)|File \\?\"[^\"]+\\?\", line \d+")
_PLACES = re.compile(
    r"(?<![\w.:/-])/(?:srv|opt|usr|home|root|tmp|var|etc|proc|app|work)/[\w.@+/-]+"
    r"|(?<![\w.:/-])/(?:[\w.@+-]+/)*[\w.@+-]+\.py\b|site-packages/"
)
_LINE = 20
"""Characters of a line of source that is told from ordinary words."""
_FILES = 100


@check(
    "transport.leaks",
    why="An error page showed the traceback, and with it the password of the database.",
    seconds=1.0,
)
def leaks(endpoint: Endpoint, image: Subject, rootfs: Path) -> Result:
    """No answer to a wrong or extreme request shows a traceback, source, a path or a secret variable."""
    source = _source(rootfs)
    secrets = _secrets(launch(image.config).env)
    found: list[Finding] = []
    asked = 0
    for what, request in _provoking(endpoint):
        try:
            answer = ask(endpoint, request)
        except (wire.NoAnswer, wire.Late, wire.Malformed):
            continue  # whether it answers is for others to say
        asked += 1
        found.extend(shown(what, answer, source, secrets, (endpoint.route, NOWHERE)))
    if not asked:
        found.append(Finding("none of the wrong requests was answered", "Look into the log of the service."))
    return Result(f"{asked} answers show nothing of the inside", tuple(dict.fromkeys(found)))


def _provoking(endpoint: Endpoint) -> Iterator[tuple[str, wire.Request]]:
    """Requests that go wrong, or are the most that the contract lets through."""
    post = endpoint.post
    yield f"GET {NOWHERE}", wire.Request("GET", NOWHERE)
    yield f"PUT {endpoint.route}", wire.Request("PUT", endpoint.route)
    yield "a body that is not JSON", post(b"{")
    yield "an empty body", post(b"")
    yield "a text body", wire.Request("POST", endpoint.route, (("content-type", "text/plain"),), b"text")
    wrong: tuple[Any, ...] = (None, 1, "text", [], {}, [None], [{}], {"a": None})
    for value in wrong:
        yield f"the request {json.dumps(value)}", post(json.dumps(value).encode())
    if endpoint.contract and endpoint.known:
        for extreme in extremes(endpoint.contract.request, [endpoint.request]):
            text = json.dumps(extreme)
            yield f"the request {text[:60]}", post(text.encode())


def shown(
    what: str, answer: wire.Answer, source: frozenset[str], secrets: Mapping[str, str], said: Sequence[str]
) -> Iterator[Finding]:
    """What an answer shows that it should not. Pure.

    Args:
        what: the request, for people.
        answer: its answer.
        source: lines of source code.
        secrets: names and values of secret variables.
        said: paths that the caller knows.
    """
    headers = "\n".join(f"{name}: {value}" for name, value in answer.headers)
    everything = f"{headers}\n{answer.body.decode('utf-8', 'replace')}"
    for name, value in secrets.items():
        if any(form in everything for form in (value, json.dumps(value)[1:-1], quote(value))):
            yield Finding(
                f"the answer {answer.status} to {what} shows the value of {name}",
                "Take it out of the answer, and give the service another secret.",
            )
    if answer.status < 400:
        return
    todo = "Write it to the log, and answer what the caller did wrong."
    if trace := _TRACE.search(everything):
        yield Finding(f"the answer {answer.status} to {what} shows a traceback: {trace[0]}", todo)
    known = everything
    for path in sorted(said, key=len, reverse=True):
        known = known.replace(path, "")
    if place := _PLACES.search(known):
        yield Finding(f"the answer {answer.status} to {what} shows the path {place[0]}", todo)
    texts = {line.strip() for line in everything.replace("\\n", "\n").splitlines()}
    if lines := sorted(texts & source):
        yield Finding(f"the answer {answer.status} to {what} shows the source line {lines[0]!r}", todo)


def _secrets(env: Mapping[str, str]) -> dict[str, str]:
    return {n: v for n, v in env.items() if _SECRET.search(n) and len(v) >= _SHORTEST}


def _source(rootfs: Path) -> frozenset[str]:
    """The first lines of the statements of the project's code in an image."""
    lines: set[str] = set()
    files = sorted((rootfs / WORKDIR.lstrip("/")).rglob("*.py"))
    for file in files[:_FILES]:
        try:
            lines |= statements(file.read_text("utf-8"))
        except (OSError, ValueError, SyntaxError):
            continue
    return frozenset(lines)


def statements(text: str) -> set[str]:
    """The first lines of the statements of a module, but for those that are only text. Pure."""
    rows = text.splitlines()
    found = set()
    for node in ast.walk(ast.parse(text)):
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, ast.stmt) and not is_text:
            line = rows[node.lineno - 1].strip()
            if len(line) >= _LINE:
                found.add(line)
    return found
