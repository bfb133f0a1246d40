"""The formats: what they say, and that no text of a report becomes markup."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from serinus.checks import Finding, Measure, Plot, Status, Verdict, check
from serinus.checks.formats import FORMATS
from serinus.checks.formats.github import commands, summary
from serinus.checks.formats.lines import lines
from serinus.checks.formats.scale import fitting
from serinus.checks.formats.timeline import critical
from serinus.checks.report import Report, Span

hostile = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["<script>x</script>", "a|b\n::error::x", "]]>", "\x1b[2J\u202e", "%0A", "</style>", "\ud800"]
    ),
)
numbers = st.floats(width=32)
findings = st.builds(Finding, hostile, hostile, hostile, st.none() | st.integers(1, 99), st.none() | hostile)
plots = st.builds(
    lambda title, points, kind: Plot(title, ((title, tuple(points)),), kind=kind),
    hostile,
    st.lists(st.tuples(hostile | numbers, numbers), max_size=4),
    st.sampled_from(["line", "bars"]),
)
verdicts = st.builds(
    Verdict,
    hostile.map(lambda text: f"code.{text}"),
    st.sampled_from(Status),
    hostile,
    st.lists(findings, max_size=2).map(tuple),
    st.lists(st.builds(Measure, hostile, numbers, st.sampled_from(["s", "B", ""])), max_size=2).map(tuple),
    st.lists(plots, max_size=1).map(tuple),
)
spans = st.builds(Span, hostile, hostile, st.floats(0, 9), st.floats(0, 9), st.integers(0, 2))
reports = st.builds(
    Report,
    hostile,
    st.none() | hostile,
    st.lists(verdicts, max_size=3).map(tuple),
    st.just(1.5),
    spans=st.lists(spans, max_size=3).map(tuple),
)

REPORT = Report(
    "mood",
    None,
    (
        Verdict("code.lint", Status.PASSED, "clean", seconds=0.2),
        Verdict(
            "contract.answers",
            Status.FAILED,
            "wrong type",
            (Finding("found a string, expected a boolean", "Return a bool.", "service.py", 7, "/positive"),),
            seconds=2.0,
        ),
        Verdict("speed.latency", Status.BLOCKED, "could not start the image"),
        Verdict("drift.inputs", Status.NOT_APPLICABLE, "there is no reference. Name one."),
    ),
    3.0,
)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)
        assert not {name for name, _ in attrs} & {"src", "style", "onload", "onclick"}


@given(reports)
def test_no_text_of_a_report_becomes_markup(report: Report) -> None:
    page = FORMATS["html"](report, (), "")
    parser = Tags()
    parser.feed(page)
    assert not parser.found & {"script", "img", "iframe", "link", "object"}
    assert page.count("</style>") == 1
    ElementTree.fromstring(FORMATS["junit"](report, (), "").encode())
    assert json.loads(FORMATS["sarif"](report, (), ""))["version"] == "2.1.0"
    assert all(re.match(r"::(error|warning) ", line) for line in commands(report).splitlines())
    assert "<script" not in summary(report)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\u202e]", "".join(lines(report, verbose=True)))


@given(st.lists(st.floats(-1e99, 1e99), min_size=1, max_size=9), st.booleans())
def test_an_axis_holds_all_numbers_in_order(values: list[float], from_zero: bool) -> None:
    scale = fitting(values, 10.0, 110.0, from_zero=from_zero)
    places = [scale(value) for value in sorted(values)]
    assert all(9.999 <= place <= 110.001 for place in places)
    assert places == sorted(places)
    assert len(scale.ticks) <= 24
    assert list(scale.ticks) == sorted(scale.ticks)


def test_lines_say_where_and_what_to_do() -> None:
    text = "\n".join(lines(REPORT))
    assert "service.py:7, at /positive: found a string, expected a boolean" in text
    assert "-> Return a bool." in text
    assert "1 not applicable" in text
    assert text.splitlines()[-1].endswith("slowest contract.answers 2.00 s")


def test_github_commands_name_the_file_from_the_checkout_and_escape() -> None:
    first, second = commands(REPORT, (), "services/mood").splitlines()
    assert first.startswith(
        "::error file=services/mood/service.py,line=7,title=contract.answers failed::found"
    )
    assert "%0AReturn a bool." in first
    assert second == "::error title=speed.latency blocked::could not start the image"


def test_junit_counts_and_says_why() -> None:
    root = ElementTree.fromstring(FORMATS["junit"](REPORT, (), "").encode())
    assert {key: root.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "4",
        "failures": "1",
        "errors": "1",
        "skipped": "1",
    }
    failure = root.find("testsuite[@name='contract']/testcase/failure")
    assert failure is not None
    assert "Return a bool." in str(failure.text)


@check("contract.answers", why="a string is not a boolean")
def answers() -> None:
    """Answers have the types of the contract."""


def test_sarif_has_what_code_scanning_requires() -> None:
    run = json.loads(FORMATS["sarif"](REPORT, (answers,), "sub"))["runs"][0]
    rules = run["tool"]["driver"]["rules"]
    assert all({"id", "shortDescription", "fullDescription", "help"} <= rule.keys() for rule in rules)
    (result,) = run["results"]
    assert rules[result["ruleIndex"]]["id"] == result["ruleId"] == "contract.answers"
    assert "a string is not a boolean" in rules[result["ruleIndex"]]["help"]["text"]
    place = result["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "sub/service.py"}, "region": {"startLine": 7}}
    (invocation,) = run["invocations"]
    assert not invocation["executionSuccessful"]
    assert [n["level"] for n in invocation["toolExecutionNotifications"]] == ["error", "note"]


def test_the_critical_path_is_what_the_end_waited_for() -> None:
    spans = (
        Span("image", "", 0.0, 2.0, 1),
        Span("code.lint", "", 0.0, 1.0, 2),
        Span("speed.latency", "", 2.0, 3.0, 0, ("image",)),
    )
    assert [span.name for span in critical(spans)] == ["image", "speed.latency"]
