"""The checks of the image: the examples pass, and what decides in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from checked import checked, told
from hypothesis import given
from hypothesis import strategies as st

from serinus.checks.image import CHECKS
from serinus.checks.image.contents import Entry, view
from serinus.checks.image.described import bill_faults
from serinus.checks.image.running import complaints


@pytest.mark.sandbox
@pytest.mark.mmdebstrap
@pytest.mark.network
@pytest.mark.shared
@pytest.mark.parametrize("example", ["flask-app", "onnx"])
def test_a_clean_example_passes(example: str, copy: Callable[[str], Path]) -> None:
    folder = copy(example)
    for _ in range(2):
        verdicts = checked(folder, "image", checks=CHECKS)
        fine = {"passed", "not applicable"}
        assert not [told(v) for v in verdicts.values() if v.status not in fine]
        assert [v.check for v in verdicts.values() if v.status == "not applicable"] == ["image.size"]


def test_a_log_that_tells_of_a_write_names_path_and_line() -> None:
    log = b"File \"/srv/app.py\", line 7, in f\nOSError: [Errno 30] Read-only file system: 'seen.txt'\n" * 2
    (found,) = complaints(log)
    assert (found.file, found.line) == ("app.py", 7)
    assert "seen.txt" in found.message


@given(st.binary(max_size=200))
def test_any_log_can_be_read(log: bytes) -> None:
    assert len(complaints(log)) <= log.count(b"file system") + log.count(b"denied")


def test_what_a_later_layer_takes_away_is_not_seen() -> None:
    def entry(path: str, layer: int) -> Entry:
        return Entry(path, 0, 0, 0o644, "file", layer)

    below = [entry("/a/b", 0), entry("/a/c", 0), entry("/d/e", 0)]
    above = [entry("/a/.wh.b", 1), entry("/d/.wh..wh..opq", 1), entry("/d/f", 1)]
    assert set(view([*below, *above])) == {"/a/c", "/d/f"}


def test_a_bill_names_each_package_once() -> None:
    one = {"type": "library", "name": "a", "version": "1", "bom-ref": "a"}
    bill = {"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [one]}
    assert not list(bill_faults(bill, frozenset({("a", "1")})))
    assert "does not name a 2" in next(bill_faults(bill, frozenset({("a", "2")}))).message
    assert "bom-ref" in next(bill_faults(bill | {"components": [one, one]}, frozenset())).message
    assert "no CycloneDX" in next(bill_faults([], frozenset())).message
