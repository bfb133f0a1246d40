"""Requests made from a schema: valid and invalid ones, by schemathesis, and simpler ones of each.

They are made by a program of their own, ``python -m serinus.checks.contract.requests``: hypothesis, on which
schemathesis stands, takes constants from whatever is imported, keeps files where it is started, and would
make other requests with every module that another check has loaded in the meantime.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

from serinus.checks import Failed, Finding, NotApplicable
from serinus.contract import Contract, Schema
from serinus.contract import violations as compiled
from serinus.files import cache_folder

LARGEST = 64 << 10
"""Bytes of a request's JSON at most."""
_PATIENCE = 300.0
"""Seconds for making them, on a machine that is busy."""


@dataclass(frozen=True, slots=True)
class Made:
    """Requests, each once."""

    valid: tuple[Any, ...]
    invalid: tuple[Any, ...]


def generate(schema: Schema, count: int, seed: int) -> Made:
    """Make up to ``count`` valid requests and as many invalid ones: the same seed, the same requests.

    They are made once for all the checks that ask for them.

    Raises:
        NotApplicable: schemathesis is not installed, or cannot make sense of the schema.
        Failed: they could not be made in time, or not to the end.
    """
    if find_spec("schemathesis") is None:
        raise NotApplicable("generated requests need schemathesis", "pip install 'serinus[checks]'")
    asked = json.dumps({"schema": schema, "count": count, "seed": seed})
    with _making:
        return made_within(asked)


_making = threading.Lock()


@lru_cache(maxsize=8)
def made_within(asked: str, patience: float = _PATIENCE) -> Made:
    """What the program makes of ``{"schema": ..., "count": ..., "seed": ...}`` in so many seconds."""
    # Its tables of Unicode's categories take it a second to make; no requests are kept there.
    kept = cache_folder() / "hypothesis"
    with tempfile.TemporaryDirectory(prefix="serinus-") as folder:
        try:
            done = subprocess.run(
                [sys.executable, "-m", __name__],
                input=asked,
                cwd=folder,
                env={**os.environ, "HYPOTHESIS_STORAGE_DIRECTORY": str(kept), "PYTHONHASHSEED": "0"},
                capture_output=True,
                text=True,
                timeout=patience,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise _failed(f"no requests could be made from the schema within {patience:g} s") from None
    if done.returncode < 0:
        raise _failed(f"making requests from the schema was ended by signal {-done.returncode}")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason was given"])[-1]
        raise NotApplicable(f"no requests could be made from the request's schema: {last}", _TODO)
    document = json.loads(done.stdout)
    return Made(tuple(document["valid"]), tuple(document["invalid"]))


_TODO = "Simplify the request's schema."


def _failed(message: str) -> Failed:
    todo = f"Run it again while the machine does less, or make fewer: checks.contract.requests. {_TODO}"
    return Failed(Finding(message, todo))


class _Enough(BaseException):
    """Ends the drawing; no ``Exception``, which hypothesis would take for a failure and draw again."""


def _made(schema: Schema, count: int, seed: int, valid: bool) -> list[Any]:
    """Draw requests; hypothesis's own shrinking is left out, since nothing fails here."""
    import hypothesis
    import schemathesis

    from serinus.contract.description import document

    api = document(Contract(schema, {}), title="service", version="0", route="/predict")
    mode = schemathesis.GenerationMode.POSITIVE if valid else schemathesis.GenerationMode.NEGATIVE
    strategy = schemathesis.openapi.from_dict(api)["/predict"]["POST"].as_strategy(generation_mode=mode)
    check = compiled.compile(schema)
    found: dict[str, Any] = {}

    @hypothesis.seed(seed)
    @hypothesis.settings(
        database=None,
        max_examples=count * 6,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(strategy)
    def draw(case: Any) -> None:
        if (text := _text(case.body)) and check.ok(json.loads(text)) is valid:
            found.setdefault(text, json.loads(text))
        if len(found) == count:
            raise _Enough

    try:
        draw()
    except _Enough:
        pass
    except hypothesis.errors.Unsatisfiable:
        return []
    return list(found.values())


def _text(body: Any) -> str:
    """The JSON of a body; empty for what is none, or too long."""
    try:
        text = json.dumps(body, allow_nan=False)
        text.encode()
    except (TypeError, ValueError):
        return ""
    return text if len(text) <= LARGEST else ""


def simpler(value: Any) -> Iterator[Any]:
    """Values a step simpler than this one, the simplest first; every chain of steps ends. Pure."""
    if isinstance(value, str):
        if value:
            yield from dict.fromkeys(("", value[: len(value) // 2], value[1:], value[:-1]))
    elif isinstance(value, bool) or value is None:
        if value:
            yield False
    elif isinstance(value, (int, float)):
        yield from (v for v in dict.fromkeys((0, int(value / 2))) if abs(v) < abs(value))
    elif isinstance(value, list):
        yield from ([], value[: len(value) // 2]) if len(value) > 1 else ([],) if value else ()
        yield from (value[:i] + value[i + 1 :] for i in range(len(value)) if len(value) > 1)
        for index, item in enumerate(value):
            yield from ([*value[:index], other, *value[index + 1 :]] for other in simpler(item))
    elif isinstance(value, dict):
        for name, member in value.items():
            yield {n: v for n, v in value.items() if n != name}
            yield from ({**value, name: other} for other in simpler(member))


def main() -> None:
    """Read what is wanted from standard input, and write the requests to standard output."""
    asked = json.load(sys.stdin)
    schema, count, seed = asked["schema"], asked["count"], asked["seed"]
    made = {
        "valid": _made(schema, count, seed, valid=True),
        "invalid": _made(schema, count, seed, valid=False),
    }
    json.dump(made, sys.stdout)


if __name__ == "__main__":
    main()
