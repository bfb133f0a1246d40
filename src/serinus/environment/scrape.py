"""Scraping: what the replicas have predicted, from the counters that they expose themselves.

Counters only grow, and begin anew with their process; what is asked for is how much they have grown.
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from serinus.rollout.drift import Interval
from serinus.runtimes import wait

Address = tuple[str, int]
Fetch = Callable[[Address], str]
"""The text of a replica's ``/metrics``; OSError where it does not answer."""

_COUNT = re.compile(
    r'^serinus_predictions_total\{pointer="((?:[^"\\]|\\.)*)",value="((?:[^"\\]|\\.)*)"\} (\d+)$'
)
_BUCKET = re.compile(r'^serinus_prediction_bucket\{pointer="((?:[^"\\]|\\.)*)",le="([^"]*)"\} (\d+)$')
_ANSWERS = re.compile(r'^serinus_requests_total\{route="((?:[^"\\]|\\.)*)",status="2\d\d"\} (\d+)$')
_TIMEOUT = 2.0


@dataclass(frozen=True, slots=True)
class Counted:
    """The counters of one replica."""

    answers: int = 0
    """Answers on the service's route with a status of 2xx."""
    predictions: Mapping[tuple[str, str], int] = field(default_factory=dict, hash=False)
    """(JSON Pointer, value) -> how often; of numbers the value is the upper bound of a bucket."""


def fetch(address: Address) -> str:
    """GET ``/metrics``."""
    host, port = address
    try:
        status, body = wait.fetch(f"http://{host}:{port}/metrics", _TIMEOUT)
    except http.client.HTTPException as error:
        raise OSError(str(error)) from None
    return body.decode("utf-8", "replace") if status == 200 else ""


def parse(text: str, route: str) -> Counted:
    """Read an exposition in the Prometheus text format, as far as it is about predictions. Pure."""
    answers, found = 0, dict[tuple[str, str], int]()
    cumulative = dict[str, int]()
    for line in text.splitlines():
        if not line.startswith("serinus_"):
            continue
        if match := _COUNT.match(line):
            found[_plain(match[1]), _plain(match[2])] = int(match[3])
        elif match := _BUCKET.match(line):
            pointer, count = _plain(match[1]), int(match[3])
            found[pointer, f"<= {match[2]}"] = count - cumulative.get(pointer, 0)
            cumulative[pointer] = count
        elif (match := _ANSWERS.match(line)) and _plain(match[1]) == route:
            answers += int(match[2])
    return Counted(answers, found)


def _plain(label: str) -> str:
    return label.replace("\\n", "\n").replace('\\"', '"').replace("\\\\", "\\")


def grown(before: Counted, after: Counted) -> Counted:
    """How much counters have grown; a replica that has begun anew counts from zero. Pure."""
    begun = after.answers < before.answers
    old = Counted() if begun else before
    predictions = {
        key: count - old.predictions.get(key, 0)
        for key, count in after.predictions.items()
        if count > old.predictions.get(key, 0)
    }
    return Counted(after.answers - old.answers, predictions)


def interval(weight: float, stable: Counted, candidate: Counted) -> Interval:
    """What both versions have predicted in some time under one weight. Pure."""
    places: dict[str, dict[str, tuple[float, float]]] = {}
    for key in {**stable.predictions, **candidate.predictions}:
        pair = stable.predictions.get(key, 0), candidate.predictions.get(key, 0)
        places.setdefault(key[0], {})[key[1]] = pair
    return Interval(weight, stable.answers, candidate.answers, places)


def total(parts: list[Counted]) -> Counted:
    """The counters of several replicas as one. Pure."""
    found = dict[tuple[str, str], int]()
    for part in parts:
        for key, count in part.predictions.items():
            found[key] = found.get(key, 0) + count
    return Counted(sum(part.answers for part in parts), found)
