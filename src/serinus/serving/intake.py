"""Intake: how many requests are let in, by how long one more would wait.

A fixed number of places is wrong for every service but one: 256 requests are 40 ms of work for a small model
and 4 s for a large one. So beside the number there is a bound in seconds. What a service can do is learned
from one request at a time, a *probe*: who finds hardly anybody inside learns how long a request takes alone,
and who has to wait learns how far apart answers come. By Little's law (Little, "A proof for the queuing
formula L = lambda W", 1961) ``n`` requests inside, answered ``gap`` seconds apart, take ``n * gap`` each;
what that is above the time alone was spent waiting. How many the service works on at once need not be known.

How long one may wait follows CoDel (RFC 8289), as Facebook had it before its services (Maurer, "Fail at
Scale", ACM Queue 13(8), 2015): a queue that comes and goes is good, one that stays is bad. Normally there may
be seconds of it; when requests have been refused for a while the bound falls, so that those who are let in
have their answer soon, and the queue is gone soon when the overload is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from time import perf_counter
from typing import NamedTuple

from serinus.serving.answers import Answer, Problem

PATIENCE, HURRY = 2.0, 0.2
"""Seconds that one may wait, and the share of them in overload."""
STANDING = 1.0
"""Requests refused for so many seconds, without a pause as long, are an overload."""
FEW = 2
"""So many are always let in: one at work and one that waits, so that there always is something to do."""
WAITED = 3.0
"""Who takes so many times as long as a request alone has waited, others may just be slow."""
UNKNOWN = 256
"""So many are let in by a service of which nothing is known yet."""
STALE = 10.0
"""Seconds after which what was learned about answers under load is forgotten."""
SHARE = 0.25
"""Of a new observation in what is known."""
REST = 8
"""Requests that go unobserved after a probe, while hardly anybody is inside: looking takes its time, too."""


class Pace(NamedTuple):
    """What is known of a service, in seconds; 0 is nothing yet."""

    alone: float = 0.0
    """What a request takes that finds hardly anybody inside."""
    gap: float = 0.0
    """Between two answers while requests wait for each other."""

    free: int = 0
    """So many have been inside of whom the last one did not wait."""

    def room(self, seconds: float) -> float:
        """How many may be inside so that the last one waits ``seconds``.

        At least one beyond those that are worked on, and as many again: a service that works on a batch
        needs the next one, or batches shrink with what is let in, and answers with them. While it is not
        known how far apart answers come, twice as many as did not have to wait.
        """
        if not self.gap:
            return max(UNKNOWN, 2 * self.free)
        return max(FEW, (self.alone + max(seconds, self.alone)) / self.gap + 1)

    def seen(self, took: float, ahead: int, answered: int) -> Pace:
        """What is known after one more request.

        Args:
            took: its seconds.
            ahead: how many it found inside.
            answered: how many were answered meanwhile, itself among them.
        """
        if ahead < FEW:
            return Pace(_mean(self.alone, took), self.gap, self.free)
        gap = _mean(self.gap, took / answered)
        if took <= WAITED * self.alone:
            return Pace(self.alone, min(self.gap, gap), max(self.free, ahead + 1))
        # In a queue those ahead are answered first. Who was overtaken by many was not waiting, but slow.
        queued = self.alone > 0 and answered <= 1.5 * (ahead + 1)
        return Pace(self.alone, gap, self.free) if queued else self


def _mean(known: float, seen: float) -> float:
    return known + SHARE * (seen - known) if known else seen


class Intake:
    """Lets requests in: at most ``limit``, and as long as they need not wait too long.

    Belongs to one event loop.

    Args:
        limit: requests inside at most, whatever happens: each takes memory.
        deadline: seconds after which a request is given up; nobody is let in to wait for longer than half.
        clock: seconds.
    """

    __slots__ = (
        *("_ahead", "_answer", "_before", "_clock", "_first", "_gap_at", "_last", "_left", "_patience"),
        *("_rest", "_since", "_told", "inside", "limit", "most", "pace"),
    )

    def __init__(
        self, limit: int, deadline: float = math.inf, clock: Callable[[], float] = perf_counter
    ) -> None:
        self.limit, self.most = limit, min(limit, UNKNOWN)
        """:attr:`most` may be inside now; at ``inside >= most`` ask :meth:`refuse`."""
        self.inside = 0
        self.pace = Pace()
        self._patience = min(PATIENCE, deadline / 2)
        self._clock = clock
        self._left = 0
        self._since, self._ahead, self._before, self._rest = -1.0, 0, 0, 0
        self._gap_at = self._first = self._last = -math.inf
        self._told, self._answer = 0, Answer(503)

    def enter(self) -> bool:
        """Let one request in; :meth:`leave` must follow. Whether it is the probe.

        Raises:
            Problem: 503 with ``Retry-After``.
        """
        if self.inside >= self.most and self.refuse() is not None:
            raise self._problem()
        ahead = self.inside
        self.inside = ahead + 1
        if self._since >= 0 or (ahead < FEW and self._left < self._rest):
            return False
        self._since, self._ahead, self._before = self._clock(), ahead, self._left
        return True

    def leave(self, probe: bool) -> None:
        """One request is answered; ``probe`` is what :meth:`enter` said."""
        self.inside -= 1
        self._left += 1
        if probe:
            self._learn(self._clock())

    def refuse(self) -> Answer | None:
        """The answer to a request that is not let in now, and counts as refused; None when it may enter."""
        now = self._clock()
        self._bound(now)
        if self.inside < self.most:
            return None
        if now - self._last > STANDING:
            self._first = now
        self._last = now
        if self._told != (seconds := self.seconds()):
            self._told, self._answer = seconds, self._problem().answer()
        return self._answer

    def seconds(self) -> int:
        """Whole seconds, at least 1, until what is inside is answered: ``Retry-After``."""
        return max(1, math.ceil(self.inside * self.pace.gap))

    def _problem(self) -> Problem:
        seconds = self.seconds()
        return Problem(
            503,
            f"more requests are under way than can be answered soon; ask again in {seconds} s",
            headers=[("retry-after", str(seconds))],
        )

    def _learn(self, now: float) -> None:
        known, took, answered = self.pace, now - self._since, self._left - self._before
        self._since, self._rest = -1.0, self._left + REST
        self.pace = known.seen(took, self._ahead, answered)
        if self._ahead >= FEW and took > WAITED * known.alone and self.pace is not known:
            self._gap_at = now
        self._bound(now)

    def _bound(self, now: float) -> None:
        """How many may be inside from now on."""
        if self.pace.gap and now - self._gap_at > STALE:
            self.pace = self.pace._replace(gap=0.0)
        overloaded = now - self._last <= STANDING <= self._last - self._first
        seconds = self._patience * (HURRY if overloaded else 1)
        self.most = int(min(self.limit, self.pace.room(seconds)))
