"""What the checks of the contract decide, and what is made of a failed request."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from checked import EXAMPLE_LINES, FILE, SERVICE, checked, small, told
from hypothesis import given
from hypothesis import strategies as st

from serinus.checks import Failed
from serinus.checks.contract.asking import Reply, faults
from serinus.checks.contract.compatible import major
from serinus.checks.contract.generated import smallest_of
from serinus.checks.contract.requests import generate, made_within, simpler
from serinus.checks.failure import add, example_in
from serinus.contract import UNKNOWN, Contract
from serinus.contract import violations as compiled
from serinus.errors import ContractError
from serinus.image.build import build
from serinus.project import Project

SCHEMA = {
    "type": "object",
    "properties": {"count": {"type": "integer"}, "share": {"type": "number"}, "ok": {"type": "boolean"}},
    "additionalProperties": False,
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ('{"count": 1.0}', "/count"),
        ('{"count": 1e3}', "/count"),
        ('{"ok": "false"}', "/ok"),
        ('{"ok": 1}', "/ok"),
        ('{"share": NaN}', "/share"),
        ('{"share": Infinity}', "/share"),
        ('{"ok": true, "ok": false}', "/ok"),
        ('{"okay": true}', "/okay"),
        ("{", ""),
    ],
)
def test_types_are_held_to_the_text_of_an_answer(body: str, pointer: str) -> None:
    found = faults(Reply(200, body.encode()), compiled.compile(SCHEMA))
    assert [fault.pointer for fault in found] == [pointer]


@pytest.mark.parametrize("body", ['{"count": 1}', '{"share": 1.0}', '{"share": 1}', '{"ok": false}', "{}"])
def test_right_types_are_no_fault(body: str) -> None:
    assert faults(Reply(200, body.encode()), compiled.compile(SCHEMA)) == ()


@given(JSON)
def test_any_document_is_right_where_everything_is_allowed(document: Any) -> None:
    assert faults(Reply(200, json.dumps(document).encode()), compiled.compile({})) == ()


def test_what_the_server_refused_is_told_with_its_pointer() -> None:
    problem = {"detail": "broken", "errors": [{"pointer": "/ok", "detail": "found the number 1"}]}
    found = faults(Reply(500, json.dumps(problem).encode(), "/ok"), compiled.compile(SCHEMA))
    assert found == (("/ok", "found the number 1"),)
    assert "500: gone" in faults(Reply(500, b'{"detail": "gone"}'), compiled.compile({}))[0].message
    assert "no answer" in faults(Reply(0, fault="ReadTimeout"), compiled.compile({}))[0].message


def test_the_same_seed_makes_the_same_requests_of_both_kinds() -> None:
    schema = {"type": "array", "items": {"type": "string"}, "minItems": 1}
    made = generate(schema, 10, 3)
    check = compiled.compile(schema)
    assert made.valid
    assert made.invalid
    assert all(map(check.ok, made.valid))
    assert not any(map(check.ok, made.invalid))
    assert generate(schema, 10, 3) == made


@given(JSON)
def test_every_chain_of_simpler_values_ends(value: Any) -> None:
    for _ in range(10_000):
        value, before = next(simpler(value), None), value
        if value is None or value == before:
            break
    assert next(simpler(value), None) is None


def test_the_smallest_failing_request_is_found() -> None:
    def fault(value: Any) -> str:
        return "crash" if any("x" in text for text in value) else ""

    found = smallest_of(["abc", "two x words"], "crash", fault, bool, lambda: 0.0)
    assert found == (["x"], "crash")


@pytest.mark.parametrize(
    ("version", "number"), [("2.1.0", 2), ("10.0.0-rc.1", 10), (None, None), ("", None), ("dev", None)]
)
def test_major_versions(version: str | None, number: int | None) -> None:
    assert major(version) == number


def test_a_failure_is_read_in_three_forms() -> None:
    contract = Contract({"type": "string"}, {})
    assert example_in("a", contract).request == "a"
    assert example_in({"request": "a", "response": 1}, contract).response == 1
    logged = example_in({"request": "a", "response": 1, "status": 500}, contract)
    assert (logged.request, logged.response) == ("a", UNKNOWN)
    own = Contract({"type": "object", "required": ["request"]}, {})
    assert example_in({"request": "a"}, own).request == {"request": "a"}


SCHEMAS = '\n[contract]\nrequest = "request.json"\nresponse = "response.json"\n'


def test_a_failure_becomes_an_example_once(tmp_path: Path) -> None:
    folder = small(
        tmp_path,
        serinus__toml=f'[service]\nname = "mood"\nentrypoint = "service:app"\n{SCHEMAS}',
        request__json='{"type": "string"}',
        response__json="{}",
    )
    project, failure = Project.load(folder), tmp_path / "failure.json"
    failure.write_text('{"request": "x", "at": 1}')
    before = (folder / "examples.jsonl").read_text()
    kept = add(project, failure)
    assert (kept.number, kept.new) == (3, True)
    assert (folder / "examples.jsonl").read_text() == before + '{"request": "x"}\n'
    assert not add(project, failure).new
    failure.write_text("7")
    with pytest.raises(ContractError, match="the request breaks the contract"):
        add(project, failure)
    failure.write_text('{"request": "x", "response": 1}')
    with pytest.raises(ContractError, match="another response"):
        add(project, failure)


RENAMED = SERVICE.replace("score: float", "how_much: float").replace("score=score)", "how_much=score)")


@pytest.mark.sandbox
@pytest.mark.mmdebstrap
@pytest.mark.network
def test_a_breaking_change_needs_a_new_major_version(tmp_path: Path) -> None:
    folder = small(tmp_path, serinus__toml=f'{FILE}version = "1.4.0"\n')
    build(Project.load(folder), tag="before")
    small(
        tmp_path,
        service__py=RENAMED,
        examples__jsonl=EXAMPLE_LINES.replace("score", "how_much"),
        serinus__toml=f'{FILE}version = "1.5.0"\n',
    )
    verdict = checked(folder, "contract.compatible", against="mood:before")["contract.compatible"]
    assert verdict.status == "failed", told(verdict)
    assert "/score" in told(verdict)
    small(
        tmp_path,
        service__py=RENAMED,
        examples__jsonl=EXAMPLE_LINES.replace("score", "how_much"),
        serinus__toml=f'{FILE}version = "2.0.0"\n',
    )
    verdict = checked(folder, "contract.compatible", against="mood:before")["contract.compatible"]
    assert verdict.status == "passed", told(verdict)
    assert "allowed by the new major version 2 (was 1)" in verdict.summary


BRITTLE = SERVICE.replace("    words =", '    if not text:\n        raise ValueError("empty")\n    words =')


@pytest.mark.sandbox
@pytest.mark.mmdebstrap
@pytest.mark.network
def test_a_request_that_went_wrong_is_kept_and_checked(tmp_path: Path) -> None:
    folder = small(tmp_path, service__py=BRITTLE)
    failure = tmp_path / "failure.json"
    failure.write_text('{"request": "", "status": 500}')
    command = [sys.executable, "-m", "serinus", "check", "--project", str(folder), "--format", "json"]
    command += ["--from-failure", str(failure)]
    first = subprocess.run(command, capture_output=True, text=True, check=False)
    assert first.returncode == 1, first.stderr
    assert "examples.jsonl: example 3 added" in first.stderr
    verdicts = {v["check"]: v for v in json.loads(first.stdout)["verdicts"] if v["status"] != "skipped"}
    assert set(verdicts) == {"contract.examples", "behaviour.golden"}
    assert verdicts["contract.examples"]["findings"][0]["line"] == 3
    (folder / "service.py").write_text(SERVICE)
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stdout
    assert "example 3 there already" in again.stderr
    assert len((folder / "examples.jsonl").read_text().splitlines()) == 3


def test_requests_that_take_too_long_to_make_are_a_failure() -> None:
    asked = json.dumps({"schema": {"type": "string"}, "count": 50, "seed": 1})
    with pytest.raises(Failed, match=r"within 0\.01 s"):
        made_within(asked, 0.01)
