"""The display of a run of checks, and where its report goes."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.checks import Finding, Status, Verdict, check
from serinus.checks.report import Report
from serinus.checks.run import Began, Ended, Planned
from serinus.cli.checking import (
    Log,
    Seen,
    catalogue,
    deliver,
    in_checkout,
    listed,
    spoken,
    summarise,
    takeable,
    tree,
    wanted,
    writable,
)
from serinus.errors import CheckError
from serinus.events import Finished, Noted, Progress, Started

LAYERS = ("code", "model", "image", "transport", "contract", "speed")
NAMES = [f"{layer}.c{number}" for layer in LAYERS for number in range(10)]
PLANNED = Planned((("image", "build the image"), *((name, "") for name in NAMES)))
REPORT = Report("mood", None, (Verdict("code.a", Status.FAILED, "no", (Finding("no"),)),), 1.0)


def seen(ended: dict[str, Status], running: list[str]) -> Seen:
    found = Seen().after(PLANNED, 0.0)
    for name in [*ended, *running]:
        found = found.after(Began(name), 0.0)
    for name, status in ended.items():
        found = found.after(Ended(name, 1.0, Verdict(name, status, "said")), 1.0)
    return found


@given(st.dictionaries(st.sampled_from(NAMES), st.sampled_from(Status)), st.integers(1, 50))
def test_the_tree_fits_whatever_has_happened(ended: dict[str, Status], height: int) -> None:
    running = [name for name in NAMES if name not in ended][:8]
    rows = tree(seen(ended, running), 5.0, 0.0, height)
    assert len(rows) <= height
    assert rows[-1][0].startswith(f"{len(ended)} of 60 checks, {len(running)} jobs running")


def test_a_screen_of_24_lines_shows_what_failed_and_what_runs() -> None:
    rows = tree(
        seen({"contract.c3": Status.FAILED, "code.c1": Status.PASSED}, ["speed.c0", "image"]), 4.0, 0.0, 24
    )
    text = "\n".join(told for told, _ in rows)
    assert "contract.c3" in text
    assert "speed.c0" in text
    assert "build the image" in text
    assert "code.c1" not in text
    assert max(len(told) for told, _ in rows) <= 80


def test_a_log_has_a_line_for_each_check_as_it_ends() -> None:
    written: list[str] = []
    log = Log(written.append)
    for moment in (PLANNED, Began("image"), Ended("image", 2.0), Ended("code.c1", 1.0, REPORT.verdicts[0])):
        log(moment)
    assert len(written) == 1
    assert "failed" in written[0]


def test_formats_go_where_they_are_asked_to(tmp_path: Path) -> None:
    page = tmp_path / ".serinus" / "report.html"
    wants = wanted(["json", f"sarif:{tmp_path}/deep/out.sarif"], page)
    document = deliver(REPORT, (), wants, page, tmp_path)
    assert document is not None
    assert '"code.a"' in document
    assert "code.a" in (tmp_path / "deep" / "out.sarif").read_text()
    assert page.read_text().startswith("<!doctype html>")
    assert wanted(["html"], page)[0].file == page


@pytest.mark.parametrize("texts", [["pdf"], ["json", "sarif"]])
def test_what_cannot_be_asked_for_is_refused(texts: list[str]) -> None:
    with pytest.raises(click.UsageError, match=r"no format 'pdf'|cannot both"):
        wanted(texts, Path("report.html"))


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckError, match=r"cannot be written to .*file/x"):
        deliver(
            REPORT,
            (),
            wanted([f"junit:{tmp_path}/file/x"], tmp_path / "r.html"),
            tmp_path / "r.html",
            tmp_path,
        )


def test_the_summary_of_a_job_is_added_to(tmp_path: Path) -> None:
    file = tmp_path / "summary"
    for text in ("one\n", "two\n"):
        summarise(text, {"GITHUB_STEP_SUMMARY": str(file)})
    assert file.read_text() == "one\ntwo\n"


def test_files_are_named_from_the_checkout(tmp_path: Path) -> None:
    assert in_checkout(tmp_path / "a" / "b", {"GITHUB_WORKSPACE": str(tmp_path)}) == "a/b"
    assert in_checkout(tmp_path, {"CI_PROJECT_DIR": str(tmp_path)}) == ""
    assert in_checkout(tmp_path, {"GITHUB_WORKSPACE": str(tmp_path / "other")}) == ""


def test_the_list_of_no_checks_is_empty() -> None:
    assert listed(()) == []


def test_a_file_that_cannot_be_written_is_told_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for bad in (tmp_path / "file" / "x", tmp_path):
        with pytest.raises(CheckError, match="cannot be written to"):
            writable(wanted([f"junit:{bad}"], tmp_path / "r.html"))
    writable(wanted([f"junit:{tmp_path}/new/x"], tmp_path / "r.html"))
    assert not (tmp_path / "new").exists()


def test_the_name_of_the_format_decides_what_stands_alone() -> None:
    page = Path("report.html")
    assert spoken(wanted(["github", "json:FILE"], page)) == "github"
    assert spoken(wanted(["html"], page)) is None


def test_the_list_says_what_checks_take_and_can_take() -> None:
    @check("speed.mine", why="It was slow.")
    def mine(service: object) -> None:
        """Looks at the speed."""

    found = {"id": "speed.mine", "layer": "speed", "looks_at": "Looks at the speed.", "why": "It was slow."}
    assert catalogue([mine]) == [found | {"takes": ["service"]}]
    assert any(told.split()[:1] == ["labelled"] for told in takeable())


def test_the_step_of_a_build_stands_beside_it() -> None:
    now = seen({}, ["image"]).during(Started("layer")).during(Progress("layer", 1, 4))
    assert "layer 25%" in "".join(told for told, _ in tree(now, 1.0, 0.0, 24))
    over = now.during(Finished("layer", 1.0))
    assert "layer 25%" not in "".join(told for told, _ in tree(over, 1.0, 0.0, 24))


def test_a_failed_check_says_its_first_finding_and_notes_wait_for_the_end() -> None:
    written: list[str] = []
    log = Log(written.append)
    finding = Finding("no such route", "Add it.", "app.py", 7)
    log(Ended("code.a", 1.0, Verdict("code.a", Status.FAILED, "1 finding", (finding,))))
    log.observe(Noted("attached"))
    assert "app.py:7: no such route" in written[0]
    assert log.notes == ["attached"]
