"""How sure the traffic makes us: the bets are fair, they find what they must, and no data shows nothing."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binom

from serinus.rollout import Arm, Attempt, Counts, Tally
from serinus.rollout.bets import ABOVE, BAKED, EITHER, SLOWER, WORSE
from serinus.rollout.evidence import ABSOLUTE, METRICS, Base, Evidence, Metric, Users, p95, promise, tally
from serinus.rollout.promise import beta_cdf, beta_quantile

ALPHA = 0.01
weights = st.floats(0.0001, 0.9999)
counts = st.builds(Counts, *[st.integers(0, 30)] * 5)


def only(name: str, number: int) -> Counts:
    """As many events of one test: of ``traffic`` that is every attempt."""
    values = {"clean" if name == "traffic" else name: number}
    return Counts(**values)


def attempt(arm: Arm = Arm.CANDIDATE, status: int = 200, **more: object) -> Attempt:
    return Attempt(**({"arm": arm, "weight": 0.1, "status": status, "seconds": 0.1} | more))  # type: ignore[arg-type]


attempts = st.builds(
    Attempt,
    arm=st.sampled_from(Arm),
    weight=st.sampled_from([0.01, 0.1, 0.5]),
    status=st.sampled_from([0, 200, 302, 404, 422, 500, 503]),
    seconds=st.sampled_from([0.1, 0.9, math.nan]),
    violation=st.sampled_from([None, None, "/positive"]),
    forced=st.booleans(),
    user=st.sampled_from(["", "ann", "bob", "cyd"]),
)


# Counting


@pytest.mark.parametrize(
    ("one", "counted"),
    [
        (attempt(), Counts(clean=1)),
        (attempt(status=204, seconds=0.6), Counts(clean=1, slow=1)),
        (attempt(seconds=math.nan), Counts(clean=1)),
        (attempt(status=302), Counts(clean=1)),
        (attempt(status=422, seconds=9), Counts(refusals=1)),
        (attempt(status=500), Counts(errors=1)),
        (attempt(status=0, seconds=30), Counts(errors=1)),
        (attempt(status=500, violation="/positive"), Counts(violations=1)),
        (attempt(status=200, violation=""), Counts(violations=1)),
    ],
)
def test_an_attempt_is_counted_once_under_the_worst_that_holds(one: Attempt, counted: Counts) -> None:
    assert tally([one], 0.5) == (Tally(0.1, Counts(), counted),)


def test_no_answer_is_slow_without_a_threshold_and_forced_ones_are_left_out() -> None:
    assert tally([attempt(seconds=9)], None) == (Tally(0.1, Counts(), Counts(clean=1)),)
    assert tally([attempt(forced=True)], None) == ()


@given(st.lists(attempts))
def test_tallies_hold_every_attempt_by_weight_in_order(found: list[Attempt]) -> None:
    counted = [one for one in found if not one.forced]
    tallies = tally(found, 0.5)
    assert [one.weight for one in tallies] == list(dict.fromkeys(one.weight for one in counted))
    for one in tallies:
        for arm, total in ((Arm.STABLE, one.stable.total), (Arm.CANDIDATE, one.candidate.total)):
            assert total == sum(a.arm is arm and a.weight == one.weight for a in counted)


# Users


@given(st.lists(st.lists(attempts)), st.integers(1, 3))
def test_of_each_user_the_first_event_of_a_kind_counts(batches: list[list[Attempt]], limit: int) -> None:
    users = Users(limit=limit)
    counted = dict.fromkeys(METRICS, 0)
    for batch in batches:
        repeats, users = users.repeats(batch, 0.5)
        assert Users.from_json(json.loads(json.dumps(users.to_json()))) == users
        for all_of_them, left in zip(tally(batch, 0.5), repeats, strict=True):
            assert left.weight == all_of_them.weight
            for whole, part in ((all_of_them.stable, left.stable), (all_of_them.candidate, left.candidate)):
                for name in METRICS:
                    events = count(whole, name) - count(part, name)
                    assert 0 <= count(part, name) <= count(whole, name)
                    counted[name] += events
    every = [one for batch in batches for one in batch if not one.forced]
    for name in METRICS:
        having = [one for one in every if count(tally([one], 0.5)[0].candidate, name) or name == "traffic"]
        having += [one for one in every if count(tally([one], 0.5)[0].stable, name) and name != "traffic"]
        named = {one.user for one in having if one.user}
        assert counted[name] == sum(not one.user for one in having) + min(limit, len(named))


def count(of: Counts, name: str) -> int:
    return of.total if name == "traffic" else int(getattr(of, name))


def test_one_user_who_always_fails_is_one_event() -> None:
    users, evidence = Users(), Evidence.start(ALPHA)
    for _ in range(50):
        batch = [attempt(status=500, user="ann")]
        repeats, users = users.repeats(batch, None)
        evidence = evidence.after(tally(batch, None)[0], repeats[0])
    assert evidence.metric("errors").candidate == 1
    assert evidence.metric("traffic").candidate == 1
    assert not evidence.crossed
    assert "ann" not in json.dumps(users.to_json())


# The bets are fair


@st.composite
def looks(draw: st.DrawFn) -> list[tuple[float, int]]:
    """Weights and numbers of events, few enough to go through every way in which they can fall."""
    return draw(st.lists(st.tuples(weights, st.integers(1, 3)), min_size=1, max_size=4))


def outcomes(planned: Sequence[tuple[float, int]], better: float) -> Iterator[tuple[float, list[int]]]:
    """Every way in which the events can fall to the candidate, and its chance."""
    for fallen in itertools.product(*[range(number + 1) for _, number in planned]):
        chances = [
            binom.pmf(fell, number, weight * better)
            for fell, (weight, number) in zip(fallen, planned, strict=True)
        ]
        yield math.prod(chances), list(fallen)


@settings(max_examples=15)
@given(looks(), st.sampled_from(METRICS))
def test_the_expectation_is_one_if_the_candidate_is_as_good(
    planned: list[tuple[float, int]], name: str
) -> None:
    assert expected(planned, name, 1.0) == pytest.approx(1.0, rel=1e-9)


@settings(max_examples=15)
@given(looks(), st.sampled_from([name for name in METRICS if name != "traffic"]), st.floats(0, 1))
def test_the_expectation_is_at_most_one_if_it_is_better(
    planned: list[tuple[float, int]], name: str, better: float
) -> None:
    assert expected(planned, name, better) <= 1 + 1e-9


def expected(planned: Sequence[tuple[float, int]], name: str, better: float) -> float:
    total = 0.0
    for chance, fallen in outcomes(planned, better):
        evidence = Evidence.start(ALPHA, metrics=[name])
        for (weight, number), fell in zip(planned, fallen, strict=True):
            evidence = evidence.after(Tally(weight, only(name, number - fell), only(name, fell)))
        total += chance * math.exp(evidence.metric(name).log_e)
    return total


@settings(max_examples=15)
@given(
    st.floats(0.001, 0.9),
    st.lists(st.integers(1, 3), min_size=1, max_size=4),
    st.sampled_from(["errors", "violations", "refusals", "slow"]),
    st.booleans(),
    st.integers(1, 3),
    st.floats(0, 1),
)
def test_against_a_rate_the_expectation_is_one_at_that_rate_and_less_below(
    rate: float, sizes: list[int], name: str, bake: bool, window: int, better: float
) -> None:
    bake = bake or name in ("refusals", "slow")
    tested = name if bake else ABSOLUTE + name
    base = replace(Base(p95=0.1, count=500, window=window), **{name: rate / 2})
    begun = Evidence.baking(base, 0.0, ALPHA) if bake else Evidence.start(ALPHA, **{name: rate})
    rate = begun.metric(tested).tolerated or 0.0
    for factor, most in ((1.0, 1.0), (better, 1.0)):
        total = 0.0
        for chance, fallen in outcomes([(rate, size) for size in sizes], factor):
            evidence = begun
            for size, fell in zip(sizes, fallen, strict=True):
                bad = Counts(clean=fell, slow=fell) if name == "slow" else only(name, fell)
                evidence = evidence.after(Tally(1.0, Counts(), bad + Counts(clean=size - fell)))
            total += chance * math.exp(evidence.metric(tested).log_e)
        assert total <= most + 1e-9
        assert factor < 1 or total == pytest.approx(1.0, rel=1e-9)


@pytest.mark.parametrize("prior", [WORSE, SLOWER, EITHER, ABOVE, BAKED])
def test_what_is_bet_is_one_in_all(prior: Mapping[float, float]) -> None:
    assert sum(prior.values()) == pytest.approx(1.0)
    assert 1 in prior


def test_slowness_is_bet_on_from_twice_as_often() -> None:
    assert min(ratio for ratio in SLOWER if ratio != 1) >= 2


@pytest.mark.parametrize(
    "limits", [{}, {"errors": 0.01}, {"errors": 0.0, "violations": 0.0}, {"errors": 1.0}]
)
def test_the_parts_of_alpha_add_up_with_the_bake(limits: dict[str, float]) -> None:
    before = Evidence.start(ALPHA, **limits)
    after = Evidence.baking(Base(p95=0.1, count=500), 0.01, ALPHA)
    assert sum(metric.alpha for metric in before.metrics + after.metrics) == pytest.approx(ALPHA)
    assert len(before.metrics) == len(METRICS) + sum(rate < 1 for rate in limits.values())


@given(st.lists(st.tuples(weights, counts, counts), max_size=6), st.floats(0, 0.5))
def test_evidence_goes_through_json_and_goes_on_from_there(
    found: list[tuple[float, Counts, Counts]], rate: float
) -> None:
    evidence = Evidence.start(ALPHA, errors=rate, violations=0.0)
    highest = dict.fromkeys((metric.name for metric in evidence.metrics), 0.0)
    for weight, stable, candidate in found:
        one = Tally(weight, stable, candidate)
        read = Evidence.from_json(json.loads(json.dumps(evidence.to_json(), allow_nan=False)))
        assert read == evidence
        crossed = {name for name in evidence.crossed if name not in {"traffic", "slow"}}
        evidence = evidence.after(one)
        assert read.after(one) == evidence
        assert crossed <= set(evidence.crossed)
        for metric in evidence.metrics:
            assert metric.highest >= highest[metric.name]
            assert metric.highest >= metric.log_e - 1e-12
            highest[metric.name] = metric.highest


@pytest.mark.parametrize("weight", [0.0, 1.0, math.nan])
def test_a_weight_that_leaves_nothing_open_says_nothing(weight: float) -> None:
    begun = Evidence.start(ALPHA)
    assert begun.after(Tally(weight, Counts(clean=9), Counts(errors=9, violations=9))) == begun
    assert begun.after(Tally(0.1)) == begun


def test_a_name_that_is_no_test_is_an_error() -> None:
    with pytest.raises(KeyError, match="speed"):
        Evidence.start(ALPHA).metric("speed")


# What they find


def rollouts(
    runs: int, alpha: float, seed: int, looks_a_step: int = 8
) -> Iterator[tuple[Evidence, Evidence, Base]]:
    """Rollouts of a candidate that is like stable, its errors swinging tenfold, and their bakes."""
    random = numpy.random.default_rng(seed)
    for _ in range(runs):
        evidence, base, phase = Evidence.start(alpha), Base(p95=0.1), random.uniform(0, 6)
        for look, weight in enumerate(w for w in (0.01, 0.05, 0.25, 0.5) for _ in range(looks_a_step)):
            rates = swung(look + phase)
            size = int(random.integers(50, 800))
            mine = int(random.binomial(size, weight))
            stable, candidate = draw(random, size - mine, rates), draw(random, mine, rates)
            evidence, base = evidence.after(Tally(weight, stable, candidate)), base.after(stable)
        bake = Evidence.baking(base, 0.01, alpha)
        for look in range(looks_a_step):
            bake = bake.after(Tally(1.0, Counts(), draw(random, 300, swung(look + phase))))
        yield evidence, bake, base


def swung(time: float) -> tuple[float, float, float, float]:
    errors = 0.02 * 10 ** (math.sin(time / 2) / 2)
    return errors / 10, errors, 0.03, 0.05 * 2 ** math.sin(time)


def draw(random: numpy.random.Generator, size: int, rates: tuple[float, float, float, float]) -> Counts:
    *bad, slow = rates
    violations, errors, refusals, clean = random.multinomial(size, [*bad, 1 - sum(bad)])
    return Counts(int(violations), int(errors), int(refusals), int(clean), int(random.binomial(clean, slow)))


def test_candidates_that_are_as_good_are_seldom_found_worse() -> None:
    runs, alpha = 250, 0.05
    alarms = sum(bool(evidence.crossed or bake.crossed) for evidence, bake, _ in rollouts(runs, alpha, 1))
    assert alarms <= alpha * runs


def until(name: str, weight: float, mine: float, theirs: float, seed: int, most: int = 100_000) -> int:
    """How many answers of the candidate it takes, event by event."""
    random = numpy.random.default_rng(seed)
    metric, answers = Evidence.start(ALPHA).metric(name), 0
    while not metric.crossed and answers < most:
        owned = random.random() < weight
        answers += owned
        if random.random() < (mine if owned else theirs):
            metric = metric.after(weight, int(owned), int(not owned))
    return answers


@pytest.mark.parametrize("name", ["violations", "errors"])
@pytest.mark.parametrize(("weight", "most"), [(0.01, 2), (0.05, 3), (0.1, 3), (0.25, 5), (0.5, 10)])
def test_what_is_always_wrong_is_found_at_once(name: str, weight: float, most: int) -> None:
    metric = Evidence.start(ALPHA).metric(name)
    for _ in range(most):
        metric = metric.after(weight, 1, 0)
    assert metric.crossed


@pytest.mark.parametrize("name", ["violations", "errors"])
def test_what_is_always_wrong_is_found_with_tolerated_rates_too(name: str) -> None:
    evidence = Evidence.start(ALPHA, errors=0.01, violations=0.01)
    for _ in range(4):
        evidence = evidence.after(Tally(0.1, Counts(), only(name, 1)))
    assert name in evidence.crossed
    assert ABSOLUTE + name in evidence.crossed


def test_one_violation_in_a_hundred_is_found_within_a_thousand_answers() -> None:
    found = sorted(until("violations", 0.1, 0.01, 0.0, seed) for seed in range(40))
    assert found[-1] <= 1000
    assert found[20] <= 400


def test_ten_times_as_many_errors_are_found_within_1500_answers() -> None:
    found = sorted(until("errors", 0.1, 0.01, 0.001, seed) for seed in range(40))
    assert found[35] <= 1500
    assert found[20] <= 800


def test_a_little_slower_is_not_slow_and_twice_as_slow_is() -> None:
    random = numpy.random.default_rng(5)
    for rate, slow in ((0.06, False), (0.15, True)):
        metric = Evidence.start(ALPHA).metric("slow")
        for _ in range(60):
            mine, theirs = int(random.binomial(100, rate)), int(random.binomial(900, 0.05))
            metric = metric.after(0.1, mine, theirs)
        assert metric.crossed is slow


@pytest.mark.parametrize("share", [0.02, 0.25])
def test_a_router_that_does_not_split_as_told_is_found(share: float) -> None:
    metric = Evidence.start(ALPHA).metric("traffic")
    for _ in range(10):
        metric = metric.after(0.1, round(200 * share), round(200 * (1 - share)))
    assert metric.crossed


def test_the_part_of_the_traffic_may_come_right_again() -> None:
    metric = Evidence.start(ALPHA).metric("traffic").after(0.1, 0, 180)
    assert metric.crossed
    metric = metric.after(0.1, 20, 0).after(0.1, 60, 540)
    assert not metric.crossed
    assert metric.highest >= metric.bound


@pytest.mark.parametrize("name", ["violations", "errors"])
def test_where_nothing_is_tolerated_one_is_enough(name: str) -> None:
    evidence = Evidence.start(ALPHA, **{name: 0.0}).after(
        Tally(0.5, Counts(clean=9_000), Counts(clean=9_000))
    )
    assert evidence.crossed == ()
    assert evidence.after(Tally(0.5, Counts(), only(name, 1))).crossed == (ABSOLUTE + name,)


# The bake


def test_the_base_is_the_worst_window() -> None:
    base = Base().after(Counts(clean=499)).after(Counts(errors=501))
    assert (base.errors, base.count, base.pending) == (0.501, 1000, Counts())
    base = base.after(Counts(errors=5, clean=495, slow=99)).after(Counts(clean=100))
    assert (base.errors, base.slow, base.count, base.pending) == (0.501, 0.2, 1500, Counts(clean=100))
    assert Base.from_json(json.loads(json.dumps(base.to_json()))) == base
    assert base.frozen(0.2).frozen(None).p95 == 0.2


def test_without_a_whole_window_the_base_is_what_would_be_no_surprise() -> None:
    assert Base().worst("errors") == 1.0
    base = Base().after(Counts(errors=1, clean=99))
    assert base.worst("errors") == pytest.approx(beta.ppf(0.99, 2, 99))
    assert base.worst("slow") == 0.05
    assert Evidence.baking(Base(), 0.01, ALPHA).metrics == ()


def test_a_bake_asks_for_slowness_only_where_there_is_a_threshold() -> None:
    names = [metric.name for metric in Evidence.baking(Base(count=500), 0.01, ALPHA).metrics]
    assert names == ["violations", "errors", "refusals"]


@pytest.mark.parametrize(("rate", "most"), [(1.0, 60), (0.2, 1000)])
@pytest.mark.parametrize("after", [0, 60_000])
def test_what_breaks_in_the_bake_is_found_soon_however_late(rate: float, most: int, after: int) -> None:
    random = numpy.random.default_rng(2)
    evidence = Evidence.baking(Base(p95=0.1, count=5000, errors=0.03), 0.01, ALPHA)
    for _ in range(after // 200):
        evidence = evidence.after(Tally(1.0, Counts(), Counts(errors=4, clean=196)))
    for _ in range(most // 20):
        errors = int(random.binomial(20, rate))
        evidence = evidence.after(Tally(1.0, Counts(), Counts(errors=errors, clean=20 - errors)))
    assert evidence.crossed == ("errors",)


@pytest.mark.parametrize("size", [1, 30])
def test_a_burst_in_a_window_is_no_fault(size: int) -> None:
    evidence = Evidence.baking(Base(p95=0.1, count=5000, errors=0.03), 0.01, ALPHA)
    for _ in range(30 // size):
        evidence = evidence.after(Tally(1.0, Counts(), Counts(errors=size)))
    assert evidence.after(Tally(1.0, Counts(), Counts(clean=470))).crossed == ()


# The promise


@given(st.integers(0, 400), st.integers(1, 4000), st.sampled_from([0.001, 0.01, 0.05, 0.2]))
def test_the_quantile_is_that_of_scipy(bad: int, more: int, chance: float) -> None:
    assert beta_quantile(chance, bad + 1, more) == pytest.approx(beta.ppf(chance, bad + 1, more), rel=1e-9)
    assert beta_quantile(1 - chance, bad + 1, more) == pytest.approx(
        beta.ppf(1 - chance, bad + 1, more), rel=1e-9
    )


@given(st.floats(0.1, 5000), st.floats(0.1, 5000), st.floats(0, 1))
def test_the_incomplete_beta_function_is_that_of_scipy(a: float, b: float, x: float) -> None:
    assert beta_cdf(x, a, b) == pytest.approx(beta.cdf(x, a, b), rel=1e-8, abs=1e-12)


@given(st.integers(0, 60), st.integers(1, 2000), st.integers(0, 60), st.integers(0, 2000))
def test_the_bound_is_that_of_clopper_and_pearson(bad: int, clean: int, other: int, beside: int) -> None:
    shown = promise(Counts(errors=bad, clean=clean), Counts(violations=other, clean=beside), 0.01, 0.05)
    low = beta.ppf(0.05, other, beside + 1) if other else 0.0
    assert shown.bound == pytest.approx(beta.ppf(0.95, bad + 1, clean) - low, rel=1e-9, abs=1e-12)
    assert shown.shown == (shown.bound <= 0.01)


@pytest.mark.parametrize(
    ("margin", "alpha", "answers"), [(0.01, 0.01, 459), (0.01, 0.05, 299), (0.001, 0.01, 4603)]
)
def test_without_a_bad_answer_it_is_the_closed_formula(margin: float, alpha: float, answers: int) -> None:
    assert answers == math.ceil(math.log(1 / alpha) / -math.log(1 - margin))
    stable = Counts(clean=9)
    assert promise(Counts(), stable, margin, alpha).needed == answers
    assert promise(Counts(clean=100), stable, margin, alpha).needed == answers - 100
    assert not promise(Counts(clean=answers - 1), stable, margin, alpha).shown
    assert promise(Counts(clean=answers), stable, margin, alpha).shown
    assert promise(Counts(clean=answers), Counts(), margin, alpha).needed == 0


@settings(max_examples=30)
@given(st.integers(0, 5), st.integers(1, 500), st.integers(0, 50), st.integers(1, 5000))
def test_what_is_needed_is_enough_and_one_less_is_not(bad: int, clean: int, other: int, beside: int) -> None:
    shown = promise(Counts(errors=bad, clean=clean), Counts(errors=other, clean=beside), 0.01, 0.01)
    if bad or other or shown.needed is None:
        assert (shown.needed is None) <= (bad / (bad + clean) - other / (other + beside) >= 0.01 - 1e-9)
        assert shown.needed is None or (shown.needed == 0) == shown.shown
        return
    grown = Counts(clean=clean + shown.needed)
    assert promise(grown, Counts(clean=beside), 0.01, 0.01).shown
    assert shown.needed == 0 or not promise(grown + Counts(clean=-1), Counts(clean=beside), 0.01, 0.01).shown


def test_two_versions_that_always_fail_are_alike() -> None:
    for stable in (Counts(errors=9), Counts(errors=500)):
        shown = promise(Counts(errors=5), stable, 0.01, 0.01)
        assert shown.shown == (stable.errors == 500)
        assert shown.needed is not None
    assert promise(Counts(errors=5), Counts(clean=5), 0.01, 0.01).needed is None


@pytest.mark.parametrize(("candidate", "stable"), [((20, 1000), (400, 20_000)), ((0, 90), (9, 900))])
def test_what_is_needed_is_about_the_least(candidate: tuple[int, int], stable: tuple[int, int]) -> None:
    (bad, clean), (other, beside) = candidate, stable
    needed = promise(Counts(errors=bad, clean=clean), Counts(errors=other, clean=beside), 0.01, 0.01).needed
    assert needed is not None
    for part, shown in ((1.0, True), (0.95, False)):
        grown = 1 + part * needed / (bad + clean)
        high = beta.ppf(0.99, bad * grown + 1, clean * grown)
        low = beta.ppf(0.01, other * grown, beside * grown + 1)
        assert bool(high - low <= 0.01) is shown


def test_refusals_count_neither_way() -> None:
    many = Counts(refusals=5000)
    assert promise(many, many, 0.01, 0.01) == promise(Counts(), Counts(), 0.01, 0.01)


@pytest.mark.parametrize(
    ("margin", "alpha"),
    [
        (math.nan, 0.01),
        (0.01, math.nan),
        (0.0, 0.01),
        (-0.1, 0.01),
        (0.01, 0.0),
        (0.01, 1.0),
    ],
)
def test_what_is_no_number_shows_nothing(margin: float, alpha: float) -> None:
    for candidate in (Counts(), Counts(clean=1_000_000)):
        shown = promise(candidate, Counts(clean=1_000_000), margin, alpha)
        assert not shown.shown
        assert shown.needed is None


@given(st.floats(allow_nan=True), st.floats(allow_nan=True), counts)
def test_no_data_is_never_a_pass(margin: float, alpha: float, stable: Counts) -> None:
    assert not promise(Counts(), stable, margin, alpha).shown
    assert not promise(Counts(refusals=9), stable, margin, alpha).shown


# Latencies


def test_the_percentile_needs_a_hundred_numbers() -> None:
    assert p95([0.1] * 99 + [math.nan, math.inf]) is None
    assert p95([n / 100 for n in range(1, 101)]) == 0.95
    assert p95([1.0] * 94 + [2.0] * 6) == 2.0


def test_a_metric_knows_its_bound() -> None:
    metric = Evidence.start(ALPHA).metric("errors")
    assert isinstance(metric, Metric)
    assert metric.bound == pytest.approx(math.log(1 / 0.0027))
    assert Evidence.start(ALPHA).figures()["errors"] == {
        "log_e": 0.0,
        "highest": 0.0,
        "bound": 5.9145,
        "candidate": 0,
        "others": 0,
    }
