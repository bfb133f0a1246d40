"""The report as a page for people: one file that asks nothing of anybody.

No script and no address: the policy of the page (Content Security Policy 3) allows only its own style sheet,
by its digest. What the report says is put in as text, see ``markup``.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from xml.etree.ElementTree import Element

from serinus.checks import Check, Finding, Measure, Plot, Status, Verdict
from serinus.checks.formats import plots
from serinus.checks.formats.markup import Part, tag, written
from serinus.checks.formats.text import (
    MARKS,
    bounds,
    clock,
    counts,
    duration,
    headline,
    place,
    quantity,
    several,
)
from serinus.checks.formats.timeline import critical, timeline
from serinus.checks.report import Report

Known = Mapping[str, Check]


def page(report: Report, checks: Sequence[Check] = (), folder: str = "") -> str:
    """The report as one HTML page.

    Args:
        report: the report.
        checks: what the page says of each check; one that is not among them has only its id.
        folder: not used: people start from the project.
    """
    known = {check.id: check for check in checks}
    sections = [
        _wrong(report, Status.FAILED, "Failed", known),
        _wrong(report, Status.BLOCKED, "Could not run", known),
        _wrong(report, Status.WARNED, "Warnings", known),
        _all(report, known),
        _run(report),
        _plots(report),
        _missing(report),
    ]
    body = tag("body", _header(report), tag("main", *sections, id="main"), _footer(report))
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy()),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{report.name}: {headline(report)}"),
        tag("style", _style()),
    )
    return f"<!doctype html>\n{written(tag('html', head, body, lang='en'))}\n"


@cache
def _style() -> str:
    return (files("serinus.checks.formats") / "report.css").read_text(encoding="utf-8")


def _policy() -> str:
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _kind(status: Status) -> str:
    return status.value.replace(" ", "-")


def _badge(status: Status) -> Element:
    sign = tag("span", MARKS[status], aria_hidden="true")
    return tag("span", sign, f" {status.value}", class_=f"badge {_kind(status)}")


def _header(report: Report) -> Element:
    found = counts(report.verdicts)
    tiles = [
        tag("li", tag("b", str(number)), f" {status.value}", class_=f"tile {_kind(status)}")
        for status, number in found.items()
    ]
    facts = [
        ("Image", tag("code", report.digest) if report.digest else "none"),
        ("Began", report.begin or "not known"),
        ("Took", duration(report.seconds)),
        ("Machine", ", ".join(f"{key} {value}" for key, value in report.machine.items()) or "not known"),
    ]
    if not report.complete:
        facts.append(("Part", "only some checks were asked for"))
    terms = [part for name, value in facts for part in (tag("dt", name), tag("dd", value))]
    return tag(
        "header",
        tag("p", "Serinus: report of checks", class_="kicker"),
        tag("h1", report.name or "report"),
        tag(
            "p",
            tag("span", MARKS[report.status], aria_hidden="true"),
            f" {headline(report)}",
            class_=f"verdict {_kind(report.status)}",
        ),
        tag("ul", *tiles, class_="tiles", aria_label="Verdicts by status"),
        tag("dl", *terms, class_="facts"),
        _contents(report),
    )


def _contents(report: Report) -> Element:
    there = {
        "failed": ("Failed", bool(report.of(Status.FAILED))),
        "blocked": ("Could not run", bool(report.of(Status.BLOCKED))),
        "warned": ("Warnings", bool(report.of(Status.WARNED))),
        "checks": ("All checks", True),
        "timeline": ("Timeline", bool(report.spans)),
        "plots": ("Plots", any(verdict.plots for verdict in report.verdicts)),
        "missing": ("Not applicable", bool(report.of(Status.NOT_APPLICABLE))),
    }
    links = [tag("a", title, href=f"#{name}") for name, (title, is_there) in there.items() if is_there]
    return tag("nav", *links, aria_label="Contents")


def _wrong(report: Report, status: Status, title: str, known: Known) -> Part:
    verdicts = report.of(status)
    if not verdicts:
        return None
    cards = [_card(verdict, known) for verdict in verdicts]
    return tag("section", tag("h2", title), *cards, id=_kind(status), aria_label=title)


def _card(verdict: Verdict, known: Known) -> Element:
    check = known.get(verdict.check)
    shown = verdict.findings or (Finding(verdict.summary),)
    lines = [_finding(finding) for finding in shown]
    summary = verdict.summary if verdict.summary not in {finding.message for finding in shown} else ""
    why = tag("p", f"Why it is checked: {check.why}", class_="quiet") if check and check.why else None
    return tag(
        "article",
        tag("h3", _badge(verdict.status), " ", tag("code", verdict.check)),
        tag("p", check.looks_at, class_="quiet") if check else None,
        tag("p", summary) if summary else None,
        tag("ul", *lines, class_="findings"),
        why,
        class_=f"card {_kind(verdict.status)}",
    )


def _finding(finding: Finding) -> Element:
    return tag(
        "li",
        tag("p", finding.message, class_="message"),
        tag("p", tag("code", place(finding)), class_="place") if place(finding) else None,
        tag("p", tag("b", "To do: "), finding.todo, class_="todo") if finding.todo else None,
    )


def _all(report: Report, known: Known) -> Element:
    layers = [_layer(name, verdicts, known) for name, verdicts in report.layers().items()]
    return tag("section", tag("h2", "All checks"), *layers, id="checks", aria_label="All checks")


def _layer(name: str, verdicts: Sequence[Verdict], known: Known) -> Element:
    found = ", ".join(f"{number} {status.value}" for status, number in counts(verdicts).items())
    heads = [tag("th", title, scope="col") for title in ("Verdict", "Check", "What was found", "Time")]
    rows = [_row(verdict, known) for verdict in verdicts]
    table = tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *rows), class_="verdicts")
    heading = tag("h3", name, " ", tag("span", found, class_="quiet"))
    box = tag("div", table, class_="scroll", tabindex="0", role="region", aria_label=f"Checks of {name}")
    return tag("details", tag("summary", heading), box, open="open", class_="layer")


def _row(verdict: Verdict, known: Known) -> Element:
    check = known.get(verdict.check)
    about = None
    if check and check.looks_at:
        why = tag("p", f"Why: {check.why}") if check.why else None
        about = tag(
            "details", tag("summary", "what it looks at"), tag("p", check.looks_at), why, class_="about"
        )
    measures = tag("ul", *map(_measure, verdict.measures), class_="measures") if verdict.measures else None
    return tag(
        "tr",
        tag("td", _badge(verdict.status)),
        tag("th", tag("code", verdict.check.partition(".")[2] or verdict.check), about, scope="row"),
        tag("td", verdict.summary, measures),
        tag("td", clock(verdict.seconds), class_="number"),
    )


def _measure(measure: Measure) -> Element:
    held = bounds(measure)
    sign = "" if not held else " ✓" if measure.holds else " ✗"
    return tag(
        "li",
        f"{measure.name} ",
        tag("b", quantity(measure.value, measure.unit)),
        f" {held}{sign}" if held else None,
        class_=None if not held else "holds" if measure.holds else "broken",
    )


def _run(report: Report) -> Part:
    if not report.spans:
        return None
    path = critical(report.spans)
    steps = [tag("li", tag("code", span.name), f" {duration(span.seconds)}") for span in path]
    rows = [
        tag(
            "tr",
            tag("th", tag("code", span.name), scope="row"),
            tag("td", span.title),
            tag("td", clock(span.begin)),
            tag("td", clock(span.seconds)),
        )
        for span in report.spans
    ]
    heads = tag("tr", *(tag("th", title, scope="col") for title in ("Job", "What it does", "Began", "Took")))
    table = tag("table", tag("thead", heads), tag("tbody", *rows))
    work = sum(span.seconds for span in report.spans)
    told = f"{several(len(report.spans), 'job')}, {duration(work)} of work in {duration(report.seconds)}."
    return tag(
        "section",
        tag("h2", "Timeline"),
        tag("p", told, " Outlined is the critical path: what the end waited for."),
        _legend(report),
        tag(
            "div", timeline(report), class_="scroll wide", tabindex="0", role="region", aria_label="Timeline"
        ),
        tag("h3", "Critical path"),
        tag("ol", *steps, class_="path"),
        tag("details", tag("summary", "As a table"), tag("div", table, class_="scroll")),
        id="timeline",
        aria_label="Timeline",
    )


def _legend(report: Report) -> Element:
    ran = {span.name for span in report.spans}
    found = counts(verdict for verdict in report.verdicts if verdict.check in ran)
    items = [("made", "what checks look at"), *((_kind(status), status.value) for status in found)]
    keys = [tag("li", tag("span", class_=f"key {kind}", aria_hidden="true"), name) for kind, name in items]
    return tag("ul", *keys, class_="legend")


def _plots(report: Report) -> Part:
    figures = [_figure(verdict, found) for verdict in report.verdicts for found in verdict.plots]
    if not figures:
        return None
    grid = tag("div", *figures, class_="plots")
    return tag("section", tag("h2", "Plots"), grid, id="plots", aria_label="Plots")


def _figure(verdict: Verdict, found: Plot) -> Element:
    keys = [
        tag("li", tag("span", class_=f"key s{number % plots.SERIES}", aria_hidden="true"), name)
        for number, (name, _) in enumerate(found.series)
    ]
    heads = tag(
        "tr", *(tag("th", title, scope="col") for title in ("Series", found.x or "x", found.y or "y"))
    )
    rows = [tag("tr", *(tag("td", cell) for cell in cells)) for cells in plots.rows(found)]
    return tag(
        "figure",
        tag("figcaption", tag("b", found.title), " ", tag("code", verdict.check)),
        tag("ul", *keys, class_="legend") if len(keys) > 1 else None,
        plots.plot(found),
        tag("details", tag("summary", "Numbers"), tag("table", tag("thead", heads), tag("tbody", *rows))),
    )


def _missing(report: Report) -> Part:
    """What to add so that more is checked: one entry each reason, since many checks share one."""
    reasons: dict[str, list[str]] = {}
    for verdict in report.of(Status.NOT_APPLICABLE):
        reasons.setdefault(verdict.summary, []).append(verdict.check)
    if not reasons:
        return None
    items = [tag("li", reason, tag("p", tag("code", ", ".join(names)))) for reason, names in reasons.items()]
    return tag(
        "section",
        tag("h2", "Not applicable: what to add"),
        tag("ul", *items),
        id="missing",
        aria_label="Missing",
    )


def _footer(report: Report) -> Element:
    return tag("footer", tag("p", f"Made by Serinus {report.tool}."))
