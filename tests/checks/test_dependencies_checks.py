"""The layer ``dependencies``: the lock, licences, opsets."""

from __future__ import annotations

from email.message import Message
from itertools import pairwise
from pathlib import Path

import pytest
from checked import checked, small, told
from hypothesis import given
from hypothesis import strategies as st

from serinus.checks.dependencies import CHECKS
from serinus.checks.dependencies.licences import allowed, licence
from serinus.checks.dependencies.locking import loose
from serinus.checks.dependencies.opset import LIMITS, beyond, limits
from serinus.checks.dependencies.python import of_base
from serinus.contract.onnx import Interface
from serinus.image.lock import Pin

DIGEST = "sha256:" + "0" * 64
LICENCES = st.sampled_from(["MIT", "Apache-2.0", "GPL-3.0-only", "AGPL-3.0-only"])


def metadata(**fields: str) -> Message:
    message = Message()
    for name, value in fields.items():
        message[name.replace("_", "-")] = value
    return message


@pytest.mark.parametrize(
    ("pin", "found"),
    [
        (Pin("a", "1", "", (DIGEST,)), None),
        (Pin("a", "", "", (DIGEST,), "https://host/a.whl"), None),
        (Pin("a", "1"), "no digest"),
        (Pin("a", "1", "", ("md5:" + "0" * 32,)), "md5"),
        (Pin("a", "1.*", "", (DIGEST,)), "1.*"),
    ],
)
def test_loose_pins(pin: Pin, found: str | None) -> None:
    finding = loose(pin)
    assert (finding is None) if found is None else (finding is not None and found in finding.message)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("gpl-2.0-or-later", False),
        ("MIT OR GPL-3.0-only", True),
        ("MIT AND GPL-3.0-only", False),
        ("MIT OR GPL-3.0-only AND BSD-3-Clause", True),
        ("(MIT OR GPL-3.0-only) AND GPL-2.0-only", False),
        ("GPL-3.0-only WITH GCC-exception-3.1", False),
        ("", True),
    ],
)
def test_licence_expressions(expression: str, expected: bool) -> None:
    assert allowed(expression, ["GPL-*"]) is expected


@given(st.lists(LICENCES, min_size=1))
def test_a_choice_needs_one_and_a_sum_all(names: list[str]) -> None:
    free = [not name.startswith(("GPL", "AGPL")) for name in names]
    assert allowed(" OR ".join(names), ["*GPL-*"]) == any(free)
    assert allowed(" AND ".join(names), ["*GPL-*"]) == all(free)


@given(st.text(alphabet="MITGPL()- ORANDWH", max_size=40))
def test_any_text_is_read_to_its_end(text: str) -> None:
    assert allowed(text, ["nothing"]) is True


def test_licences_are_read_from_metadata() -> None:
    assert licence(metadata(License_Expression="MIT AND Zlib")) == "MIT AND Zlib"
    assert licence(metadata(Classifier="License :: OSI Approved :: MIT License", License="x")) == "MIT"
    assert licence(metadata(License="Apache-2.0")) == "Apache-2.0"
    assert licence(metadata(License="MIT License")) == "MIT"
    assert licence(metadata(License="Copyright (c) somebody")) == "NOASSERTION"
    assert licence(metadata()) == "NOASSERTION"


@pytest.mark.parametrize(
    ("base", "python", "found"),
    [
        ("debian:bookworm", "3.11", ""),
        ("debian:trixie", "3.11", "3.13"),
        ("debian:sid", "3.11", ""),
        ("docker.io/library/python:3.12-slim", "3.11", "3.12"),
        ("python:3.11", "3.11", ""),
        ("ghcr.io/acme/base:1", "3.11", ""),
    ],
)
def test_the_python_of_a_base_by_its_name(base: str, python: str, found: str) -> None:
    assert [f"Python {found}," in one.message for one in of_base(base, python)] == ([True] if found else [])


def test_limits_grow_with_the_version() -> None:
    rows = [row for _, row in LIMITS]
    assert all(a <= b for old, new in pairwise(rows) for a, b in zip(old, new, strict=True))
    assert limits("1.0.0") == rows[0]
    assert limits("1.22.1") == limits("1.21.0")
    assert limits("99.0") == rows[-1]


def test_what_is_too_new_is_named() -> None:
    model = Interface((), (), 10, (("", 21), ("ai.onnx.ml", 3)))
    assert beyond(model, "m.onnx", "onnxruntime", "1.20.1") == []
    assert [f.message.split(", expected")[0] for f in beyond(model, "m.onnx", "onnxruntime", "1.16.3")] == [
        "m.onnx has the IR version 10",
        "m.onnx has the opset 21",
    ]


@pytest.mark.network
def test_a_lock_is_asked_for_made_and_outgrown(tmp_path: Path) -> None:
    folder = small(tmp_path)
    found = checked(folder, checks=CHECKS)
    statuses = {name.partition(".")[2]: verdict.status for name, verdict in found.items()}
    assert statuses["pinned"] == statuses["current"] == "warned", statuses
    assert statuses["installed"] == "passed", told(found["dependencies.installed"])
    found = checked(folder, checks=CHECKS)
    assert found["dependencies.current"].status == "passed", told(found["dependencies.current"])
    assert found["dependencies.pinned"].status == "passed"
    assert found["dependencies.python"].status == "passed"
    assert found["dependencies.licences"].status == "not applicable"
    (folder / "requirements.txt").write_text("idna\n")
    found = checked(folder, "dependencies.current", checks=CHECKS)
    assert "'idna' was added" in told(found["dependencies.current"])
