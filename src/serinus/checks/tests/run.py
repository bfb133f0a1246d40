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
from serinus.checks.subjects import Served, Subject
from serinus.errors import ServiceError
from serinus.project import Checks, Project

TIMEOUT = 1800.0
"""Seconds that the tests may take."""
_LOG = 4000
"""Characters of pytest's output that an error shows."""


@check("tests.pytest", why="What broke once is a test; a version that fails it must not ship.", seconds=5.0)
def pytest_tests(source: Project, settings: Checks, image: Subject, served: Served, packages: Path) -> Result:
    """The project's own pytest tests pass, with the image under check behind their fixtures."""
    place = source.root / settings.tests.path
    if not place.exists():
        raise NotApplicable(
            f"there are no tests at {settings.tests.path}",
            "Put pytest tests there, or set checks.tests.path.",
        )
    if importlib.util.find_spec("pytest") is None:
        raise NotApplicable("the tests need pytest", "pip install 'serinus[checks]'")
    options = (
        f"--serinus-image={image.name}",
        f"--serinus-url={served.url}",
        f"--serinus-packages={packages}",
    )
    cases = _ran(source.root, settings.tests.path, options)
    if not cases:
        raise NotApplicable(
            f"pytest found no tests in {settings.tests.path}", "Write functions called test_..."
        )
    return verdict(cases)


def _ran(root: Path, path: str, options: tuple[str, ...]) -> list[Case]:
    """Run pytest in a process of its own.

    Raises:
        ServiceError: it ended without a report.
    """
    with tempfile.TemporaryDirectory(prefix="serinus-tests-") as folder:
        xml = Path(folder) / "tests.xml"
        command = [sys.executable, "-m", "pytest", path, f"--rootdir={root}", f"--junitxml={xml}", *options]
        done = subprocess.run(
            [*command, "-q", "-o", "junit_family=xunit1", "-p", "no:cacheprovider"],
            cwd=root,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        if not xml.is_file():
            said = (done.stdout + done.stderr)[-_LOG:]
            raise ServiceError(
                f"pytest ended with exit code {done.returncode}:\n{said}", "Correct the tests."
            )
        return list(read(xml.read_bytes()))


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
    """What a failure says; of an error, whose message is but a phrase, the last line of its traceback."""
    last = (child.text or "").strip().rpartition("\n")[2].removeprefix("E").strip()
    told = (child.get("message") or "").strip().partition("\n")[0]
    return last or told if child.tag == "error" else told or last


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
