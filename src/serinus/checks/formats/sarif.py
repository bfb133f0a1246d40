"""SARIF 2.1.0 (OASIS standard), as GitHub's code scanning and editors read it.

What failed is a result of level ``error``, what warns one of level ``warning``. What was not looked at
(blocked, skipped, not applicable) is no result, since GitHub would make an alert of it, but a notification of
the invocation. GitHub refuses results without a file: where a finding has none, the project file stands for
it, and the logical location names the check and the JSON Pointer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from serinus.checks import Check, Finding, Status, Verdict
from serinus.checks.formats.text import clean, from_checkout, one_line
from serinus.checks.report import Report
from serinus.project import FILE

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS = {Status.FAILED: "error", Status.WARNED: "warning"}
_UNSEEN = {Status.BLOCKED: "error", Status.SKIPPED: "note", Status.NOT_APPLICABLE: "note"}
_SHORT, _LONG = 255, 1024
"""Characters of a rule's name and of its descriptions that GitHub takes."""


def log(report: Report, checks: Sequence[Check] = (), folder: str = "") -> str:
    """The report as a SARIF log of one run.

    Args:
        report: the report.
        checks: what the rules say of each check; a check that is not among them has only its id.
        folder: the project's folder in the checkout.
    """
    known = {check.id: check for check in checks}
    ids = list(dict.fromkeys(verdict.check for verdict in report.verdicts))
    index = {name: number for number, name in enumerate(ids)}
    run = {
        "tool": {
            "driver": {
                "name": "Serinus",
                "version": report.tool,
                "rules": [_rule(name, known.get(name)) for name in ids],
            }
        },
        "invocations": [_invocation(report, index)],
        "results": [
            _result(verdict, finding, index[verdict.check], folder)
            for verdict in report.of(Status.FAILED, Status.WARNED)
            for finding in verdict.findings or (Finding(verdict.summary),)
        ],
        "columnKind": "unicodeCodePoints",
        "properties": {"name": clean(report.name), "digest": report.digest, "complete": report.complete},
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1, ensure_ascii=False)


def _rule(name: str, check: Check | None) -> dict[str, Any]:
    looks_at = one_line(check.looks_at) if check else ""
    why = one_line(check.why) if check else ""
    short = looks_at or name
    rule: dict[str, Any] = {
        "id": clean(name),
        "name": clean(name)[:_SHORT],
        "shortDescription": {"text": _cut(short)},
        "fullDescription": {"text": _cut(f"{short} {why}".strip())},
        "help": {"text": "\n\n".join(part for part in (short, why and f"Why: {why}") if part)},
        "defaultConfiguration": {"level": "error"},
        "properties": {"tags": [clean(name).partition(".")[0]]},
    }
    return rule


def _cut(text: str) -> str:
    return text if len(text) <= _LONG else f"{text[: _LONG - 1]}…"


def _result(verdict: Verdict, finding: Finding, rule: int, folder: str) -> dict[str, Any]:
    message = clean("\n".join(part for part in (finding.message, finding.todo) if part))
    physical: dict[str, Any] = {"artifactLocation": {"uri": uri(from_checkout(finding.file or FILE, folder))}}
    if finding.file and finding.line is not None:
        physical["region"] = {"startLine": max(1, finding.line)}
    logical: dict[str, Any] = {"name": clean(verdict.check), "kind": "object"}
    if finding.pointer is not None:
        logical["fullyQualifiedName"] = f"{clean(verdict.check)}#{clean(finding.pointer)}"
    return {
        "ruleId": clean(verdict.check),
        "ruleIndex": rule,
        "level": _LEVELS[verdict.status],
        "message": {"text": message or verdict.status.value},
        "locations": [{"physicalLocation": physical, "logicalLocations": [logical]}],
        "partialFingerprints": {"serinusFinding/v1": _fingerprint(verdict, finding)},
    }


def _fingerprint(verdict: Verdict, finding: Finding) -> str:
    """The same for the same fault wherever its line has moved to."""
    parts = (verdict.check, finding.file, finding.pointer, finding.message)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def uri(path: str) -> str:
    """A path as a URI reference (RFC 3986): relative, or with ``file:`` where it is absolute."""
    quoted = quote(clean(path).replace("\\", "/"), safe="/-._~")
    if quoted.startswith("/"):
        return f"file://{quoted}"
    return quoted


def _invocation(report: Report, index: dict[str, int]) -> dict[str, Any]:
    notifications = [
        {
            "level": _UNSEEN[verdict.status],
            "message": {"text": clean(f"{verdict.status}: {verdict.summary}")},
            "associatedRule": {"id": clean(verdict.check), "index": index[verdict.check]},
        }
        for verdict in report.of(*_UNSEEN)
    ]
    invocation: dict[str, Any] = {
        "executionSuccessful": not report.of(Status.BLOCKED),
        "toolExecutionNotifications": notifications,
    }
    if report.begin:
        invocation["startTimeUtc"] = report.begin.replace("+00:00", "Z")
    return invocation
