"""JUnit XML, as Jenkins, GitLab and others read it.

The form is that of Jenkins' ``junit-10.xsd`` and of what pytest writes: a layer is a suite, a check a case.
Not applicable and skipped are ``skipped``, blocked is ``error``. A warning is no failure: the case passes,
and ``system-out`` says what was found. GitLab shows a failure's text and not its message, so both are there.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from serinus.checks import Check, Status, Verdict
from serinus.checks.formats.text import bounds, clean, counts, from_checkout, measured, place
from serinus.checks.report import Report


def suites(report: Report, checks: Sequence[Check] = (), folder: str = "") -> str:
    """The report as an XML document.

    Args:
        report: the report.
        checks: not used: JUnit has no place for what a check looks at.
        folder: the project's folder in the checkout.
    """
    root = Element("testsuites", {"name": clean(report.name) or "serinus check", **_counted(report.verdicts)})
    root.set("time", f"{report.seconds:.3f}")
    for layer, verdicts in report.layers().items():
        suite = SubElement(root, "testsuite", {"name": clean(layer), **_counted(verdicts)})
        suite.set("time", f"{sum(verdict.seconds for verdict in verdicts):.3f}")
        if report.begin:
            # Jenkins' schema knows no offset; the times of a report are UTC.
            suite.set("timestamp", clean(report.begin).removesuffix("+00:00"))
        for verdict in verdicts:
            _case(suite, verdict, folder)
    indent(root, " ")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(root, encoding="unicode")}\n'


def _counted(verdicts: Sequence[Verdict]) -> dict[str, str]:
    found = counts(verdicts)
    return {
        "tests": str(len(verdicts)),
        "failures": str(found.get(Status.FAILED, 0)),
        "errors": str(found.get(Status.BLOCKED, 0)),
        "skipped": str(found.get(Status.SKIPPED, 0) + found.get(Status.NOT_APPLICABLE, 0)),
    }


def _case(suite: Element, verdict: Verdict, folder: str) -> None:
    name = verdict.check.partition(".")[2] or verdict.check
    attributes = {"classname": clean(verdict.layer), "name": clean(name), "time": f"{verdict.seconds:.3f}"}
    if file := next((finding.file for finding in verdict.findings if finding.file), ""):
        attributes["file"] = from_checkout(file, folder)
    case = SubElement(suite, "testcase", attributes)
    if verdict.measures:
        _properties(case, verdict)
    told, summary = _told(verdict), clean(verdict.summary)
    match verdict.status:
        case Status.FAILED:
            SubElement(case, "failure", {"message": summary, "type": clean(verdict.check)}).text = told
        case Status.BLOCKED:
            SubElement(case, "error", {"message": summary, "type": clean(verdict.check)}).text = told
        case Status.SKIPPED | Status.NOT_APPLICABLE:
            SubElement(case, "skipped", {"message": f"{verdict.status}: {summary}"})
        case _ if told:
            prefix = "WARNING\n" if verdict.status is Status.WARNED else ""
            SubElement(case, "system-out").text = prefix + told


def _properties(case: Element, verdict: Verdict) -> None:
    properties = SubElement(case, "properties")
    for measure in verdict.measures:
        SubElement(properties, "property", {"name": clean(measure.name), "value": f"{measure.value:.12g}"})
        if measure.unit:
            SubElement(
                properties, "property", {"name": f"{clean(measure.name)} unit", "value": clean(measure.unit)}
            )
        if held := bounds(measure):
            SubElement(properties, "property", {"name": f"{clean(measure.name)} bound", "value": clean(held)})


def _told(verdict: Verdict) -> str:
    """All that a verdict says, in lines."""
    told = [clean(verdict.summary)] if verdict.summary else []
    for finding in verdict.findings:
        told.append("")
        told += [f"{place(finding)}: {clean(finding.message)}" if place(finding) else clean(finding.message)]
        if finding.todo:
            told.append(clean(finding.todo))
    if verdict.measures:
        told += ["", *(measured(measure) for measure in verdict.measures)]
    return "\n".join(told).strip("\n")
