"""The senses of a controller: predictions, pairs of answers, probes; gathered beside it, never waited for."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from serinus.environment import scrape
from serinus.environment.beside import Spawn, beside
from serinus.environment.probe import Ask, Promises, probe, promised
from serinus.errors import SerinusError
from serinus.rollout import Fleet, Found, Routing
from serinus.rollout.compare import Answered, Pairing
from serinus.rollout.drift import Interval
from serinus.rollout.run import Sensed
from serinus.rollout.seen import Probed
from serinus.rollout.state import Phase, Rollout, State

EVERY = 1.0
"""Seconds between two looks at the counters of the replicas."""
Pairs = tuple[tuple[Answered, Answered], ...]


class Environs:
    """What is seen of an environment beside attempts and replicas.

    Args:
        fleet: for the logs of a shadow.
        ask: asks the candidate through the router.
        fetch: reads the counters of a replica.
        promises: what a version promises, with its examples.
        spawn: does something beside.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        fleet: Fleet,
        ask: Ask,
        *,
        fetch: scrape.Fetch = scrape.fetch,
        promises: Promises = promised,
        spawn: Spawn = beside,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._predictions = _Predictions(fetch, clock, spawn)
        self._shadow = _Shadow(fleet)
        self._probe = _Probe(ask, promises, spawn)

    def look(self, state: State, found: Mapping[str, Found], routing: Routing | None) -> Sensed:
        """What has come since the last look; returns at once."""
        rollout = state.rollout
        if rollout is None or state.stable is None:
            return (), (), None
        intervals = self._predictions.look(rollout, state.stable, found, routing)
        pairs = self._shadow.look(rollout, state.stable) if rollout.phase is Phase.SHADOWING else ()
        probing = rollout.phase is Phase.PROBING and routing is not None and routing.candidate is not None
        return intervals, pairs, self._probe.look(state, rollout) if probing else None


@dataclass
class _Predictions:
    """Reads the replicas' counters once a second, on a thread of its own."""

    fetch: scrape.Fetch
    clock: Callable[[], float]
    spawn: Spawn
    _ready: list[Interval] = field(default_factory=list)
    _busy: bool = False
    _next: float = 0.0
    _before: dict[scrape.Address, scrape.Counted] = field(default_factory=dict)
    _under: tuple[int, float] | None = None
    """Rollout and weight of the look before: an interval must be under one weight."""

    def look(
        self, rollout: Rollout, stable: str, found: Mapping[str, Found], routing: Routing | None
    ) -> tuple[Interval, ...]:
        now = self.clock()
        if not self._busy and now >= self._next:
            self._next, self._busy = now + EVERY, True
            weight = routing.weight if routing is not None and routing.candidate is not None else 0.0
            places = [found[one].addresses if one in found else () for one in (stable, rollout.candidate)]
            job = (rollout.number, weight, rollout.policy.route, places)
            self.spawn(lambda: self._read(*job))
        ready, self._ready = self._ready, []
        return tuple(ready)

    def _read(
        self, number: int, weight: float, route: str, places: Sequence[Sequence[scrape.Address]]
    ) -> None:
        after: dict[scrape.Address, scrape.Counted] = {}
        for address in (address for addresses in places for address in addresses):
            try:
                after[address] = scrape.parse(self.fetch(address), route)
            except OSError:
                continue  # it is being stopped, or has just died
        steady = self._under == (number, weight) and 0 < weight < 1
        if steady:
            stable, candidate = (
                scrape.total(
                    [
                        scrape.grown(self._before[address], after[address])
                        for address in addresses
                        if address in after and address in self._before
                    ]
                )
                for addresses in places
            )
            self._ready.append(scrape.interval(weight, stable, candidate))
        self._before, self._under, self._busy = after, (number, weight), False


@dataclass
class _Shadow:
    """Joins the answers that both versions have noted in their logs."""

    fleet: Fleet
    _pairing: Pairing = field(default_factory=Pairing)
    _number: int = 0
    _places: dict[str, int] = field(default_factory=dict)
    _rest: dict[str, bytes] = field(default_factory=dict)

    def look(self, rollout: Rollout, stable: str) -> Pairs:
        if rollout.number != self._number:
            self._number, self._pairing, self._rest = rollout.number, Pairing(), {}
            self._places = {one: len(self.fleet.logs(one)) for one in (stable, rollout.candidate)}
        mine, theirs = (self._answers(one, rollout.policy.route) for one in (stable, rollout.candidate))
        return self._pairing.add(mine, theirs)

    def _answers(self, version: str, route: str) -> tuple[Answered, ...]:
        new = self.fleet.logs(version, self._places.get(version, 0))
        self._places[version] = self._places.get(version, 0) + len(new)
        *lines, self._rest[version] = (self._rest.get(version, b"") + new).split(b"\n")
        return tuple(filter(None, (answered(line, route) for line in lines)))


def answered(line: bytes, route: str) -> Answered | None:
    """The answer in a line of a replica's log; None where it is another one. Pure."""
    if b'"answer"' not in line:
        return None
    try:
        document = orjson.loads(line)
        if document["route"] != route:
            return None
        return Answered(
            document["request_id"], document["status"], float(document["seconds"]), document["answer"]
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None


@dataclass
class _Probe:
    """Asks the examples once for each rollout, on a thread of its own."""

    ask: Ask
    promises: Promises
    spawn: Spawn
    _number: int = 0
    _probed: Probed | None = None

    def look(self, state: State, rollout: Rollout) -> Probed | None:
        if rollout.number != self._number:
            self._number, self._probed = rollout.number, None
            self.spawn(lambda: self._run(state, rollout))
        return self._probed

    def _run(self, state: State, rollout: Rollout) -> None:
        stable = state.versions[state.stable] if state.stable else None
        candidate = state.versions[rollout.candidate]
        try:
            probed = probe(candidate, stable, self.ask, rollout.policy.tolerance, self.promises)
        except SerinusError as error:
            probed = Probed(candidate.digest, (f"the examples cannot be read: {error.message}",), 0)
        if rollout.number == self._number:
            self._probed = probed
