"""The rules of Flagger, of Argo Rollouts and of Serinus, on one and the same trace of requests.

A trace says for each request where the draw of the router would put it, what the candidate would answer and
what stable would. So all rules see the same traffic, each through the weights that it sets itself. Checks
before there is traffic are left out everywhere: those of Serinus, and the acceptance test that Flagger's
tutorials call by a webhook. Left out of the others are also load tests, the delays of scraping and of
scaling, and the retries of the Istio tutorial, which repeat a 502, 503 or 504 and no 500. A rescue is an
answer of stable, and fails as often as those do.

Flagger (fluxcd/flagger), ``pkg/controller/scheduler.go``: at each tick of ``interval``, roll back if the
failed checks have reached ``threshold``; at weight 0 go to ``stepWeight``; else judge the window, count a
failed check and stay, or add ``stepWeight``; at ``maxWeight`` promote. Failed checks are never counted down.
The success rate is that of the canary's own answers below 500 (``pkg/metrics/observers/istio.go``); none at
all is a failed check (``pkg/controller/scheduler_metrics.go``).

Argo Rollouts (argoproj/argo-rollouts), ``analysis/analysis.go``: a metric has failed when more measurements
than ``failureLimit`` have (``result.Failed > metric.FailureLimit``; the text of the documentation says "three
such"). The documented query has the whole service, ``guestbook-svc``, as its destination, and ``irate``,
which looks at the last two samples: 15 s here, the ``scrape_interval`` of Istio's add-on (istio/istio
``samples/addons/prometheus.yaml``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy

from serinus.rollout import Counts, Tally
from serinus.rollout.evidence import Base, Evidence, promise

RATE = 200
"""Requests a second."""
HORIZON = 3600
"""Seconds that are looked at: bad answers of a version that was promoted go on until then."""
CLEAN, VIOLATION, ERROR = 0, 1, 2


@dataclass(frozen=True)
class Fault:
    """How often the candidate answers wrongly; stable's errors are the base."""

    name: str
    violations: float = 0.0
    """With HTTP 200."""
    errors: float = 0.001
    base: float = 0.001


class Trace:
    """Requests by second: what the router draws, and what each version would answer."""

    def __init__(self, fault: Fault, seed: int) -> None:
        random = numpy.random.default_rng(seed)
        size = (HORIZON, RATE)
        self.drawn = random.random(size, dtype=numpy.float32)
        chance = random.random(size, dtype=numpy.float32)
        self.candidate = numpy.where(
            chance < fault.violations,
            VIOLATION,
            numpy.where(chance < fault.violations + fault.errors, ERROR, CLEAN),
        ).astype(numpy.int8)
        self.stable = numpy.where(random.random(size, dtype=numpy.float32) < fault.base, ERROR, CLEAN)


@dataclass
class Outcome:
    """What came of it."""

    aborted: int | None = None
    """Seconds after the start."""
    promoted: int | None = None
    bad: int = 0
    """Bad answers of the candidate."""
    reached: int = 0
    """Those of them that users got."""


class Served:
    """What a rule's weights have made of a trace so far, second by second."""

    def __init__(self, trace: Trace) -> None:
        self.trace, self.now, self.outcome = trace, 0, Outcome()
        self.mine = numpy.zeros((HORIZON, 3), numpy.int64)
        self.theirs = numpy.zeros((HORIZON, 3), numpy.int64)

    def second(self, weight: float, *, rescue: bool = False) -> None:
        trace, now = self.trace, self.now
        owned = trace.drawn[now] < weight
        self.mine[now] = numpy.bincount(trace.candidate[now][owned], minlength=3)
        self.theirs[now] = numpy.bincount(trace.stable[now][~owned], minlength=3)
        wrong = owned & (trace.candidate[now] != CLEAN)
        self.outcome.bad += int(wrong.sum())
        # A rescued answer is bad only if stable's is.
        self.outcome.reached += int((wrong & (trace.stable[now] != CLEAN) if rescue else wrong).sum())
        self.now += 1

    def success(self, seconds: int, *, canary: bool) -> float | None:
        """The share of answers below 500 in the last seconds; None without any."""
        begin = max(0, self.now - seconds)
        counts = self.mine[begin : self.now].sum(axis=0)
        if not canary:
            counts = counts + self.theirs[begin : self.now].sum(axis=0)
        total = int(counts.sum())
        return 1 - int(counts[ERROR]) / total if total else None

    def rest(self) -> Outcome:
        """After a promotion."""
        while self.now < HORIZON:
            self.second(1.0)
        return self.outcome


def flagger(interval: int, threshold: int, step: int, window: int = 60, least: float = 0.99) -> Rule:
    """Flagger up to 50 %, judging the canary's success rate over ``window`` seconds."""

    def run(trace: Trace) -> Outcome:
        served, weight, failed = Served(trace), 0, 0
        while served.now < HORIZON:
            if served.now % interval == 0:
                if failed >= threshold:
                    served.outcome.aborted = served.now
                    return served.outcome
                success = served.success(window, canary=True)
                if weight and (success is None or success < least):
                    failed += 1
                elif weight >= 50:
                    served.outcome.promoted = served.now
                    return served.rest()
                else:
                    weight += step
            served.second(weight / 100)
        return served.outcome

    return run


