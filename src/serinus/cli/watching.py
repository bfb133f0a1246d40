"""An environment on a screen and in a log: how it stands, and what happens meanwhile."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from serinus.checks.formats.text import duration, one_line
from serinus.cli.output import drawn, table
from serinus.environment.client import Look
from serinus.environment.status import (
    ArmTraffic,
    Event,
    PromiseStatus,
    RolloutStatus,
    ShadowStatus,
    Status,
    VersionStatus,
)
from serinus.rollout.policy import per_cent

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

Row = tuple[str, str]
"""A line, and its colour or nothing."""
_BAR = 20
_COLOURS = {"abort": "red", "hold": "yellow", "rescue": "yellow", "promote": "green", "supersede": "yellow"}
_HEALTH = {"failing": "red", "degraded": "yellow"}


def bar(share: float, width: int = _BAR) -> str:
    """A share as a bar; whatever is above nothing shows."""
    full = min(width, max(0, round(share * width)))
    if share > 0:
        full = max(1, full)
    return "█" * full + "░" * (width - full)


def picture(status: Status) -> list[Row]:
    """How an environment stands: the versions, and the rollout with its evidence. Pure."""
    rows: list[Row] = [(f"{status.environment} at {status.url}", "bold")]
    if status.trouble:
        rows.append((f"trouble: {one_line(status.trouble)}", "red"))
    rows += _versions(status)
    if status.rollout is None:
        rows.append(("no rollout is under way" if status.stable else "nothing is in charge", ""))
    else:
        rows += _rollout(status, status.rollout)
    return rows


def _versions(status: Status) -> Iterator[Row]:
    if not status.versions:
        return
    head = ("", "version", "share", "", "replicas", "requests", "errors", "violations", "p50", "p95")
    lines = table([head, *(_version(status, one) for one in status.versions)])
    yield lines[0], "dim"
    for line, one in zip(lines[1:], status.versions, strict=True):
        yield line, _HEALTH.get(one.health, "")
        if one.why and one.health != "ready":
            yield f"  {one_line(one.why)}", _HEALTH.get(one.health, "")


def _version(status: Status, version: VersionStatus) -> tuple[str, ...]:
    weight = status.weight.wanted
    share = {"stable": 1 - weight, "candidate": weight}.get(version.role)
    traffic = {"stable": status.traffic.stable, "candidate": status.traffic.candidate}.get(version.role)
    restarts = f", {version.restarts} restarts" if version.restarts else ""
    return (
        version.role,
        f"{one_line(version.name)} {version.digest.rpartition(':')[2][:8]}",
        "" if share is None else per_cent(share),
        "" if share is None else bar(share, 10),
        f"{version.ready}/{version.replicas} {version.health}{restarts}",
        *_figures(traffic),
    )


def _figures(traffic: ArmTraffic | None) -> tuple[str, ...]:
    if traffic is None:
        return ("",) * 5
    shares = ("" if share is None else f"{share:.2%}" for share in (traffic.errors, traffic.violations))
    times = ("" if seconds is None else duration(seconds) for seconds in (traffic.p50, traffic.p95))
    return (f"{traffic.rate:.1f} /s", *shares, *times)


def _rollout(status: Status, rollout: RolloutStatus) -> Iterator[Row]:
    steps = " ".join(f"{step * 100:.4g}" for step in rollout.steps)
    step = f", step {rollout.step} of {len(rollout.steps)} ({steps} %)" if rollout.step else ""
    least = f" of at least {duration(rollout.least)}" if rollout.least else ""
    told = f"rollout {rollout.number}: {rollout.strategy}, {rollout.phase}{step}"
    yield f"{told}, {duration(rollout.elapsed)}{least}", ""
    weight = status.weight
    if weight.in_force is not None and abs(weight.in_force - weight.wanted) >= 1e-4:
        yield f"  the router has {per_cent(weight.in_force)}, wanted is {per_cent(weight.wanted)}", "yellow"
    rows = [(f"  {name}", *rest) for name, *rest in _bars(rollout)]
    for line, (_, crossed) in zip(table(rows), _colours(rollout), strict=True):
        yield line, crossed
    if rollout.shadow is not None:
        yield from _examples(rollout.shadow)
    if rollout.waits or rollout.paused:
        waits = one_line(rollout.waits or "`serinus resume`")
        yield f"waits for {waits}", "yellow" if rollout.held or rollout.paused else "cyan"


def _bars(rollout: RolloutStatus) -> Iterator[tuple[str, str, str, str]]:
    """Name, bar and figures of each test, the drift, the promise and the comparison."""
    for one in rollout.evidence:
        beside = f"{one.candidate} candidate, {one.others} " + ("stable" if one.tolerated is None else "good")
        yield one.name, bar(one.share), f"{one.log_e:.2f} of {one.bound:.2f}", beside
    drift = rollout.drift
    yield "drift", bar(drift.share), f"{drift.log_e:.2f} of {drift.bound:.2f}", _drift(rollout)
    if rollout.promise is not None:
        yield _promise(rollout, rollout.promise)
    if (shadow := rollout.shadow) is not None:
        share = min(1.0, shadow.pairs / shadow.answers)
        agreement = "" if shadow.agreement is None else f"{per_cent(shadow.agreement)} agree"
        ratio = "" if shadow.latency_ratio is None else f", {shadow.latency_ratio:.2f} times the latency"
        yield "compared", bar(share), f"{shadow.pairs} of {shadow.answers}", agreement + ratio


def _colours(rollout: RolloutStatus) -> Iterator[Row]:
    """The colour of each of :func:`_bars`."""
    for one in rollout.evidence:
        yield one.name, "red" if one.crossed else ""
    yield "drift", "yellow" if rollout.drift.crossed else ""
    if rollout.promise is not None:
        yield "promise", "green" if rollout.promise.shown else ""
    if rollout.shadow is not None:
        yield "compared", ""


def _drift(rollout: RolloutStatus) -> str:
    drift = rollout.drift
    if drift.pointer is None or drift.stable is None or drift.candidate is None:
        return ""
    where = one_line(f"{drift.pointer or '/'} {drift.value}")
    return f"{where}: {per_cent(drift.stable)} stable, {per_cent(drift.candidate)} candidate"


def _promise(rollout: RolloutStatus, promise: PromiseStatus) -> tuple[str, str, str, str]:
    have = rollout.here.candidate.clean
    share = 1.0 if promise.shown else have / (have + promise.needed) if promise.needed else 0.0
    whole = "" if promise.needed is None else f" of {have + promise.needed}"
    told = f"at most {per_cent(promise.bound)} worse, wanted {per_cent(promise.margin)}"
    return "promise", bar(share), f"{have}{whole} clean", told


def _examples(shadow: ShadowStatus) -> Iterator[Row]:
    for one in shadow.examples:
        yield f"  differs at {one.where or '/'}", "yellow"
        yield f"    stable    {one_line(one.stable):.100}", ""
        yield f"    candidate {one_line(one.candidate):.100}", ""


def moment(event: Event) -> Row:
    """An entry of the history in one line."""
    at = time.strftime("%H:%M:%S", time.localtime(event.at))
    return f"{at}  {event.kind:<9}  {one_line(event.message)}", _COLOURS.get(event.kind, "")


class Live:
    """Draws how the environment stands, in a terminal, until it is closed; what happens stays above.

    Args:
        console: where; default standard error.
    """

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.live import Live as Screen

        self.every = 0.5
        self._console = console or Console(stderr=True)
        self._status: Status | None = None
        self._screen = Screen(
            get_renderable=self._drawn, console=self._console, refresh_per_second=4, transient=True
        )
        self._screen.start()

    def __call__(self, look: Look) -> None:
        """Take in a look."""
        self._status = look.status
        for told, colour in map(moment, look.events):
            self._console.print(told, style=colour or None, markup=False, highlight=False)
        self._screen.refresh()

    def close(self) -> None:
        """Take the picture away."""
        self._screen.stop()

    def _drawn(self) -> Text:
        rows = picture(self._status) if self._status else []
        return drawn(rows[: max(1, self._console.height - 1)])


class Log:
    """A line for each thing that happens, and for each new reason to wait; for logs.

    Args:
        write: takes a line.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self.every = 5.0
        self._write = write
        self._waited: tuple[object, ...] = ()

    def __call__(self, look: Look) -> None:
        """Tell of a look."""
        for told, _ in map(moment, look.events):
            self._write(told)
        rollout = look.status.rollout
        if rollout is None or not rollout.waits:
            return
        waits = (rollout.number, rollout.phase, rollout.step, rollout.held)
        if waits != self._waited:
            self._waited = waits
            self._write(f"          {per_cent(rollout.weight)}: waits for {one_line(rollout.waits)}")

    def close(self) -> None:
        """Nothing is open."""


def display(quiet: bool) -> Live | Log:
    """What shows an environment: a picture in a terminal, lines elsewhere; nothing where it is quiet."""
    if quiet:
        return Log(lambda text: None)
    return Live() if sys.stderr.isatty() else Log(lambda text: click.echo(text, err=True))
