"""Metrics in the Prometheus text format (version 0.0.4), counted in this process.

Written here and not taken from ``prometheus_client``: that costs an idle replica 15 MB and 73 ms of its
start, and about a microsecond for each labelled count against 0.1 here. All counting happens on the event
loop's thread, so that there are no locks. Each set of label values is bounded: callers and models cannot make
the exposition grow without end.

With several workers each counts for itself, and whichever is asked adds up what all of them say
(:func:`merge`), so that a scrape never depends on which worker answered it.
"""

from __future__ import annotations

import os
import re
import struct
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Bounds for the latency, in seconds."""
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Bounds for the sizes of batches, in requests."""
NUMBERS = (
    *(-1000, -100, -10, -1, 0),
    *(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1),
    *(2, 5, 10, 20, 50, 100, 1000, 10_000, 100_000),
)
"""Bounds for predicted numbers: tenths for probabilities, decades for everything else."""
MAX_POINTERS = 64
"""As many different places are told apart, for violations and for predictions each; the rest is ``other``."""
MAX_VALUES = 20
"""A place with more different strings than this is no small set, and is not counted any longer."""

_INDEX = re.compile(r"/\d+(?=/|$)")


def place(pointer: str) -> str:
    """A JSON Pointer with array indices as ``*``: ``/items/17/score`` and ``/items/3/score`` are one place.

    A member whose name is all digits looks like an index, and is one here.
    """
    return _INDEX.sub("/*", pointer)


def edges(bounds: Sequence[float]) -> tuple[float, ...]:
    """The bounds, each moved up to its own value in single precision where that is above it.

    So a model's 0.1, which is 0.100000001490116 in single precision, is at most 0.1, as it is when it is
    written and read as JSON.
    """
    singles = struct.unpack(f"{len(bounds)}f", struct.pack(f"{len(bounds)}f", *bounds))
    return tuple(map(max, bounds, singles))


class Histogram:
    """Counts in buckets. ``bounds`` are upper bounds, inclusive; above the last one is ``+Inf``.

    What decides is ``edges``, where they are not quite the bounds.
    """

    __slots__ = ("bounds", "counts", "edges", "total")

    def __init__(self, bounds: Sequence[float], edges: Sequence[float] | None = None) -> None:
        self.bounds = bounds
        self.edges = edges or bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.edges, value)] += 1
        self.total += value

    def lines(self, name: str, labels: str) -> Iterable[str]:
        """The samples, cumulative as the format wants them."""
        seen, separator = 0, "," if labels else ""
        for bound, count in zip((*self.bounds, "+Inf"), self.counts, strict=True):
            seen += count
            yield f'{name}_bucket{{{labels}{separator}le="{bound}"}} {seen}'
        yield f"{name}_sum{_braced(labels)} {self.total!r}"
        yield f"{name}_count{_braced(labels)} {seen}"


_EDGES = edges(NUMBERS)


