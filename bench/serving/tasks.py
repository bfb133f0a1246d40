"""What every service is asked, and what it must answer."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from stand import HERE, ROOT, SHARED, CannotMeasureError

ENOUGH = 0.95
"""Share of sentences that a service must judge as the model does of one alone: 8 bits round otherwise in a
batch, and flipped 5 labels of 160."""
_SENTENCES = 256


@dataclass(frozen=True)
class Task:
    """Requests as JSON values, and the responses to them."""

    name: str
    requests: tuple[Any, ...]
    """What is sent, in turns."""
    responses: tuple[Any, ...]
    enough: float = 1.0
    """Share of the responses that must be as expected."""

    def check(self, who: str, found: Sequence[Any]) -> None:
        """Hold answers to what is expected.

        Raises:
            CannotMeasureError: too few are as they must be; the first wrong one is shown.
        """
        pairs = list(zip(self.responses, found, strict=False))
        wrong = [(expected, got) for expected, got in pairs if not same(expected, got)]
        if len(wrong) > (1 - self.enough) * len(pairs):
            raise CannotMeasureError(
                f"{who}: {len(wrong)} of {len(pairs)} answers to '{self.name}' are wrong; "
                f"expected {json.dumps(wrong[0][0])[:300]}, found {json.dumps(wrong[0][1])[:300]}"
            )


def same(expected: Any, found: Any) -> bool:
    """Whether two JSON values are the same, numbers within single precision."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return expected.keys() == found.keys() and all(same(expected[name], found[name]) for name in expected)
    if isinstance(expected, list) and isinstance(found, list):
        return len(expected) == len(found) and all(map(same, expected, found))
    if isinstance(expected, bool) or isinstance(found, bool) or not isinstance(expected, int | float):
        return expected is found or (type(expected) is type(found) and expected == found)
    return isinstance(found, int | float) and math.isclose(expected, found, rel_tol=1e-4, abs_tol=1e-5)


def shared(*parts: str) -> Path:
    """A model or data that is not in git.

    Raises:
        CannotMeasureError: it is not there.
    """
    path = SHARED.joinpath(*parts)
    if not path.exists():
        raise CannotMeasureError(f"there is no {path}; SERINUS_SHARED says where models and data are")
    return path


@cache
def small() -> Task:
    """Thirty numbers of a tumour in, label and probabilities out."""
    import numpy
    import onnxruntime

    session = onnxruntime.InferenceSession(shared("models", "tabular", "breast_cancer.onnx"))
    chance = numpy.random.default_rng(1)
    rows = numpy.round(chance.uniform(0.01, 30.0, (8, 30)), 4)
    requests, responses = [], []
    for row in rows.tolist():
        label, probabilities = session.run(None, {"X": numpy.array([row], numpy.float32)})
        requests.append({"X": [row]})
        responses.append({"label": label.tolist(), "probabilities": probabilities.tolist()})
    return Task("small", tuple(requests), tuple(responses))


@cache
def typed() -> Task:
    """An order in, a quote out."""
    sys.path.insert(0, str(HERE / "apps"))
    from orders import Order, quote

    items = [{"name": f"part {n}", "pieces": n, "price": 1.25 * n} for n in range(1, 6)]
    requests = [{"customer": "Ada", "items": items[:count], "express": count % 2 == 0} for count in (3, 1, 5)]
    responses = [quote(Order.model_validate(request)).model_dump() for request in requests]
    return Task("typed", tuple(requests), tuple(responses))


@cache
def sentences() -> Task:
    """A sentence in, whether it is glad out; those of the split `test`, as long as people write."""
    judge = bare_judge()
    rows = map(json.loads, shared("data", "sentiment.jsonl").read_text("utf-8").splitlines())
    texts = [row["text"] for row in rows if row["split"] == "test"][:_SENTENCES]
    responses = tuple({"positive": judge([text])[0]} for text in texts)
    return Task("sentences", tuple([text] for text in texts), responses, ENOUGH)


def bare_judge(threads: int = 1, *, asleep: bool = False) -> Callable[[list[str]], list[bool]]:
    """The model itself, in this process."""
    sys.path.insert(0, str(HERE / "apps"))
    from sentences import Judge

    return Judge(str(shared("models", "roberta-sentiment")), threads, asleep=asleep)


@cache
def glad() -> Task:
    """Sentences in, whether they are glad out: the Flask app's own examples."""
    lines = (ROOT / "examples" / "flask-app" / "examples.jsonl").read_text("utf-8").splitlines()
    examples = [json.loads(line) for line in lines]
    return Task(
        "glad",
        tuple(one["request"] for one in examples),
        tuple(one["response"] for one in examples),
    )
