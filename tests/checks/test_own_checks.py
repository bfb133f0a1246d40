"""A project's own checks and pytest tests, and what they take by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from checked import checked, small, told
from hypothesis import given
from hypothesis import strategies as st

from serinus.checks import NotApplicable
from serinus.checks.own import find
from serinus.checks.tests import CHECKS
from serinus.checks.tests.run import Case, read, verdict
from serinus.errors import ProjectError

OWN = '''import serinus


@serinus.check(why="A customer saw it.")
def doubled(service):
    """A text said twice is as glad.

    Not shown.
    """
    assert service("great great")["score"] == service("great")["score"]


@serinus.check
def wrong(examples, contract, image, project, client):
    assert client.post("/predict", json=examples[0].request).json()["score"] == 2


@serinus.check("nothing")
def look(labelled): ...


def helper(): ...
'''
TESTS = """import service as module


def test_glad(service, examples):
    assert service("great")["positive"]
    assert len(examples) == 2


def test_module():
    assert module.predict("bad").positive is False


def test_score(client):
    assert client.post("/predict", json="great").json()["score"] == 2, "the score is off"


def test_labelled(labelled): ...
"""


@pytest.mark.sandbox
@pytest.mark.mmdebstrap
@pytest.mark.network
def test_own_checks_and_tests_run_beside_ours(tmp_path: Path) -> None:
    folder = small(tmp_path, checks_0_words__py=OWN, tests_0_test_words__py=TESTS)
    own = find(folder)
    assert [(c.id, c.looks_at, c.why) for c in own] == [
        ("own.doubled", "A text said twice is as glad.", "A customer saw it."),
        ("own.wrong", "", ""),
        ("own.nothing", "", ""),
    ]
    verdicts = checked(folder, checks=(*CHECKS, *own))
    assert verdicts["own.doubled"].status == "passed"
    (finding,) = verdicts["own.wrong"].findings
    assert (finding.file, finding.line) == ("checks/words.py", 15)
    assert '["score"] == 2' in finding.message
    assert verdicts["own.nothing"].status == "not applicable"
    assert "labelled.jsonl" in verdicts["own.nothing"].summary
    tests = verdicts["tests.pytest"]
    assert tests.summary == "2 passed, 1 failed, 1 skipped"
    (finding,) = tests.findings
    assert (finding.file, finding.line) == ("tests/test_words.py", 13)
    assert "the score is off" in finding.message
    assert not list(folder.rglob("__pycache__")), "running checks must not litter"


@pytest.mark.sandbox
@pytest.mark.mmdebstrap
@pytest.mark.network
def test_pytest_alone_starts_what_its_fixtures_need(tmp_path: Path) -> None:
    folder = small(tmp_path, tests_0_test_words__py=TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rs", "tests"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 failed, 2 passed, 1 skipped" in done.stdout, done.stdout
    assert "labelled.jsonl" in done.stdout


def test_outside_of_a_project_the_plugin_brings_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test(service): ...\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "."], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "fixture 'service' not found" in done.stdout


@pytest.mark.sandbox
@pytest.mark.mmdebstrap
@pytest.mark.network
@pytest.mark.parametrize(
    ("files", "status", "message"),
    [
        ({}, "not applicable", "there are no tests at tests"),
        ({"tests_0_test_none__py": "x = 1\n"}, "not applicable", "found no tests"),
        ({"tests_0_test_bad__py": "import nothere\n"}, "failed", "No module named 'nothere'"),
        ({"tests_0_conftest__py": "raise SystemError\n"}, "failed", "SystemError"),
        ({"tests_0_test_l__py": "def test(labelled): ...\n"}, "not applicable", "no test ran: 1 skipped"),
    ],
)
def test_what_is_no_run_of_tests_is_no_pass(
    tmp_path: Path, files: dict[str, str], status: str, message: str
) -> None:
    result = checked(small(tmp_path, **files), checks=CHECKS)["tests.pytest"]
    assert (result.status.value, message in told(result)) == (status, True), told(result)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nothere\n", r"checks/broken.py:1 cannot be imported: ModuleNotFoundError: No module"),
        ("\n\ndef (:\n", r"checks/broken.py:3 cannot be imported: SyntaxError"),
        ("x = 1\ny = x / 0\n", r"checks/broken.py:2 cannot be imported: ZeroDivisionError"),
    ],
)
def test_a_file_of_checks_that_cannot_be_imported_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ProjectError, match=message):
        find(small(tmp_path, checks_0_broken__py=text))


def test_files_of_checks_see_each_other(tmp_path: Path) -> None:
    own = "import serinus\nfrom _shared import limit\n@serinus.check\ndef small():\n    assert limit == 3\n"
    (check,) = find(small(tmp_path, checks_0_own__py=own, checks_0__shared__py="limit = 3\n"))
    assert check() is None


cases = st.builds(
    Case, st.text(), st.text(), st.none(), st.sampled_from(["passed", "failed", "skipped"]), st.text()
)


@given(st.lists(cases, min_size=1))
def test_tests_pass_only_when_one_passed_and_none_failed(ran: list[Case]) -> None:
    outcomes = {case.outcome for case in ran}
    if outcomes == {"skipped"}:
        with pytest.raises(NotApplicable):
            verdict(ran)
    else:
        assert bool(verdict(ran).findings) == ("failed" in outcomes)


def test_a_junit_report_is_read() -> None:
    xml = b"""<testsuites><testsuite>
    <testcase classname="tests.test_a" name="test_x" file="tests/test_a.py" line="4">
    <failure message="">first
    last line</failure></testcase>
    <testcase name="test_y"><skipped message="why"/></testcase>
    </testsuite></testsuites>"""
    assert list(read(xml)) == [
        Case("tests.test_a::test_x", "tests/test_a.py", 5, "failed", "last line"),
        Case("test_y", "", None, "skipped", "why"),
    ]
