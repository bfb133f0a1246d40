"""The layer drift: its features, its tests and their error rates, and its checks on rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
from checked import checked, told
from hypothesis import given
from hypothesis import strategies as st

from serinus.checks import NotApplicable, Result
from serinus.checks.drift import CHECKS
from serinus.checks.drift.features import columns, leaves
from serinus.checks.drift.inputs import inputs
from serinus.checks.drift.plots import MOST, beside
from serinus.checks.drift.predictions import predictions, reference
from serinus.checks.drift.samples import different, moved, psi
from serinus.checks.subjects import Answered, Labelled
from serinus.project import Checks, DriftChecks, Project, Service
from serinus.registry.layout import Layout

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def answers(values: list[Any]) -> tuple[Answered, ...]:
    return tuple(Answered(value) for value in values)


def result(outcome: object) -> Result:
    assert isinstance(outcome, Result)
    return outcome


@given(st.lists(JSON, max_size=8), st.lists(JSON, max_size=8))
def test_every_document_has_features_and_columns_have_at_most_one_value_a_row(
    old: list[Any], new: list[Any]
) -> None:
    for column in columns(old, new):
        assert len(column.reference) <= len(old)
        assert len(column.seen) <= len(new)
        assert len({*column.reference, *column.seen}) > 1
    assert all("" in leaves(document) for document in (*old, *new))


@given(st.lists(st.integers(0, 4), min_size=4, max_size=50), st.booleans())
def test_a_sample_does_not_differ_from_itself(values: list[int], numeric: bool) -> None:
    assert different(values, values, numeric) == pytest.approx(1.0)
    assert moved(values, values, numeric, 0.05) == 1.0
    assert psi(values, values, numeric) == pytest.approx(0.0)


@given(
    st.one_of(
        st.tuples(st.lists(st.integers(0, 40), min_size=1), st.lists(st.integers(0, 40), min_size=1)),
        st.tuples(st.lists(st.text(max_size=3), min_size=1), st.lists(st.text(max_size=3), min_size=1)),
    )
)
def test_bars_hold_every_value_of_both_samples(samples: tuple[list[Any], list[Any]]) -> None:
    plot = beside("a", "b", *samples, numeric=isinstance(samples[0][0], int))
    (_, old), (_, new) = plot.series
    assert [name for name, _ in old] == [name for name, _ in new]
    assert len(old) <= MOST
    assert sum(share for _, share in old) == pytest.approx(1)
    assert sum(share for _, share in new) == pytest.approx(1)


def test_rare_categories_share_a_bar() -> None:
    values = [f"c{n}" for n in range(20) for _ in range(20 - n)]
    plot = beside("a", "b", values, values, numeric=False)
    names = [name for name, _ in plot.series[0][1]]
    assert names[-1] == "9 others"
    assert set(names[:-1]) == {f"c{n}" for n in range(11)}


@pytest.mark.parametrize("kind", ["two", "many", "numbers", "lengths"])
def test_error_rate_of_two_samples(kind: str) -> None:
    random = numpy.random.default_rng(3)
    draw = {
        "two": lambda: random.integers(0, 2, 150),
        "many": lambda: random.choice(8, 150, p=[0.5, 0.2, 0.1, 0.1, 0.05, 0.03, 0.01, 0.01]),
        "numbers": lambda: random.normal(size=150),
        "lengths": lambda: random.poisson(20, 150),
    }[kind]
    numeric = kind in ("numbers", "lengths")
    alarms = sum(different(draw().tolist(), draw().tolist(), numeric) <= 0.05 for _ in range(600))
    assert alarms / 600 < 0.08


def test_error_rate_of_pairs() -> None:
    random = numpy.random.default_rng(4)
    alarms = 0
    for _ in range(600):
        both = random.integers(0, 3, 200)
        one, two = both.copy(), both.copy()
        one[:40], two[:40] = random.integers(0, 3, 40), random.integers(0, 3, 40)
        alarms += moved(one.tolist(), two.tolist(), False, 0.05) <= 0.05
    assert alarms / 600 < 0.08


def test_error_rate_of_unknown_words() -> None:
    """The reference knows its own words, and is not to be called different for that."""
    random = numpy.random.default_rng(5)
    shares = 1 / numpy.arange(1, 2001)
    alarms = 0
    for _ in range(40):
        drawn = random.choice(2000, (160, 8), p=shares / shares.sum())
        texts = [" ".join(f"w{word}" for word in row) for row in drawn]
        (unknown,) = [c for c in columns(texts[:80], texts[80:]) if "unknown" in c.name]
        alarms += different(unknown.reference, unknown.seen, True) <= 0.05
    assert alarms <= 6


def test_predictions_that_move_to_one_class_warn_or_fail() -> None:
    old, new = answers([True, False] * 50), answers([True, True, True, False] * 25)
    found = result(predictions(Checks(), new, old))
    assert found.warning
    assert "false is 25.0%, expected 50.0%" in found.summary
    assert not result(predictions(Checks(drift=DriftChecks(fail=True)), new, old)).warning
    assert not result(predictions(Checks(), old, old)).findings
    with pytest.raises(NotApplicable, match="too few"):
        predictions(Checks(), new[:20], old[:20])


def test_numbers_that_move() -> None:
    random = numpy.random.default_rng(6)
    before = random.normal(size=80).tolist()
    assert result(predictions(Checks(), answers([v + 1.0 for v in before]), answers(before))).findings
    near = [v + float(n) for v, n in zip(before, random.normal(size=80, scale=0.01), strict=True)]
    assert not result(predictions(Checks(), answers(near), answers(before))).findings


def project(folder: Path, rows: list[Any]) -> Project:
    (folder / "seen.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    checks = Checks(prediction="/ok", drift=DriftChecks(reference="seen.jsonl"))
    return Project(root=folder, service=Service(name="a"), checks=checks)


def test_a_reference_file(tmp_path: Path) -> None:
    held = project(tmp_path, [{"request": n, "response": {"ok": n % 2 == 0}} for n in range(100)])
    same, other = answers([{"ok": n % 2 == 1} for n in range(60)]), answers([{"ok": True}] * 60)
    assert not result(reference(held, held.checks, same)).findings
    (drift,) = result(reference(held, held.checks, other)).findings
    assert "as of seen.jsonl" in drift.message
    with pytest.raises(NotApplicable, match="no reference file"):
        reference(held, replace(held.checks, drift=DriftChecks()), same)


def test_inputs_that_change_are_named_with_what_was_expected(tmp_path: Path) -> None:
    random = numpy.random.default_rng(7)

    def request(size: float) -> dict[str, Any]:
        return {"age": float(random.normal(size)), "city": str(random.choice(["a", "b", "c"]))}

    held = project(tmp_path, [{"request": request(40)} for _ in range(100)])
    fresh = tuple(Labelled(request(40), 1) for _ in range(80))
    assert not result(inputs(held, held.checks, fresh)).findings
    old = tuple(Labelled(request(45), 1) for _ in range(80))
    found = result(inputs(held, held.checks, old))
    assert [finding.message.split(" drifts")[0] for finding in found.findings] == ["/age"]
    assert found.plots[0].title == "/age"
    assert str(found.plots[0].series[1][1][0][0]).startswith("up to 3")
    gone = tuple(Labelled({"age": row.request["age"]}, 1) for row in fresh)
    assert "kind of /city drifts: missing" in result(inputs(held, held.checks, gone)).findings[0].message


@pytest.mark.sandbox
@pytest.mark.mmdebstrap
@pytest.mark.network
@pytest.mark.shared
@pytest.mark.parametrize("example", ["sentiment", "flask-app", "onnx", "roberta"])
def test_the_clean_examples_do_not_drift(example: str, copy: Callable[[str], Path]) -> None:
    folder = copy(example)
    against = next(tag for tag in Layout(folder / ".serinus" / "layout").tags() if tag.endswith(":latest"))
    found = checked(folder, "drift", against=against, checks=CHECKS)
    assert found["drift.predictions"].status == "passed", told(found["drift.predictions"])
    for name in ("drift.inputs", "drift.reference"):
        assert found[name].status == "not applicable"
        assert "checks.drift.reference" in told(found[name])
