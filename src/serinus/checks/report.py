"""The report: the verdicts of one run, about one image. A value, and its JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from serinus import __version__
from serinus.checks import LAYERS, Finding, Measure, Plot, Status, Verdict
from serinus.errors import CheckError


@dataclass(frozen=True, slots=True)
class Span:
    """When a job of the run was under way: a check, or the making of what checks look at."""

    name: str
    """Id of a check, or name of a fixture."""
    title: str
    begin: float
    """Seconds after the beginning of the run."""
    seconds: float
    lane: int
    """The thread it ran in; 0 is the one that measures time."""
    needs: tuple[str, ...] = ()
    """The jobs it waited for."""


@dataclass(frozen=True, slots=True)
class Report:
    """The verdicts of one run."""

    name: str
    """Of the image or the project."""
    digest: str | None
    """Of the image; None where there was none."""
    verdicts: tuple[Verdict, ...]
    """In the order of the layers."""
    seconds: float
    """How long the run took."""
    begin: str = ""
    """When it began, RFC 3339, UTC."""
    spans: tuple[Span, ...] = ()
    machine: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Where it ran: processor, cores, Python, runtime."""
    complete: bool = True
    """Whether every check was asked for, rather than some by ``--only``."""
    source: bool = True
    """Whether the source tree was looked at, rather than a built image alone."""
    tool: str = __version__

    @property
    def status(self) -> Status:
        """``failed`` if a check failed; else ``blocked`` if one could not run; else ``warned`` or ``passed``.

        A report without a single pass or warning is ``not applicable``.
        """
        found = {verdict.status for verdict in self.verdicts}
        order = (Status.FAILED, Status.BLOCKED, Status.WARNED, Status.PASSED)
        return next((status for status in order if status in found), Status.NOT_APPLICABLE)

    def of(self, *statuses: Status) -> tuple[Verdict, ...]:
        """The verdicts with one of these statuses."""
        return tuple(verdict for verdict in self.verdicts if verdict.status in statuses)

    def layers(self) -> Mapping[str, tuple[Verdict, ...]]:
        """The verdicts by layer, in order."""
        names = dict.fromkeys((*LAYERS, *(verdict.layer for verdict in self.verdicts)))
        grouped = {name: tuple(v for v in self.verdicts if v.layer == name) for name in names}
        return {name: verdicts for name, verdicts in grouped.items() if verdicts}

    def chains(self) -> Mapping[str, float]:
        """Job -> the seconds that it takes with all that must be made for it, one after the other.

        The longest of these is the least time that the run could have taken (the critical path).
        """
        spans = {span.name: span for span in self.spans}
        found: dict[str, float] = {}

        def chain(name: str) -> float:
            if name not in found:
                span = spans[name]
                before = max((chain(need) for need in span.needs if need in spans), default=0.0)
                found[name] = span.seconds + before
            return found[name]

        for name in spans:
            chain(name)
        return found

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Any) -> Report:
        """Read what :meth:`to_json` gave.

        Raises:
            CheckError: it is no report.
        """
        try:
            known = dict(document)
            known["verdicts"] = tuple(map(_verdict, known["verdicts"]))
            known["spans"] = tuple(
                Span(**{**span, "needs": tuple(span["needs"])}) for span in known.get("spans", ())
            )
            return cls(**known)
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise CheckError(
                f"this is no report of checks: {error!r}", "Read it with the version of Serinus that made it."
            ) from None

    def text(self) -> str:
        """Its JSON as text."""
        return json.dumps(self.to_json(), ensure_ascii=False)


def _verdict(document: Mapping[str, Any]) -> Verdict:
    return Verdict(
        **{
            **document,
            "status": Status(document["status"]),
            "findings": tuple(Finding(**finding) for finding in document["findings"]),
            "measures": tuple(Measure(**measure) for measure in document["measures"]),
            "plots": tuple(map(_plot, document["plots"])),
        }
    )


def _plot(document: Mapping[str, Any]) -> Plot:
    series = tuple((name, tuple((x, y) for x, y in points)) for name, points in document["series"])
    return Plot(**{**document, "series": series})
