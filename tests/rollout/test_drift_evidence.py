"""Whether predictions differ: the bets are fair, an overload is no drift, and a drift is found."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serinus.rollout.drift import DIFFERENT, MOST, Drift, Interval

ALPHA = 0.01
Answer = list[tuple[str, str]]
"""The predictions of one answer: pointers and values."""


def interval(weight: float, answers: Sequence[Answer], mine: Sequence[bool]) -> Interval:
    """What the versions predicted, if of these answers those were the candidate's."""
    counts: dict[str, dict[str, tuple[float, float]]] = {}
    for answer, owned in zip(answers, mine, strict=True):
        for pointer, value in answer:
            stable, candidate = counts.setdefault(pointer, {}).get(value, (0, 0))
            counts[pointer][value] = (stable + (not owned), candidate + owned)
    return Interval(weight, len(mine) - sum(mine), sum(mine), counts)


def labels(share: float, candidate: float, stable: float, answers: int, weight: float, seed: int) -> Drift:
    """After answers one of two labels, of which each version gives ``yes`` with its own probability."""
    random = numpy.random.default_rng(seed)
    drift = Drift.start(ALPHA)
    for _ in range(answers // 100):
        mine = int(random.binomial(100, weight * share / (1 - weight + weight * share)))
        yes = (int(random.binomial(100 - mine, stable)), int(random.binomial(mine, candidate)))
        no = (100 - mine - yes[0], mine - yes[1])
        drift = drift.after(Interval(weight, 100 - mine, mine, {"/label": {"yes": yes, "no": no}}))
    return drift


def found_in(*places: tuple[str, str]) -> st.SearchStrategy[list[tuple[float, list[Answer]]]]:
    """Up to two intervals, few enough answers to go through all ways in which they can be owned."""
    answer = st.tuples(*[st.tuples(st.just(pointer), st.sampled_from(values)) for pointer, values in places])
    return st.lists(
        st.tuples(st.sampled_from([0.1, 0.37, 0.5, 0.9]), st.lists(answer.map(list), min_size=1, max_size=4)),
        max_size=2,
    )


@settings(max_examples=60)
@given(
    st.one_of(
        found_in(("/0", "abc")),
        found_in(("/0", "ab"), ("/1", "xyz")),
        found_in(*[("/*", "ab")] * 2),
        found_in(*[("/*", "ab")] * 3),
    ),
    st.integers(0, 1),
)
def test_the_expectation_is_at_most_one_if_predictions_are_alike(
    found: list[tuple[float, list[Answer]]], enough: int
) -> None:
    total = 0.0
    for owners in itertools.product(*[itertools.product([False, True], repeat=len(a)) for _, a in found]):
        drift, chance = Drift(ALPHA, enough=enough), 1.0
        for (weight, given_answers), mine in zip(found, owners, strict=True):
            chance *= math.prod(weight if owned else 1 - weight for owned in mine)
            drift = drift.after(interval(weight, given_answers, mine))
        total += chance * math.exp(drift.log_e)
    assert total <= 1 + 1e-9


@settings(max_examples=60)
@given(st.lists(st.lists(st.sampled_from("ab"), min_size=1, max_size=4), min_size=2, max_size=5))
def test_lists_of_any_length_are_fair_if_each_counts_as_one(found: list[list[str]]) -> None:
    total = 0.0
    for mine in itertools.product([False, True], repeat=len(found)):
        counts = {"a": (0.0, 0.0), "b": (0.0, 0.0)}
        for values, owned in zip(found, mine, strict=True):
            for value in values:
                stable, candidate = counts[value]
                part = 1 / len(values)
                counts[value] = (stable + part * (not owned), candidate + part * owned)
        drift = Drift(ALPHA, enough=1).after(Interval(0.5, len(mine) - sum(mine), sum(mine), {"/*": counts}))
        total += math.exp(drift.log_e) / 2 ** len(found)
    assert total <= 1 + 1e-9


def test_what_is_bet_is_one_in_all_and_nothing_near_equal() -> None:
    assert sum(DIFFERENT.values()) == pytest.approx(1.0)
    assert not any(0.8 < ratio < 1.25 for ratio in DIFFERENT if ratio != 1)


def test_alike_predictions_are_seldom_found_to_differ() -> None:
    assert sum(labels(1.0, 0.3, 0.3, 3000, 0.25, seed).crossed for seed in range(150)) <= 0.01 * 150


def test_answers_that_one_version_loses_are_no_drift() -> None:
    assert not any(labels(0.3, 0.3, 0.3, 20_000, 0.5, seed).crossed for seed in range(10))


def test_a_model_that_is_a_little_different_is_not_reported() -> None:
    assert not any(labels(1.0, 0.52, 0.5, 50_000, 0.1, seed).crossed for seed in range(5))


@pytest.mark.parametrize(
    ("weight", "stable", "candidate", "most"),
    [
        (0.1, 0.5, 0.7, 4000),
        (0.5, 0.5, 0.7, 3000),
        (0.1, 0.05, 0.2, 3000),
        (0.1, 0.5, 1.0, 1000),
        (0.01, 0.5, 1.0, 5000),
        (0.5, 0.9, 0.0, 300),
    ],
)
def test_a_drift_is_found(weight: float, stable: float, candidate: float, most: int) -> None:
    found = [labels(1.0, candidate, stable, most, weight, seed) for seed in range(10)]
    assert sum(drift.crossed for drift in found) >= 9
    leading = found[0].leading
    assert leading is not None
    assert leading.pointer == "/label"


def test_the_value_that_differs_is_named_with_its_shares() -> None:
    drift = labels(1.0, 1.0, 0.5, 4000, 0.25, 1)
    told = drift.figures()["drift"]
    assert (told["pointer"], told["candidate"]) == ("/label", 1.0 if told["value"] == "yes" else 0.0)
    assert told["stable"] == pytest.approx(0.5, abs=0.05)
    assert drift.crossed


def test_few_answers_wait_until_there_are_enough_of_both() -> None:
    drift = Drift.start(ALPHA)
    for _ in range(9):
        drift = drift.after(Interval(0.1, 9, 1, {"": {"a": (9, 0), "b": (0, 1)}}))
    assert (drift.categories, drift.log_e) == ((), 0.0)
    drift = drift.after(Interval(0.1, 9, 1, {"": {"a": (9, 0), "b": (0, 1)}}))
    assert drift.pending is None
    assert drift.log_e > 0
    assert {(one.value, one.counts) for one in drift.categories} == {("a", (90, 0)), ("b", (0, 10))}


def test_a_change_of_weight_parts_what_is_looked_at_together() -> None:
    drift = Drift.start(ALPHA).after(Interval(0.1, 5, 5, {"": {"a": (5, 5)}}))
    drift = drift.after(Interval(0.5, 1, 1, {"": {"a": (1, 1)}}))
    assert drift.pending == Interval(0.5, 1, 1, {"": {"a": (1, 1)}})
    assert drift.categories[0].counts == (5, 5)


def test_one_version_alone_says_nothing() -> None:
    drift = Drift(ALPHA, enough=0).after(Interval(1.0, 0, 500, {"": {"a": (0, 300), "b": (0, 200)}}))
    assert drift.log_e == pytest.approx(0.0)
    assert not drift.crossed


def test_values_are_bounded_in_number() -> None:
    many = {f"{n}": (10.0, 10.0) for n in range(2 * MOST)}
    assert len(Drift.start(ALPHA).after(Interval(0.5, 1000, 1000, {"": many})).categories) == MOST


@given(found_in(("/0", "ab"), ("/1", "xyz")), st.data())
def test_it_goes_through_json_and_goes_on_from_there(
    found: list[tuple[float, list[Answer]]], data: st.DataObject
) -> None:
    drift = Drift(ALPHA, enough=1)
    for weight, given_answers in found:
        mine = data.draw(st.lists(st.booleans(), min_size=len(given_answers), max_size=len(given_answers)))
        one = interval(weight, given_answers, mine)
        crossed, after = drift.crossed, drift.after(one)
        assert read(drift).after(one) == after
        drift = after
        assert read(drift) == drift
        assert drift.crossed or not crossed


def read(drift: Drift) -> Drift:
    return Drift.from_json(json.loads(json.dumps(drift.to_json(), allow_nan=False)))
