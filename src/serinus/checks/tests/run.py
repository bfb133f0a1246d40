"""Running the project's pytest tests beside the other checks, on the same replica."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from serinus.checks import Finding, Measure, NotApplicable, Result, check
from serinus.checks.subjects import Given, Served, Subject
from serinus.errors import ServiceError
from serinus.project import Checks, Project

TIMEOUT = 1800.0
"""Seconds that the tests may take."""
_NONE_COLLECTED = 5
"""Exit code of pytest when there was nothing to run."""
_LOG = 4000
"""Characters of pytest's output that an error shows."""


@check("tests.pytest", why="What broke once is a test; a version that fails it must not ship.", seconds=5.0)
def pytest_tests(
    given: Given, source: Project, settings: Checks, image: Subject, served: Served, packages: Path
) -> Result:
    """The project's own pytest tests pass, with the image under check behind their fixtures."""
    place = source.root / settings.tests.path
    if not place.exists():
        raise NotApplicable(
            f"there are no tests at {settings.tests.path}",
            "Put pytest tests there, or set checks.tests.path.",
        )
    if importlib.util.find_spec("pytest") is None:
        raise NotApplicable("the tests need pytest", "pip install 'serinus[checks]'")
    with tempfile.TemporaryDirectory(prefix="serinus-tests-") as folder:
        xml = Path(folder) / "tests.xml"
        options = [
            *(
                "--serinus-image",
                image.name,
                "--serinus-url",
                served.url,
                "--serinus-packages",
                str(packages),
            ),
            *("--junitxml", str(xml), "-o", "junit_family=xunit1", "-p", "no:cacheprovider", "-q"),
        ]
        command = [sys.executable, "-m", "pytest", settings.tests.path, *options]
        environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            command,
            cwd=source.root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        if done.returncode == _NONE_COLLECTED:
            raise NotApplicable(
                f"pytest found no tests in {settings.tests.path}", "Write functions called test_..."
            )
        if not xml.is_file():
            raise ServiceError(
                f"pytest ended with exit code {done.returncode}:\n{(done.stdout + done.stderr)[-_LOG:]}"
            )
        return verdict(list(read(xml.read_bytes())))


@dataclass(frozen=True, slots=True)
class Case:
    """One test of a JUnit report."""

    name: str
    file: str
    line: int | None
    """From 1."""
    outcome: str
    """``passed``, ``skipped`` or ``failed``."""
    message: str = ""


def read(xml: bytes) -> Iterator[Case]:
    """The tests in a report that pytest wrote (``junit_family=xunit1``)."""
    for case in ElementTree.fromstring(xml).iter("testcase"):  # noqa: S314 - pytest wrote it just now
        name = "::".join(filter(None, (case.get("classname", ""), case.get("name", ""))))
        line = int(case.get("line", -1)) + 1 or None
        outcome, message = "passed", ""
        for child in case:
            if child.tag in {"failure", "error"}:
                outcome, message = "failed", _message(child)
            elif child.tag == "skipped" and outcome == "passed":
                outcome, message = "skipped", child.get("message", "")
        yield Case(name, case.get("file", ""), line, outcome, message)


def _message(child: ElementTree.Element) -> str:
    """The first line of a failure's message, else the last of its text."""
    told = (child.get("message") or "").strip() or (child.text or "").strip().rpartition("\n")[2]
    return told.partition("\n")[0]


def verdict(cases: list[Case]) -> Result:
    """What the tests say. Pure."""
    counts = {o: sum(case.outcome == o for case in cases) for o in ("passed", "failed", "skipped")}
    findings = tuple(
        Finding(f"{case.name}: {case.message}", "", case.file, case.line)
        for case in cases
        if case.outcome == "failed"
    )
    told = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
    if not counts["passed"] and not findings:
        raise NotApplicable(f"no test ran: {told}", "See with pytest -rs why they are skipped.")
    return Result(told, findings, (Measure("tests", len(cases)),))
