"""The report's own document."""

from __future__ import annotations

import json
from collections.abc import Sequence

from serinus.checks import Check
from serinus.checks.report import Report


def document(report: Report, checks: Sequence[Check] = (), folder: str = "") -> str:
    """The report as JSON that ``Report.from_json`` reads.

    Args:
        report: the report.
        checks: not used: the document holds what the report holds.
        folder: not used likewise.
    """
    return json.dumps(report.to_json(), indent=1, ensure_ascii=False)
