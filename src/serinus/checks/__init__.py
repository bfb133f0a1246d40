"""Checks: one function each, that looks at a project, a running service or an image and returns a verdict.

A check says by the names of its parameters what it looks at; ``fixtures`` makes each of those once, for all
checks that take it. The flow, and the module that serves each stage::

    catalogue   every check there is, an ordered tuple; ``own`` finds those of the project
    plan        checks and fixtures -> which job runs next (pure)
    run         runs the jobs in parallel; a verdict each
    report      the verdicts for one image: as a statement about its digest, pushed beside it, read back
    formats     the report for people and machines

A layer of checks is a package beside these modules, a module each topic.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, overload

LAYERS = (
    "code",
    "dependencies",
    "model",
    "image",
    "transport",
    "contract",
    "behaviour",
    "quality",
    "drift",
    "speed",
    "tests",
    "own",
)
"""What a request passes through, and what stands beside it; in the order in which reports show them."""


class Status(StrEnum):
    """What came of a check."""

    PASSED = "passed"
    WARNED = "warned"
    """It failed, but is of the kind that warns."""
    FAILED = "failed"
    NOT_APPLICABLE = "not applicable"
    """There is nothing to look at; the summary says what to add. Never a pass."""
    SKIPPED = "skipped"
    """Somebody asked for it to be left out."""
    BLOCKED = "blocked"
    """It could not be run: what it looks at cannot be had, or the check itself broke."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault: what was found and expected, where, and what to do next."""

    message: str
    todo: str = ""
    file: str = ""
    """Relative to the project's folder."""
    line: int | None = None
    """From 1."""
    pointer: str | None = None
    """JSON Pointer (RFC 6901) into the document that the message is about; ``""`` is the whole of it."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A number that a check found, and the bound that it was held to."""

    name: str
    value: float
    unit: str = ""
    """``s``, ``B``, ``1/s`` or nothing."""
    at_most: float | None = None
    at_least: float | None = None

    @property
    def holds(self) -> bool:
        """Whether it is within its bounds; not-a-number never is, once there is a bound."""
        above = self.at_least is None or self.value >= self.at_least
        return above and (self.at_most is None or self.value <= self.at_most)


@dataclass(frozen=True, slots=True)
class Plot:
    """Numbers to be drawn in the report for people."""

    title: str
    series: tuple[tuple[str, tuple[tuple[float | str, float], ...]], ...]
    """Name and (x, y) points of each; x is a number, or the name of a category."""
    x: str = ""
    y: str = ""
    kind: str = "line"
    """``line`` or ``bars``."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a check found. It failed when there are findings."""

    summary: str = ""
    findings: tuple[Finding, ...] = ()
    measures: tuple[Measure, ...] = ()
    plots: tuple[Plot, ...] = ()
    warning: bool = False
    """Whether the findings are a warning."""


class NotApplicable(Exception):
    """There is nothing to look at.

    Args:
        why: what is missing.
        todo: what to add.
    """

    def __init__(self, why: str, todo: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.todo = todo

    def __str__(self) -> str:
        return f"{self.why}. {self.todo}" if self.todo else self.why


class Failed(Exception):
    """A check that ends with findings from deep within.

    Args:
        findings: the faults.
    """

    def __init__(self, *findings: Finding) -> None:
        super().__init__("; ".join(finding.message for finding in findings))
        self.findings = findings


Outcome = Result | Finding | Iterable[Finding] | str | bool | None
"""What a check may return: findings (none: it passed), a summary of a pass, ``False`` for a failure."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check; still callable as the function it was made from."""

    id: str
    """``layer.name``."""
    looks_at: str
    """What it looks at and holds to: the first paragraph of the function's documentation."""
    why: str
    """Why it exists: what went wrong, or would."""
    function: Callable[..., Outcome] = field(repr=False)
    measuring: bool = False
    """Whether it measures time: it runs alone among its kind, and everything else gives way to it."""
    seconds: float = 1.0
    """About how long it takes: what takes long is started first."""

    @property
    def layer(self) -> str:
        """The first part of its id."""
        return self.id.partition(".")[0]

    @property
    def needs(self) -> tuple[str, ...]:
        """The fixtures that it takes, by the names of its parameters."""
        return parameters(self.function)

    def __call__(self, *args: Any, **kwargs: Any) -> Outcome:
        """What the function returns."""
        return self.function(*args, **kwargs)


def parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    """The names of a function's parameters without a default."""
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    found = inspect.signature(function).parameters.values()
    return tuple(p.name for p in found if p.default is p.empty and p.kind not in several)


@overload
def check(name: Callable[..., Outcome], /) -> Check: ...
@overload
def check(
    name: str | None = None, /, *, why: str = "", measuring: bool = False, seconds: float = 1.0
) -> Callable[[Callable[..., Outcome]], Check]: ...
def check(
    name: str | Callable[..., Outcome] | None = None,
    /,
    *,
    why: str = "",
    measuring: bool = False,
    seconds: float = 1.0,
) -> Check | Callable[[Callable[..., Outcome]], Check]:
    """Make a function a check; used as ``@check`` or ``@check("layer.name", why="...")``.

    The function takes fixtures by name (``project``, ``service``, ``client``, ``image``, ``contract``,
    ``examples``, ``labelled``; ``serinus check --list`` shows all). It passes by returning nothing, ``True``
    or a summary; it fails by returning findings or ``False``, or by raising; with :class:`NotApplicable`
    it says that there is nothing to look at. The first paragraph of its documentation says what it looks at.

    Args:
        name: ``layer.name``; without a dot, or left out, the check is one of the project's own, ``own.NAME``.
        why: what went wrong once, or would.
        measuring: whether it measures time, and must not be disturbed.
        seconds: about how long it takes.
    """

    def made(function: Callable[..., Outcome]) -> Check:
        own = getattr(function, "__name__", "check").replace("_", "-")
        full = name if isinstance(name, str) else own
        if "." not in full:
            full = f"own.{full}"
        said = inspect.cleandoc(function.__doc__ or "").split("\n\n")[0]
        return Check(full, " ".join(said.split()), why, function, measuring, seconds)

    return made(name) if callable(name) else made


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one check, and when."""

    check: str
    """Its id."""
    status: Status
    summary: str = ""
    findings: tuple[Finding, ...] = ()
    measures: tuple[Measure, ...] = ()
    plots: tuple[Plot, ...] = ()
    begin: float = 0.0
    """Seconds after the beginning of the run."""
    seconds: float = 0.0

    @property
    def layer(self) -> str:
        """The first part of the check's id."""
        return self.check.partition(".")[0]


def settled(outcome: Outcome) -> Result:
    """What a check returned, as a result."""
    match outcome:
        case Result():
            return outcome
        case None | True:
            return Result()
        case False:
            return Result(findings=(Finding("the check returned False"),))
        case str():
            return Result(outcome)
        case Finding():
            return Result(findings=(outcome,))
        case _:
            return Result(findings=tuple(outcome))


def chosen(check: str, names: Iterable[str]) -> bool:
    """Whether a check is among those that somebody named, by id, layer, or a pattern such as ``speed.*``."""
    from fnmatch import fnmatchcase

    return any(check == n or check.startswith(f"{n}.") or fnmatchcase(check, n) for n in names)
