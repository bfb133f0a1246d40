"""Metrics: the text format, the bounds on what it shows, and several workers as one."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy
from hypothesis import given
from hypothesis import strategies as st

from serinus.serving.metrics import MAX_POINTERS, MAX_VALUES, NUMBERS, Histogram, Metrics, edges, merge, place
from serinus.serving.predictions import LIMIT, observed

SAMPLE = re.compile(r'[a-zA-Z_:][a-zA-Z0-9_:]*(\{([a-z]+="(\\.|[^"\\\n])*",?)*\})? (\S+)')
NUMBER = st.floats(-1e300, 1e300) | st.integers(-(10**9), 10**9)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBER | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=5), inner, max_size=8),
    max_leaves=40,
)


def samples(text: str) -> dict[str, float]:
    """The samples of an exposition; each line must be one, or a comment that belongs to what follows."""
    found = {}
    for line in text.removesuffix("\n").split("\n"):
        if line.startswith("# "):
            assert re.fullmatch(r"# (HELP|TYPE) [a-z_]+ .+", line)
            continue
        assert SAMPLE.fullmatch(line), line
        name, _, value = line.rpartition(" ")
        assert name not in found
        found[name] = float(value)
    return found


@given(st.lists(st.tuples(st.text(), st.text(), st.integers(100, 599))))
def test_whatever_is_counted_can_be_read(items: list[tuple[str, str, int]]) -> None:
    metrics = Metrics({"name": 'a "quoted" \\ name\n'})
    for pointer, value, status in items:
        metrics.violation("response", pointer)
        metrics.predicted(pointer, value)
        metrics.request("other", status, 0.1)
    found = samples(metrics.text())
    assert sum(v for k, v in found.items() if k.startswith("serinus_requests_total")) == len(items)
    assert sum(v for k, v in found.items() if k.startswith("serinus_violations_total")) == len(items)


@given(st.lists(NUMBER, min_size=1))
def test_a_histogram_counts_each_value_once_and_where_it_belongs(values: list[float]) -> None:
    histogram = Histogram(NUMBERS)
    for value in values:
        histogram.observe(value)
    found = samples("\n".join(histogram.lines("h", "")))
    assert found["h_count"] == found['h_bucket{le="+Inf"}'] == len(values)
    assert math.isclose(found["h_sum"], sum(map(float, values)), rel_tol=1e-9, abs_tol=1e-9)
    for bound in NUMBERS:
        assert found[f'h_bucket{{le="{bound}"}}'] == sum(value <= bound for value in values)


def test_neither_callers_nor_models_make_it_grow_without_end() -> None:
    metrics = Metrics()
    for number in range(10 * MAX_POINTERS):
        metrics.violation("request", f"/member{number}")
        metrics.predicted(f"/a{number}", True)
        metrics.predicted(f"/b{number}", 0.5)
        metrics.predicted("/text", f"value {number}")
    found = samples(metrics.text())
    assert sum(k.startswith("serinus_violations_total") for k in found) == MAX_POINTERS + 1
    assert found['serinus_violations_total{side="request",pointer="other"}'] == 9 * MAX_POINTERS
    assert sum(k.startswith("serinus_predictions_total") for k in found) <= MAX_POINTERS
    assert sum(k.startswith("serinus_prediction_count") for k in found) <= MAX_POINTERS


def test_a_small_set_of_strings_is_counted_and_a_large_one_is_not() -> None:
    metrics = Metrics()
    for number in range(MAX_VALUES):
        metrics.predicted("/label", f"class {number}")
    assert 'value="class 3"} 1' in metrics.text()
    metrics.predicted("/label", "one more")
    assert "class 3" not in metrics.text()


def test_indices_are_one_place() -> None:
    assert place("/items/17/score") == place("/items/3/score") == "/items/*/score"
    assert place("/0") == "/*"
    assert place("/v2/a1") == "/v2/a1"


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from(["/a", "/b"]), st.booleans() | NUMBER), max_size=8),
        min_size=1,
        max_size=4,
    )
)
def test_several_workers_add_up_to_one(workers: list[list[tuple[str, bool | float]]]) -> None:
    every, texts = Metrics({"name": "s"}), []
    for items in workers:
        one = Metrics({"name": "s"})
        for pointer, value in items:
            one.predicted(pointer, value)
            every.predicted(pointer, value)
            one.request("/predict", 200, 0.01)
            every.request("/predict", 200, 0.01)
        texts.append(one.text())
    merged, expected = samples(merge(texts)), samples(every.text())
    process = "process_resident_memory_bytes"
    assert merged.pop(process) >= expected.pop(process) * 0.5
    assert merged.keys() == expected.keys()
    # Sums of floats depend on their order, as far as the largest of them has digits.
    largest = max((abs(value) for items in workers for _, value in items), default=0)
    slack = max(1e-6, largest * 1e-9)
    assert all(math.isclose(merged[k], expected[k], rel_tol=1e-9, abs_tol=slack) for k in merged)


def test_the_least_ready_worker_speaks_for_all() -> None:
    texts = []
    for ready in (1, 0, 1):
        metrics = Metrics()
        metrics.set_gauge("serinus_ready", "Whether it is ready.", lambda ready=ready: ready)
        texts.append(metrics.text())
    assert samples(merge(texts))["serinus_ready"] == 0


@given(JSON)
def test_predictions_are_few_and_lie_where_they_say(response: object) -> None:
    found = single(observed(response))
    assert len(found) <= LIMIT
    for pointer, value in found:
        assert value in [v for p, v in _everything(response) if p == pointer]


def single(found: list[tuple[str, Any]]) -> list[tuple[str, object]]:
    """Each value with its pointer."""
    return [(pointer, value) for pointer, values in found for value in values]


@given(JSON)
def test_predictions_counted_together_are_those_counted_one_by_one(response: object) -> None:
    together, alone = Metrics(), Metrics()
    for _ in range(2):
        together.predictions(observed(response))
        for pointer, value in single(observed(response)):
            alone.predicted(pointer, value)
    own = [
        {k: v for k, v in samples(m.text()).items() if k.startswith("serinus_")} for m in (together, alone)
    ]
    assert own[0] == own[1]


def _everything(value: object, pointer: str = "") -> list[tuple[str, object]]:
    found = [(pointer, value)]
    if isinstance(value, dict):
        for name, member in value.items():
            found += _everything(member, f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}")
    elif isinstance(value, list):
        for item in value:
            found += _everything(item, f"{pointer}/*")
    return found


def test_predictions_of_the_usual_shapes() -> None:
    assert single(observed({"positive": True, "score": 0.5, "text": "x" * 100})) == [
        ("/positive", True),
        ("/score", 0.5),
    ]
    assert single(observed([{"label": "a"}, {"label": "b"}])) == [("/*/label", "a"), ("/*/label", "b")]
    assert single(observed({"probabilities": [[0.1, 0.9]]})) == [
        ("/probabilities/*/*", 0.1),
        ("/probabilities/*/*", 0.9),
    ]
    assert single(observed("spam")) == [("", "spam")]
    assert single(observed({"deep": {"score": 1}})) == []
    assert single(observed(None)) == []


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_number_in_single_precision_is_counted_as_the_text_that_is_sent(value: float) -> None:
    text = str(numpy.float32(value))
    own, sent = Histogram(NUMBERS, edges(NUMBERS)), Histogram(NUMBERS)
    own.observe(value)
    sent.observe(float(text))
    assert own.counts == sent.counts


@given(st.sampled_from(NUMBERS))
def test_a_bound_in_single_precision_is_at_most_the_bound(bound: float) -> None:
    histogram = Histogram(NUMBERS, edges(NUMBERS))
    histogram.observe(float(numpy.float32(bound)))
    assert histogram.counts[NUMBERS.index(bound)] == 1