class Metrics:
    """Everything that one server process counts.

    ``gauges`` are asked when somebody looks; ``set_gauge`` adds one.
    """

    def __init__(self, info: Mapping[str, str] | None = None) -> None:
        self._info = dict(info or {})
        self._requests: dict[tuple[str, int], int] = {}
        self._seconds: dict[str, Histogram] = {}
        self._violations: dict[tuple[str, str], int] = {}
        self._counts: dict[str, dict[str, int] | None] = {}
        self._values: dict[str, Histogram] = {}
        self._batches = Histogram(SIZES)
        self._gauges: dict[str, tuple[str, Callable[[], float]]] = {}

    def set_gauge(self, name: str, help_text: str, value: Callable[[], float]) -> None:
        """Show ``value()`` under ``name`` from now on."""
        self._gauges[name] = (help_text, value)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count one answered request. ``route`` is one of the server's own routes, or ``other``."""
        key = (route, status)
        self._requests[key] = self._requests.get(key, 0) + 1
        histogram = self._seconds.get(route)
        if histogram is None:
            histogram = self._seconds[route] = Histogram(SECONDS)
        histogram.observe(seconds)

    def violation(self, side: str, pointer: str) -> None:
        """Count one fault: ``side`` is ``request`` or ``response``."""
        key = (side, place(pointer))
        if key not in self._violations and len(self._violations) >= MAX_POINTERS:
            key = (side, "other")
        self._violations[key] = self._violations.get(key, 0) + 1

    def batch(self, size: int) -> None:
        """Count one batch of ``size`` requests."""
        self._batches.observe(size)

    def predicted(self, pointer: str, value: bool | int | float | str) -> None:
        """Count one predicted value: booleans and small sets of strings by value, numbers in a histogram."""
        kind = type(value)
        if kind is float or kind is int:
            if histogram := self._values.get(pointer) or self._histogram(pointer):
                histogram.observe(value)  # type: ignore[arg-type]
        elif kind is bool:
            self._count(pointer, "true" if value else "false")
        else:
            self._count(pointer, str(value))

    def predictions(self, found: Iterable[tuple[str, Sequence[bool | int | float | str]]]) -> None:
        """Count the predicted values of one answer: pointers, and the values at each."""
        for pointer, values in found:
            histogram = self._values.get(pointer)
            for value in values:
                if histogram is not None and (type(value) is float or type(value) is int):
                    histogram.counts[bisect_left(_EDGES, value)] += 1
                    histogram.total += value
                else:
                    self.predicted(pointer, value)

    def _histogram(self, pointer: str) -> Histogram | None:
        """A new one, while there is room."""
        if len(self._values) >= MAX_POINTERS:
            return None
        histogram = self._values[pointer] = Histogram(NUMBERS, _EDGES)
        return histogram

    def _count(self, pointer: str, value: str) -> None:
        if pointer not in self._counts and len(self._counts) < MAX_POINTERS:
            self._counts[pointer] = {}
        counts = self._counts.get(pointer)
        if counts is None:
            return
        counts[value] = counts.get(value, 0) + 1
        if len(counts) > MAX_VALUES:
            self._counts[pointer] = None

    def text(self) -> str:
        """The exposition of this process."""
        return "\n".join(line for family in self._families() for line in family) + "\n"

    def _families(self) -> Iterable[Iterable[str]]:
        info = ",".join(f'{k}="{_escaped(v)}"' for k, v in self._info.items())
        yield _family("serinus_info", "gauge", "What is served.", [f"serinus_info{_braced(info)} 1"])
        yield _family(
            *("serinus_requests_total", "counter", "Answers by route and status."),
            [
                f'serinus_requests_total{{route="{_escaped(r)}",status="{s}"}} {n}'
                for (r, s), n in self._requests.items()
            ],
        )
        yield _histograms("serinus_request_seconds", "Time to an answer.", "route", self._seconds)
        yield _family(
            *("serinus_violations_total", "counter", "Faults under the contract, by side and JSON Pointer."),
            [
                f'serinus_violations_total{{side="{side}",pointer="{_escaped(p)}"}} {n}'
                for (side, p), n in self._violations.items()
            ],
        )
        yield _family(
            *("serinus_predictions_total", "counter", "Predicted values of small sets, by JSON Pointer."),
            [
                f'serinus_predictions_total{{pointer="{_escaped(p)}",value="{_escaped(v)}"}} {n}'
                for p, counts in self._counts.items()
                for v, n in (counts or {}).items()
            ],
        )
        yield _histograms(
            "serinus_prediction", "Predicted numbers, by JSON Pointer.", "pointer", self._values
        )
        yield _histograms("serinus_batch_size", "Requests in a batch.", "", {"": self._batches})
        for name, (text, value) in self._gauges.items():
            yield _family(name, "gauge", text, [f"{name} {value()!r}"])
        yield _process()


def _histograms(name: str, text: str, label: str, series: Mapping[str, Histogram]) -> Iterable[str]:
    lines = [
        line
        for value, histogram in series.items()
        for line in histogram.lines(name, f'{label}="{_escaped(value)}"' if label else "")
    ]
    return _family(name, "histogram", text, lines)


def _family(name: str, kind: str, text: str, samples: Sequence[str]) -> Iterable[str]:
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}", *samples] if samples else []


def _braced(labels: str) -> str:
    return f"{{{labels}}}" if labels else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _process() -> Iterable[str]:
    """Memory of this process in bytes, named as by Prometheus' own clients; nothing without /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return []
    name = "process_resident_memory_bytes"
    return _family(name, "gauge", "Resident memory.", [f"{name} {pages * os.sysconf('SC_PAGE_SIZE')}"])


_LEAST = ("serinus_ready", "serinus_info")


def merge(texts: Sequence[str]) -> str:
    """Several expositions as one: equal samples are added up (for readiness and facts the least counts)."""
    families: dict[str, dict[str, float]] = {}
    heads: dict[str, list[str]] = {}
    for text in texts:
        name = ""
        for line in text.split("\n")[:-1]:
            if line.startswith("# "):
                name = line.split(" ", 3)[2]
                if line not in heads.setdefault(name, []):
                    heads[name].append(line)
                continue
            sample, _, value = line.rpartition(" ")
            samples, number = families.setdefault(name, {}), float(value)
            known = samples.get(sample)
            if known is not None:
                number = min(known, number) if name in _LEAST else known + number
            samples[sample] = number
    lines: list[str] = []
    for name, head in heads.items():
        lines += head
        lines += [f"{s} {int(v) if v.is_integer() else v!r}" for s, v in families.get(name, {}).items()]
    return "\n".join(lines) + "\n"
