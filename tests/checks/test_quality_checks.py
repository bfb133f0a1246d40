"""The layer quality: its statistics and their error rates, its metrics, and its checks on rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy
import pytest
from checked import checked, told
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, roc_auc_score

from serinus.checks import Failed, NotApplicable, Result
from serinus.checks.quality import CHECKS
from serinus.checks.quality.against import against
from serinus.checks.quality.compare import paired
from serinus.checks.quality.floor import floor
from serinus.checks.quality.metrics import auc, metric
from serinus.checks.quality.scores import Row, rows
from serinus.checks.quality.slices import slice_floor, slices
from serinus.checks.quality.statistics import holm, mcnemar, paired_share, share, swapped
from serinus.checks.subjects import Answered, Labelled
from serinus.project import Checks, Project, QualityChecks, Service
from serinus.registry.layout import Layout

PROJECT = Project(root=Path("/nowhere"), service=Service(name="a"))


def labelled(labels: Sequence[object], name: str = "all") -> tuple[Labelled, ...]:
    return tuple(Labelled(n, label, {"group": name}, n) for n, label in enumerate(labels, 1))


def answers(values: Sequence[object]) -> tuple[Answered, ...]:
    return tuple(Answered(value) for value in values)


def settings(**quality: object) -> Checks:
    return Checks(quality=QualityChecks(**quality))  # type: ignore[arg-type]


def result(outcome: object) -> Result:
    assert isinstance(outcome, Result)
    return outcome


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_is_between_the_value_and_bonferroni_and_keeps_the_order(values: list[float]) -> None:
    adjusted = holm(values)
    for value, found in zip(values, adjusted, strict=True):
        assert value <= found <= min(1.0, value * len(values)) + 1e-12
    order = sorted(range(len(values)), key=lambda i: values[i])
    assert [adjusted[i] for i in order] == sorted(adjusted)


@given(st.integers(0, 200), st.integers(0, 200))
def test_mcnemar_grows_with_wins_and_falls_with_losses(lost: int, won: int) -> None:
    p = mcnemar(lost, won)
    assert 0 <= p <= 1
    assert mcnemar(lost + 1, won) <= p + 1e-12
    assert mcnemar(lost, won + 1) >= p - 1e-12


def test_mcnemar_by_hand() -> None:
    assert mcnemar(8, 2) == pytest.approx(56 / 1024)
    assert mcnemar(0, 0) == 1.0


def test_error_rate_of_mcnemar() -> None:
    random = numpy.random.default_rng(1)
    differ = random.binomial(400, 0.1, 3000)
    alarms = sum(
        mcnemar(int(lost), int(n - lost)) <= 0.05 for n in differ for lost in [random.binomial(n, 0.5)]
    )
    assert 0.01 < alarms / 3000 < 0.06


def test_error_rate_of_the_permutation_test() -> None:
    random = numpy.random.default_rng(2)
    alarms = 0
    for _ in range(300):
        gains = random.normal(size=60)

        def gain(mask: numpy.ndarray, gains: numpy.ndarray = gains) -> float:
            return float((gains * (1 - 2 * mask)).mean())

        alarms += swapped(gain, [True] * 60, 199) <= 0.05
    assert 0.01 < alarms / 300 < 0.09


@given(st.integers(1, 300), st.data())
def test_intervals_hold_what_was_found(rows: int, data: st.DataObject) -> None:
    lost = data.draw(st.integers(0, rows))
    won = data.draw(st.integers(0, rows - lost))
    assert share(lost, rows).low <= lost / rows <= share(lost, rows).high
    found = paired_share(lost, won, rows)
    assert -1 <= found.low <= found.high <= 1
    assert found.low <= (won - lost) / (rows + 2) <= found.high


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60))
def test_f1_is_that_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    truth, said = [a for a, _ in pairs], [b for _, b in pairs]
    rows = [Row(1, a, b) for a, b in pairs]
    expected = f1_score(truth, said, labels=sorted(set(truth)), average="macro", zero_division=0)
    assert metric("f1", Path()).of(rows) == pytest.approx(expected)


@given(st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=2, max_size=60))
def test_auc_is_that_of_scikit_learn(pairs: list[tuple[bool, int]]) -> None:
    labels, scores = numpy.array([a for a, _ in pairs]), numpy.array([float(b) for _, b in pairs])
    if len(set(labels.tolist())) < 2:
        assert math.isnan(auc(labels, scores))
    else:
        assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))


def test_a_row_without_an_answer_is_as_wrong_as_can_be() -> None:
    found = [Row(1, True, 0.9), Row(2, False, 0.2), Row(3, True, fault="gone")]
    assert metric("auc", Path()).of(found) == 0.5
    assert metric("rmse", Path()).of([Row(1, 1.0, 1.0), Row(2, 1.0, fault="gone")]) == math.inf
    assert metric("accuracy", Path()).of(found[2:]) == 0


@pytest.mark.parametrize(
    ("name", "label", "prediction", "said"),
    [
        ("auc", "glad", 0.5, 'the label is "glad", expected true or false'),
        ("auc", True, "glad", 'the score of this row is "glad", expected a number'),
        ("rmse", None, 1.0, "the label is null, expected a number"),
        ("rmse", 1.0, True, "the prediction of this row is true, expected a number"),
    ],
)
def test_a_row_that_a_metric_cannot_use_is_named(
    name: str, label: object, prediction: object, said: str
) -> None:
    held = Checks(labelled="test.jsonl", quality=QualityChecks(metric=name))
    with pytest.raises(Failed, match=said) as caught:
        metric(name, Path()).of(rows(labelled([1, label]), answers([1.0, prediction]), held))
    (finding,) = caught.value.findings
    assert (finding.file, finding.line) == ("test.jsonl", 2)
    assert "checks.quality.metric" in finding.todo


def test_one_is_not_true() -> None:
    assert not Row(1, True, 1).right
    assert Row(1, 1, 1.0).right
    assert not Row(1, None, fault="gone").right


def test_a_floor_says_value_interval_lines_and_what_to_set() -> None:
    found = result(
        floor(PROJECT, settings(floor=0.9), labelled([True] * 10), answers([True] * 6 + [False] * 4))
    )
    assert "accuracy is 0.600 over 10 rows" in found.summary
    assert "lines 7, 8, 9, 10 are wrong" in found.findings[0].todo
    whole = floor(PROJECT, settings(floor=0.9), labelled([True] * 9), answers([{"positive": True}] * 9))
    assert "set checks.prediction" in result(whole).findings[0].todo


def test_without_a_floor_it_is_measured_and_not_applicable() -> None:
    with pytest.raises(NotApplicable, match=r"accuracy is 1\.000 .* no floor") as caught:
        floor(PROJECT, settings(), labelled([1] * 5), answers([1] * 5))
    assert caught.value.todo == "Set checks.quality.floor."


def test_rows_without_an_answer_are_named() -> None:
    given = (*answers([1] * 99), Answered(fault="the service answered 500"))
    found = result(floor(PROJECT, settings(floor=0.9), labelled([1] * 100), given))
    assert found.warning
    assert "line 100" in found.findings[0].message
    with pytest.raises(Failed, match="3 of 3 rows were not answered"):
        floor(PROJECT, settings(floor=0.0), labelled([1] * 3), (Answered(fault="gone"),) * 3)


@pytest.mark.parametrize("name", ["accuracy", "f1"])
def test_worse_by_chance_passes_and_worse_indeed_fails(name: str) -> None:
    truth: list[object] = [n % 2 for n in range(200)]
    old = answers([*truth[:180], *(1 - n % 2 for n in range(180, 200))])
    chance = answers([*truth[:178], *(1 - n % 2 for n in range(178, 200))])
    bad = answers([*truth[:150], *(1 - n % 2 for n in range(150, 200))])
    held = settings(metric=name)
    rows = labelled(truth)
    assert not result(against(PROJECT, held, rows, old, old)).findings
    assert not result(against(PROJECT, held, rows, chance, old)).findings
    assert not result(against(PROJECT, held, rows, old, bad)).findings, "better is not worse"
    (worse,) = result(against(PROJECT, held, rows, bad, old)).findings
    assert "30 rows lost and 0 won" in worse.message
    assert "lines 151, 152" in worse.todo


def test_rmse_is_compared_the_other_way_round() -> None:
    rows = [Row(n, float(n), float(n) + 0.1) for n in range(60)]
    worse = [Row(n, float(n), float(n) + 0.5) for n in range(60)]
    used = metric("rmse", Path())
    assert paired(used, worse, rows, 0.01).p <= 0.01
    assert paired(used, rows, worse, 0.01).p > 0.5


def test_a_slice_that_got_worse_is_named_and_small_ones_are_left() -> None:
    rows = (*labelled([1] * 100, "film"), *labelled([1] * 100, "product"), *labelled([1] * 5, "rest"))
    old, new = answers([1] * 205), answers([1] * 100 + [0] * 20 + [1] * 80 + [0] * 5)
    (worse,) = result(slices(PROJECT, settings(), rows, new, old)).findings
    assert worse.message.startswith("group: product got worse: accuracy is 0.800 against 1.000 over 100 rows")
    assert "rest (5 rows)" in result(slices(PROJECT, settings(), rows, old, old)).summary
    (low,) = result(slice_floor(PROJECT, settings(slice_floor=0.9), rows, new)).findings
    assert "accuracy of group: product is 0.800" in low.message
    with pytest.raises(NotApplicable, match="no floor to hold slices to"):
        slice_floor(PROJECT, settings(), rows, new)
    with pytest.raises(NotApplicable, match="fewer than 30 rows"):
        slices(PROJECT, settings(), rows[-5:], new[-5:], old[-5:])


@pytest.mark.parametrize(
    ("text", "said", "line"),
    [
        ("", "has no function 'f'", None),
        ("def f(a, b):\n    return 1 / 0\n", "raised ZeroDivisionError", 2),
        ("def f(a):\n    return 1\n", "raised TypeError", None),
        ("def f(a, b):\n    return 'good'\n", "raised ValueError", None),
        ("\nimport nothing_like_this\n", "cannot be imported: ModuleNotFoundError", 2),
        ("\n\ndef f(a b):\n", "cannot be imported: SyntaxError", 3),
    ],
)
def test_a_metric_of_the_projects_own_that_is_wrong(
    tmp_path: Path, text: str, said: str, line: int | None
) -> None:
    (tmp_path / "own.py").write_text(text)
    with pytest.raises(Failed) as caught:
        metric("own:f", tmp_path).of([Row(1, 1, 1)])
    assert said in str(caught.value)
    (finding,) = caught.value.findings
    assert (finding.file, finding.line) == ("own.py", line)


@pytest.mark.sandbox
@pytest.mark.mmdebstrap
@pytest.mark.network
@pytest.mark.shared
@pytest.mark.parametrize("example", ["sentiment", "flask-app", "onnx", "roberta"])
def test_the_clean_examples_pass(example: str, copy: Callable[[str], Path]) -> None:
    folder = copy(example)
    against = next(tag for tag in Layout(folder / ".serinus" / "layout").tags() if tag.endswith(":latest"))
    for verdict in checked(folder, "quality", against=against, checks=CHECKS).values():
        small = example == "flask-app" and verdict.check.startswith("quality.slice")
        assert verdict.status == ("not applicable" if small else "passed"), told(verdict)
