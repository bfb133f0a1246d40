"""An environment as a notebook shows it: HTML that asks nothing of anybody. Pure.

What it says is put in as text, see :mod:`serinus.checks.formats.markup`. No script and no style sheet: a
notebook keeps neither, and its own colours are taken over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element

from serinus.checks.formats.markup import Part, tag, written
from serinus.checks.formats.text import duration
from serinus.environment.status import (
    ArmTraffic,
    RolloutStatus,
    ShadowStatus,
    Status,
    VersionStatus,
)
from serinus.rollout.policy import per_cent

_BOX = "border:1px solid #8886;border-radius:6px;padding:.7em 1em;max-width:56em"
_CELL = "text-align:left;padding:.15em .8em .15em 0;border:0"
_TRACK = "display:inline-block;width:10em;height:.7em;border:1px solid #8886;border-radius:2px"
_STABLE, _CANDIDATE, _AGAINST = "#2a78b5", "#c77700", "#b3261e"


def html(status: Status | None, title: str = "", trouble: str = "") -> str:
    """A status as HTML.

    Args:
        status: None where it could not be had.
        title: stands above.
        trouble: why it is not fresh.
    """
    parts: list[Part] = [tag("b", title)] if title else []
    if trouble:
        parts.append(_note(trouble))
    if status is not None:
        parts += _environment(status)
    return written(tag("div", *parts, style=_BOX))


def _environment(status: Status) -> Iterator[Element]:
    yield tag("div", f"{status.environment} at ", tag("code", status.url))
    if status.trouble:
        yield _note(status.trouble)
    yield _table(
        ("", "version", "share", "", "replicas", "requests", "errors", "violations", "p50", "p95"),
        [_version(status, one) for one in status.versions],
    )
    rollout = status.rollout
    if rollout is not None:
        yield from _rollout(rollout)


def _version(status: Status, version: VersionStatus) -> tuple[Part, ...]:
    share = {"stable": 1 - status.weight.wanted, "candidate": status.weight.wanted}.get(version.role)
    colour = _CANDIDATE if version.role == "candidate" else _STABLE
    traffic = {"stable": status.traffic.stable, "candidate": status.traffic.candidate}.get(version.role)
    return (
        version.role,
        tag("span", f"{version.name} ", tag("code", version.digest.rpartition(":")[2][:8])),
        "" if share is None else per_cent(share),
        None if share is None else _bar(share, colour),
        f"{version.ready}/{version.replicas} {version.health}",
        *_figures(traffic),
    )


def _figures(traffic: ArmTraffic | None) -> tuple[str, ...]:
    if traffic is None:
        return ("",) * 5
    shares = (traffic.errors, traffic.violations)
    times = (traffic.p50, traffic.p95)
    return (
        f"{traffic.rate:.1f} /s",
        *("" if share is None else f"{share:.2%}" for share in shares),
        *("" if time is None else duration(time) for time in times),
    )


def _rollout(rollout: RolloutStatus) -> Iterator[Element]:
    step = f", step {rollout.step} of {len(rollout.steps)}" if rollout.step else ""
    yield tag("div", f"{rollout.strategy}: {rollout.phase}{step}, {duration(rollout.elapsed)}")
    if rollout.waits:
        yield tag("div", tag("b", "waits for "), rollout.waits)
    rows: list[tuple[Part, ...]] = [
        (one.name, _bar(one.share, _AGAINST), f"{one.log_e:.2f} of {one.bound:.2f}", "decided" * one.crossed)
        for one in rollout.evidence
    ]
    drift = rollout.drift
    said = "" if drift.pointer is None else f"{drift.pointer or '/'} {drift.value}"
    rows.append(("drift", _bar(drift.share, _AGAINST), f"{drift.log_e:.2f} of {drift.bound:.2f}", said))
    if (promise := rollout.promise) is not None:
        have = rollout.here.candidate.clean
        share = 1.0 if promise.shown else have / (have + promise.needed) if promise.needed else 0.0
        told = f"at most {per_cent(promise.bound)} worse, wanted {per_cent(promise.margin)}"
        rows.append(("promise", _bar(share, _STABLE), f"{have} clean answers", told))
    yield _table(("evidence against it", "", "", ""), rows)
    if rollout.shadow is not None:
        yield from _shadow(rollout.shadow)


def _shadow(shadow: ShadowStatus) -> Iterator[Element]:
    agreement = "" if shadow.agreement is None else f", {per_cent(shadow.agreement)} agree"
    ratio = "" if shadow.latency_ratio is None else f", {shadow.latency_ratio:.2f} times stable's latency"
    yield tag("div", f"shadow: {shadow.pairs} of {shadow.answers} answers compared{agreement}{ratio}")
    rows = [(tag("code", one.where or "/"), one.stable, one.candidate) for one in shadow.examples]
    if rows:
        yield _table(("differs at", "stable", "candidate"), rows)


def _bar(share: float, colour: str) -> Element:
    width = f"{min(1.0, max(0.0, share)):.1%}"
    fill = tag("span", style=f"display:block;height:100%;width:{width};background:{colour}")
    return tag("span", fill, style=_TRACK, role="img", aria_label=width)


def _note(text: str) -> Element:
    return tag("div", text, style=f"color:{_AGAINST}")


def _table(head: tuple[str, ...], rows: Sequence[tuple[Part, ...]]) -> Element:
    titles = tag("tr", *(tag("th", name, style=_CELL) for name in head))
    lines = (tag("tr", *(tag("td", part, style=_CELL) for part in row)) for row in rows)
    return tag("table", tag("thead", titles), tag("tbody", *lines), style="border-collapse:collapse")
