"""Figures as tables in Markdown, and what is claimed of them."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from peers import pinned
from stand import system_python


@dataclass(frozen=True)
class Ratio:
    """How many times as fast one service was as another, in each of several rounds.

    The two of a round were measured shortly after each other, on a machine that may be slower in the next
    one: so the ratio of each round is taken, and of these the median.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
        """From the rates of both, one a round.

        Raises:
            ValueError: one has more rounds than the other, or none.
        """
        rounds = [own / other for own, other in zip(ours, theirs, strict=True)]
        return cls(median(rounds), min(rounds), max(rounds))

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g} to {self.high:.3g})"


@dataclass(frozen=True)
class Claim:
    """Something that must be so: a number, and what it is held to."""

    text: str
    found: float
    bound: float
    least: bool = True
    """Whether the number is to be at least the bound; else at most."""
    unit: str = ""
    spread: tuple[float, float] | None = None
    """The least and the most that was found in a round."""

    @classmethod
    def of(cls, text: str, ratio: Ratio, bound: float, *, least: bool = True) -> Claim:
        """That a ratio is at least a bound, or at most."""
        return cls(text, ratio.median, bound, least, spread=(ratio.low, ratio.high))

    @property
    def holds(self) -> bool:
        return self.found >= self.bound if self.least else self.found <= self.bound

    def __str__(self) -> str:
        word = "at least" if self.least else "at most"
        told = "holds" if self.holds else "**missed**"
        rounds = f" (rounds: {self.spread[0]:.3g} to {self.spread[1]:.3g})" if self.spread else ""
        found = f"{self.found:.3g}{self.unit}{rounds}"
        return f"- {self.text}: {found}, {word} {self.bound:.3g}{self.unit}: {told}"


@dataclass(frozen=True)
class Table:
    """Rows under heads."""

    heads: Sequence[str]
    rows: Sequence[Sequence[Any]]

    def __str__(self) -> str:
        lines = [_row(self.heads), _row(["---", *["---:"] * (len(self.heads) - 1)])]
        return "\n".join([*lines, *(_row([shown(cell) for cell in row]) for row in self.rows)])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def shown(cell: Any) -> str:
    """A cell as a person reads it: three digits, or all before the point."""
    if not isinstance(cell, float):
        return str(cell)
    return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.3g}"


@dataclass(frozen=True)
class Part:
    """One part of the benchmark: what was done, its tables, its claims, and what must be said of them."""

    title: str
    tables: Sequence[Table] = ()
    claims: Sequence[Claim] = ()
    notes: Sequence[str] = ()
    figures: dict[str, Any] = field(default_factory=dict)
    """The same for programs, every single measurement among it."""

    def __str__(self) -> str:
        parts = [f"## {self.title}", *map(str, self.tables)]
        if self.claims:
            parts.append("\n".join(map(str, self.claims)))
        parts += self.notes
        return "\n\n".join(parts)

    def to_json(self) -> dict[str, Any]:
        claims = [
            {
                "claim": one.text,
                "found": one.found,
                "bound": one.bound,
                "least": one.least,
                "holds": one.holds,
                "rounds": one.spread,
            }
            for one in self.claims
        ]
        return {"title": self.title, "claims": claims, **self.figures}


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


# -------------------------------------------------------------------------------------------- the machine


def machine() -> dict[str, str]:
    """What the figures were measured on, and with what."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    name = names[0].partition(":")[2].strip() if names else platform.machine()
    wrk = subprocess.run(["wrk", "--version"], capture_output=True, text=True, check=False).stdout
    return {
        "processor": f"{len(os.sched_getaffinity(0))} cores of {name}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "kernel": platform.release(),
        "load average before": f"{os.getloadavg()[0]:.1f}",
        "wrk": wrk.split("[")[0].strip().removeprefix("wrk").strip(),
        "Python of the peers": _python(),
        "Serinus": version("serinus"),
    } | {what: _versions(name) for what, name in _PEERS.items()}


def _python() -> str:
    words = [system_python(), "-c", "import sys; print(sys.version)"]
    return " ".join(subprocess.run(words, capture_output=True, text=True, check=True).stdout.split())


_PEERS = {
    "bare Granian": "granian",
    "FastAPI on uvicorn": "fastapi",
    "Flask on gunicorn": "flask",
    "MLServer": "mlserver",
    "LitServe": "litserve",
    "BentoML": "bentoml",
}
_SHOWN = (
    *("granian", "fastapi", "uvicorn", "uvloop", "httptools", "flask", "gunicorn", "mlserver", "litserve"),
    *("bentoml", "pydantic", "starlette", "orjson", "numpy", "onnxruntime"),
)


def _versions(name: str) -> str:
    found = pinned(name)
    return ", ".join(f"{package} {found[package]}" for package in _SHOWN if package in found)
