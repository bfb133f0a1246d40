"""The report beside its image: attached, pushed, read back, and held to every byte."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parts import RealRegistry
from parts import registry as registry
from serinus.checks import Finding, Status, Verdict
from serinus.checks.gate import admit, unmet
from serinus.checks.report import Report
from serinus.checks.statement import PREDICATE, TYPE, attach, parse, read, statement, updated, verify
from serinus.cli import run
from serinus.errors import CheckError, DigestMismatch
from serinus.image.publish import publish
from serinus.project import Project, Service
from serinus.registry import CONFIG, LAYER, MANIFEST, Descriptor
from serinus.registry.content import digest_of
from serinus.registry.layout import Layout

DIGEST = "sha256:" + "a" * 64
_status = st.sampled_from(list(Status))
_verdicts = st.dictionaries(st.sampled_from(["code.a", "code.b", "image.a", "own.x"]), _status)


def report(
    digest: str | None = DIGEST, *, complete: bool = True, source: bool = True, begin: str = "", **told: str
) -> Report:
    """A report; ``contract__examples="passed"``."""
    verdicts = [Verdict(name.replace("__", "."), Status(status), "said") for name, status in told.items()]
    return Report("x", digest, tuple(verdicts), 1.0, begin, complete=complete, source=source)


def stored(layout: Layout, tag: str = "x:latest") -> Descriptor:
    """An image with one layer."""
    parts = []
    for kind, body in ((CONFIG, b"{}"), (LAYER, bytes(1000))):
        with layout.new_blob() as blob:
            blob.write(body)
        parts.append(Descriptor(kind, digest_of(body), len(body)).to_json())
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": parts[0], "layers": parts[1:]}
    body = json.dumps(document).encode()
    descriptor = Descriptor(MANIFEST, digest_of(body), len(body))
    layout.write_manifest(descriptor, body, [tag])
    return descriptor


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / ".serinus" / "layout")


@given(_verdicts, st.booleans())
def test_a_statement_gives_its_report_back(found: dict[str, Status], complete: bool) -> None:
    verdicts = tuple(Verdict(name, status, "é", (Finding("f", "t"),)) for name, status in found.items())
    made = Report("x", DIGEST, verdicts, 1.0, complete=complete)
    document = statement(made)
    assert parse(document.body, DIGEST) == made
    assert json.loads(document.body)["predicateType"] == PREDICATE
    with pytest.raises(CheckError, match="about"):
        parse(document.body, "sha256:" + "b" * 64)


@pytest.mark.parametrize("member", ["result", "passedTests", "failedTests"])
def test_a_statement_that_contradicts_itself_is_refused(member: str) -> None:
    document = json.loads(statement(report(image__user="failed")).body)
    document["predicate"][member] = "PASSED" if member == "result" else ["image.other"]
    with pytest.raises(CheckError, match=f"contradicts itself: its {member}"):
        parse(json.dumps(document).encode(), DIGEST)


@given(st.binary(max_size=100) | st.recursive(st.none(), st.lists).map(lambda v: json.dumps(v).encode()))
def test_what_is_no_statement_is_refused(body: bytes) -> None:
    with pytest.raises(CheckError, match="cannot be read"):
        parse(body, DIGEST)


def test_a_complete_report_takes_the_place_of_the_one_before(layout: Layout) -> None:
    image = stored(layout)
    attach(layout, report(image.digest, begin="2026-01-02", image__user="failed"))
    attach(layout, report(image.digest, begin="2026-01-01", image__user="passed"))
    assert len(layout.referrers(image.digest, TYPE)) == 1
    assert read(layout, image).status == "passed"


def test_a_run_for_the_image_alone_keeps_what_was_said_of_the_source(layout: Layout) -> None:
    image = stored(layout)
    attach(layout, report(image.digest, code__lint="failed", tests__unit="passed", image__user="passed"))
    after = report(
        image.digest,
        source=False,
        code__lint="not applicable",
        tests__unit="not applicable",
        image__user="not applicable",
    )
    attach(layout, after)
    assert {v.check: v.status for v in read(layout, image).verdicts} == {
        "code.lint": "failed", "tests.unit": "passed", "image.user": "not applicable",
    }  # fmt: skip
    attach(layout, report(image.digest, code__lint="passed", tests__unit="not applicable"))
    assert {v.check: v.status for v in read(layout, image).verdicts} == {
        "code.lint": "passed", "tests.unit": "not applicable",
    }, "a run that had the source at hand is the last word"  # fmt: skip


def test_a_report_about_another_image_keeps_nothing() -> None:
    after = report("sha256:" + "b" * 64, source=False, code__lint="not applicable")
    assert updated(report(code__lint="passed"), after) == after


def test_a_partial_report_brings_the_one_before_up_to_date(layout: Layout) -> None:
    image = stored(layout)
    attach(layout, report(image.digest, image__user="failed", code__lint="passed", own__a="passed"))
    attach(
        layout,
        report(image.digest, complete=False, begin="2026", image__user="passed", own__a="not applicable"),
    )
    found = read(layout, image)
    assert {v.check: v.status for v in found.verdicts} == {
        "code.lint": "passed", "image.user": "passed", "own.a": "passed",
    }  # fmt: skip
    assert (found.complete, found.begin) == (True, "2026")
    assert len(layout.referrers(image.digest, TYPE)) == 1


@given(_verdicts, _verdicts)
def test_no_failure_of_a_later_run_is_lost(before: dict[str, Status], after: dict[str, Status]) -> None:
    def made(found: dict[str, Status], complete: bool) -> Report:
        return Report("x", DIGEST, tuple(Verdict(n, s) for n, s in found.items()), 1.0, complete=complete)

    found = {v.check: v.status for v in updated(made(before, True), made(after, False)).verdicts}
    assert set(found) == {*before, *after}
    for name, status in after.items():
        assert found[name] == status or status in {"skipped", "not applicable"}


def test_a_report_needs_an_image(layout: Layout) -> None:
    with pytest.raises(CheckError, match="about no image"):
        attach(layout, report(None))
    with pytest.raises(CheckError, match="there is no report"):
        read(layout, stored(layout))


@pytest.mark.parametrize(
    ("require", "faults"),
    [
        ([], []),
        (["image"], []),
        (["image.user", "drift.inputs"], []),
        (["code"], ["code.lint: failed: said"]),
        (["code.lint"], ["code.lint: failed: said"]),
        (["model"], ["model: none of its checks passed (not applicable)"]),
        (["drift"], ["drift: none of its checks passed (warned)"]),
        (["speed"], ["speed.p95: skipped: said"]),
        (["contarct"], ["contarct: there is no such check in the report"]),
    ],
)
def test_the_gate(require: list[str], faults: list[str]) -> None:
    found = report(
        image__user="passed", image__size="not applicable", code__lint="failed", drift__inputs="warned",
        model__loads="not applicable", speed__p50="passed", speed__p95="skipped",
    )  # fmt: skip
    assert list(unmet(found, require)) == faults


def test_a_partial_report_shows_a_check_but_no_layer() -> None:
    found = report(complete=False, image__user="passed")
    assert not unmet(found, ["image.user"])
    assert "some checks alone" in unmet(found, ["image"])[0]


@given(_verdicts)
def test_a_layer_with_a_failure_never_passes_the_gate(found: dict[str, Status]) -> None:
    made = Report("x", DIGEST, tuple(Verdict(name, status) for name, status in found.items()), 1.0)
    ours = {status for name, status in found.items() if name.startswith("code.")}
    bad = ours & {Status.FAILED, Status.BLOCKED, Status.SKIPPED}
    assert bool(unmet(made, ["code"])) == (bool(bad) or Status.PASSED not in ours)


def test_publish_refuses_before_anything_is_pushed(
    layout: Layout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = '[service]\nname = "x"\nentrypoint = "a:b"\n[deploy]\nrequire = ["image"]\n'
    (tmp_path / "serinus.toml").write_text(text)
    image, there = stored(layout), tmp_path / "there"
    command = ["publish", f"oci:{there}:1", "-C", str(tmp_path)]
    assert run(command) == 1
    attach(layout, report(image.digest, image__user="failed"))
    assert run(command) == 1
    assert not there.exists()
    assert "image.user: failed: said" in capsys.readouterr().err
    attach(layout, report(image.digest, image__user="passed"))
    assert run(command) == 0
    assert run(["report", f"oci:{there}:1", "--require", "image"]) == 0
    assert run(["report", f"oci:{there}:1", "--require", "code"]) == 1
    with pytest.raises(CheckError, match="code: there is no such check"):
        admit(layout, image, ["code"])


@pytest.mark.registry
def test_a_report_goes_to_a_registry_and_is_read_back(
    layout: Layout, tmp_path: Path, registry: RealRegistry, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for name, value in registry.environment().items():
        monkeypatch.setenv(name, value)
    image = stored(layout)
    attach(layout, report(image.digest, image__user="passed"))
    reference = f"{registry.host}/tests/report:1"
    publish(
        Project(root=tmp_path, service=Service(name="x", entrypoint="a:b")), layout, "x:latest", [reference]
    )
    assert run(["report", reference, "--json", "-C", str(tmp_path / "elsewhere")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["digest"], told["status"]) == (image.digest, "passed")


@pytest.mark.parametrize("part", ["manifest", "config", "layer", "report", "referrer"])
def test_a_changed_byte_is_noticed(part: str, layout: Layout, tmp_path: Path) -> None:
    image = stored(layout)
    attached = attach(layout, report(image.digest, image__user="passed"))
    manifest = json.loads(layout.manifest(image))
    statement_of = json.loads(layout.manifest(attached))["layers"][0]["digest"]
    digest = {
        "manifest": image.digest, "config": manifest["config"]["digest"],
        "layer": manifest["layers"][0]["digest"], "report": statement_of, "referrer": attached.digest,
    }[part]  # fmt: skip
    command = ["report", "x:latest", "-C", str(tmp_path)]
    assert run(command) == 0
    file = layout.path(digest)
    body = bytearray(file.read_bytes())
    body[-1] ^= 1
    file.write_bytes(body)
    with pytest.raises(DigestMismatch, match=digest):
        verify(layout, image)
        read(layout, image)
    assert run(command) == 2
    assert run([*command, "--no-layers"]) == (0 if part == "layer" else 2)


def test_a_failed_report_says_where_and_what_to_do(
    layout: Layout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finding = Finding("it is wrong", "Correct it.", "app.py", 7)
    verdict = Verdict("code.lint", Status.FAILED, "it is wrong", (finding,))
    attach(layout, replace(report(stored(layout).digest), verdicts=(verdict,)))
    assert run(["report", "x:latest", "-C", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "app.py:7: it is wrong" in out
    assert "Correct it." in out