def argo_background(trace: Trace) -> Outcome:
    """20, 40, 60 and 80 % for ten minutes each; from 40 % on a measurement every five minutes."""
    served, failed = Served(trace), 0
    for weight in (0.2, 0.4, 0.6, 0.8):
        for second in range(600):
            if weight > 0.2 and second % 300 == 0:
                success = served.success(15, canary=False)
                failed += success is not None and not success >= 0.95
                if failed > 3:
                    served.outcome.aborted = served.now
                    return served.outcome
            served.second(weight)
    served.outcome.promoted = served.now
    return served.rest()


def argo_inline(trace: Trace) -> Outcome:
    """20 % for five minutes, then one measurement, then everything."""
    served = Served(trace)
    for _ in range(300):
        served.second(0.2)
    success = served.success(15, canary=False)
    if success is not None and not success >= 0.95:
        served.outcome.aborted = served.now
        return served.outcome
    served.outcome.promoted = served.now
    return served.rest()


def serinus(trace: Trace) -> Outcome:
    """The default policy: each step is left when its promise is shown, then a bake of ten minutes."""
    served, evidence, base = Served(trace), Evidence.start(0.01), Base()
    for weight in (0.01, 0.05, 0.25, 0.5):
        here, begin = Tally(weight), served.now
        while served.now < HORIZON:
            one = _served(served, weight)
            evidence, base = evidence.after(one), base.after(one.stable)
            here = Tally(weight, here.stable + one.stable, here.candidate + one.candidate)
            if set(evidence.crossed) - {"traffic"}:
                served.outcome.aborted = served.now
                return served.outcome
            passed = served.now - begin
            # The exact bound takes its time to work out: every fifth second will do.
            if passed >= 30 and passed % 5 == 0 and promise(here.candidate, here.stable, 0.01, 0.01).shown:
                break
    bake = Evidence.baking(base, 0.01, 0.01)
    for _ in range(min(600, HORIZON - served.now)):
        bake = bake.after(_served(served, 1.0))
        if bake.crossed:
            served.outcome.aborted = served.now
            return served.outcome
    served.outcome.promoted = served.now if served.now < HORIZON else None
    return served.rest()


def _served(served: Served, weight: float) -> Tally:
    served.second(weight, rescue=True)
    mine, theirs = served.mine[served.now - 1], served.theirs[served.now - 1]
    return Tally(weight, _counts(theirs), _counts(mine))


def _counts(kinds: numpy.ndarray) -> Counts:
    return Counts(int(kinds[VIOLATION]), int(kinds[ERROR]), 0, int(kinds[CLEAN]))


Rule = Callable[[Trace], Outcome]
FAULTS = (
    Fault("always 500", errors=1.0),
    Fault('{"positive": "false"}', violations=1.0),
    Fault("1 % break the contract", violations=0.01),
    Fault("errors 0.1 % -> 1 %", errors=0.01),
    Fault("none", errors=0.001),
)
RULES: tuple[tuple[str, str, Rule], ...] = (
    ("Serinus", "the default policy, with rescue", serinus),
    (
        "Flagger, Istio tutorial",
        "fluxcd/flagger docs/gitbook/tutorials/istio-progressive-delivery.md @128c883: interval 1m, "
        "threshold 5, maxWeight 50, stepWeight 10, request-success-rate min 99 over 1m",
        flagger(60, 5, 10),
    ),
    (
        "Flagger, how it works",
        "fluxcd/flagger docs/gitbook/usage/how-it-works.md @061c179: interval 1m, threshold 10, "
        "maxWeight 50, stepWeight 5, request-success-rate min 99 over 1m",
        flagger(60, 10, 5),
    ),
    (
        "Flagger, NGINX tutorial",
        "fluxcd/flagger docs/gitbook/tutorials/nginx-progressive-delivery.md @01d4780: interval 10s, "
        "threshold 10, maxWeight 50, stepWeight 5, request-success-rate min 99 over 1m",
        flagger(10, 10, 5),
    ),
    (
        "Argo Rollouts, background",
        "argoproj/argo-rollouts docs/features/analysis.md @a8a44ec, Background Analysis: setWeight 20, 40, "
        "60, 80, pause 10m each, startingStep 2, interval 5m, result[0] >= 0.95, failureLimit 3",
        argo_background,
    ),
    (
        "Argo Rollouts, inline",
        "argoproj/argo-rollouts docs/features/analysis.md @a8a44ec, Inline Analysis: setWeight 20, pause "
        "5m, one measurement, result[0] >= 0.95",
        argo_inline,
    ),
)
"""Name, where the settings come from, and the rule."""
