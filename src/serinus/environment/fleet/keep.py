"""The fleet: keeps the replicas of the wanted versions running, in any runtime.

The replicas are *lasting* ones. When the process that keeps them ends or is killed they go on answering, and
the next fleet of the same environment finds them, asks them whether they are ready, and goes on keeping them.

One thread looks at what there is, lets :mod:`.supervise` decide, and hands what takes time (to start, to ask,
to stop) to threads of their own; nobody who calls waits for any of it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from serinus.environment.beside import Job, Spawn, beside
from serinus.environment.fleet import ports
from serinus.environment.fleet.merged import Logs
from serinus.environment.fleet.replicas import Begun, Images, Limits, Starter, begun, terms_of, version_of
from serinus.environment.fleet.supervise import (
    Goal,
    Key,
    Phase,
    Seat,
    Trouble,
    decide,
    failed,
    forgiven,
    found,
    moved,
    remembered,
)
from serinus.errors import SerinusError
from serinus.rollout import Found, Wanted
from serinus.runtimes import Runtime, Survivor
from serinus.runtimes.wait import UNFIT, Fetch, fetch

log = logging.getLogger("serinus.environment")

LEAD = 2.0
"""Seconds between the moment that a replica is out of sight and the moment that it is told to stop."""
PATIENCE = 300.0
"""Seconds that a replica may take to become ready."""
RECONCILE = 30.0
"""Seconds after which the runtime is asked again what there is; soon after the start it is once more."""
_BUSY, _IDLE = 0.05, 0.25
_FIRST, _LONGEST = 0.02, 0.25
"""Seconds between two questions to a replica that is not ready."""
_ADOPTION = 2.0
"""Seconds that replicas which were found may take to answer before others are let in."""


@dataclass(slots=True)
class _Live:
    """A replica, and what is under way with it. Belongs to the fleet's lock."""

    seat: Seat
    name: str
    identity: str
    """A name that no replica before it has had."""
    begun: Begun | None = None
    """None while it is being started."""
    asking: bool = False
    ask_at: float = 0.0
    pause: float = _FIRST


class RuntimeFleet:
    """A :class:`~serinus.rollout.Fleet` in one runtime. One at a time may keep an environment.

    Args:
        environment: its name, which no other on this machine has.
        runtime: runs the replicas.
        images: finds the image of a version.
        state: folder for the contracts that replicas are handed.
        env: variables of every replica.
        limits: of every replica.
        grace: seconds that a replica may take to stop.
        lead: see :data:`LEAD`.
        patience: see :data:`PATIENCE`.
        clock: seconds that only grow.
        sleep: waits so many seconds.
        spawn: does something beside.
        fetch: asks replicas.
    """

    def __init__(
        self,
        environment: str,
        runtime: Runtime,
        images: Images,
        state: Path,
        *,
        env: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        grace: float = 35.0,
        lead: float = LEAD,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        spawn: Spawn = beside,
        fetch: Fetch = fetch,
    ) -> None:
        self._environment, self._runtime = environment, runtime
        self._limits = limits or Limits()
        self._starter = Starter(environment, runtime, images, state, env=env or {}, limits=self._limits)
        self._grace, self._lead, self._patience = grace, lead, patience
        self._clock, self._sleep, self._spawn, self._fetch = clock, sleep, spawn, fetch
        self._lock = threading.RLock()
        self._wake, self._closed = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._wanted: tuple[Wanted, ...] = ()
        self._goals: tuple[Goal, ...] | None = None
        self._live: dict[Key, _Live] = {}
        self._troubles: dict[Key, Trouble] = {}
        self._restarts: dict[str, int] = {}
        self._logs = Logs()
        self._reconciled = clock() - RECONCILE + _ADOPTION
        self._jobs = self._identities = 0

    # What others call

    def start(self) -> None:
        """Adopt what runs, ask it whether it is ready, and keep the fleet from now on.

        Nothing is started or stopped before the first :meth:`keep`.

        Raises:
            RuntimeUnavailable: the runtime is not there, or would not hold the limits.
        """
        self._runtime.check_limits(self._limits.memory, self._limits.cpus)
        self._adopt(self._runtime.list(self._environment), ())
        self.step()
        end = self._clock() + _ADOPTION
        while self._clock() < end and any(live.asking for live in list(self._live.values())):
            self._sleep(0.002)
        self._thread = threading.Thread(target=self._run, name="fleet", daemon=True)
        self._thread.start()

    def keep(self, wanted: Sequence[Wanted]) -> None:
        """Say what is to run; returns at once. What is no longer wanted is drained and stopped."""
        wanted = tuple(wanted)
        with self._lock:
            if self._goals is not None and wanted == self._wanted:
                return
            goals = tuple(Goal(one.version, one.replicas, self._starter.terms(one)) for one in wanted)
            self._troubles = forgiven(self._troubles, self._goals or (), goals)
            self._wanted, self._goals = wanted, goals
        self._wake.set()

    def look(self) -> Mapping[str, Found]:
        """How each version is doing, by digest; versions that are being drained are left out."""
        with self._lock:
            self._notice(self._clock())
            seats = [live.seat for live in self._live.values()]
            sizes = _sizes(seats) if self._goals is None else {g.version: g.replicas for g in self._goals}
            return {
                version: found(version, size, seats, self._troubles, self._restarts.get(version, 0))
                for version, size in sizes.items()
            }

    def logs(self, version: str, since: int = 0) -> bytes:
        """What its replicas have written since this fleet looks after them: whole lines, as they were read.

        The last megabytes are kept; see :mod:`serinus.runtimes.tails` for ``since``.
        """
        with self._lock:
            merged = self._logs.kept(version)
            lives = [live for live in self._live.values() if live.seat.version == version]
            running = [(live.identity, live.begun.running) for live in lives if live.begun]
        return merged.read(running, since) if merged else b""

    def close(self, *, stop: bool) -> None:
        """Keep the fleet no longer: leave its replicas running, or stop them all and wait until they have."""
        self._closed.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        if stop:
            self._lead = 0.0
            self.keep(())
        end = self._clock() + self._grace + 30.0
        while (self._jobs or (stop and self._live)) and self._clock() < end:
            if stop:
                self.step()
            self._sleep(0.02)

    # What its thread does

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                pause = self.step()
            except Exception:
                log.exception("the fleet of %s could not be looked after", self._environment)
                pause = 1.0
            self._wake.wait(pause)
            self._wake.clear()

    def step(self) -> float:
        """Look, decide, and have done what is to be done; the seconds until that is worth while again."""
        with self._lock:
            now = self._clock()
            self._notice(now)
            jobs = [] if self._goals is None else self._decided(self._goals, now)
            jobs += [self._ask_job(live) for live in self._live.values() if self._is_due(live, now)]
            if now - self._reconciled >= RECONCILE:
                self._reconciled = now
                jobs.append(self._reconcile)
            self._logs.drop_old({live.seat.version for live in self._live.values()})
            calm = all(live.seat.phase is Phase.READY for live in self._live.values()) and not self._troubles
        for job in jobs:
            self._beside(job)
        return _IDLE if calm else _BUSY

    def _decided(self, goals: Sequence[Goal], now: float) -> list[Job]:
        seats = [live.seat for live in self._live.values()]
        self._troubles = remembered(self._troubles, goals, seats, now)
        plan = decide(goals, seats, self._troubles, now, self._lead)
        for key in plan.leave:
            self._live[key].seat = moved(self._live[key].seat, Phase.LEAVING, now)
            self._troubles.pop(key, None)
        jobs = [self._start_job(key, now) for key in plan.start]
        return jobs + [self._stop_job(self._live[key], now) for key in plan.stop if self._live[key].begun]

    def _beside(self, job: Job) -> None:
        def work() -> None:
            try:
                job()
            except Exception:
                log.exception("a replica of %s could not be looked after", self._environment)
            finally:
                with self._lock:
                    self._jobs -= 1
                self._wake.set()

        with self._lock:
            self._jobs += 1
        self._spawn(work)

    def _notice(self, now: float) -> None:
        """Take out what has ended by itself."""
        for live in list(self._live.values()):
            if live.begun is None or live.seat.phase is Phase.STOPPING:
                continue
            code = live.begun.running.wait(0)
            if code is not None:
                self._remove(live)
                if live.seat.counts:
                    said = f"replica {live.name} ended with exit code {code}"
                    self._fail(live, now, said, live.begun.words())
                    self._wake.set()

    def _remove(self, live: _Live) -> None:
        if self._live.get(live.seat.key) is live:
            del self._live[live.seat.key]
        if live.begun is not None:
            self._logs.of(live.seat.version).end(live.identity, live.begun.running)

    def _fail(self, live: _Live, now: float, why: str, words: str = "", *, hopeless: bool = False) -> None:
        log.warning("%s", why)
        key, why = live.seat.key, f"{why}\n{words}".rstrip()
        self._troubles[key] = failed(live.seat, self._troubles.get(key), now, why, hopeless=hopeless)

    # Starting and adopting

    def _add(self, seat: Seat, name: str, begun: Begun | None) -> _Live:
        self._identities += 1
        self._logs.of(seat.version)
        live = self._live[seat.key] = _Live(seat, name, str(self._identities), begun)
        return live

    def _start_job(self, key: Key, now: float) -> Job:
        wanted = next(one for one in self._wanted if one.version == key[0])
        if key in self._troubles:
            self._restarts[key[0]] = self._restarts.get(key[0], 0) + 1
        seat = Seat(*key, self._starter.terms(wanted), Phase.STARTING, now)
        live = self._add(seat, self._starter.name(key), None)
        return lambda: self._begin(live, wanted)

    def _begin(self, live: _Live, wanted: Wanted) -> None:
        try:
            with self._lock:
                port = ports.free({one.seat.address[1] for one in self._live.values()})
                live.seat = replace(live.seat, address=(live.seat.address[0], port))
            started = self._starter.start(live.seat.key, wanted, port)
        except Exception as error:  # noqa: BLE001 (whatever it was, the replica does not run)
            said = error if isinstance(error, SerinusError | OSError) else repr(error)
            with self._lock:
                self._remove(live)
                self._fail(live, self._clock(), f"replica {live.name} was not started: {said}")
            return
        with self._lock:
            live.begun = started
            if live.seat.phase is Phase.STARTING:
                live.seat = moved(live.seat, Phase.STARTING, self._clock())

    def _adopt(self, survivors: Sequence[Survivor], known: Collection[str]) -> None:
        """Take in what runs and was not known, and have cleared away what has ended."""
        with self._lock:
            now = self._clock()
            names = {*known, *(live.name for live in self._live.values())}
            strangers = [one for one in survivors if one.name not in names]
            for one in strangers:
                address = ("127.0.0.1", one.port)
                seat = Seat(version_of(one), one.number, terms_of(one), Phase.STARTING, now, address)
                if one.alive and seat.key not in self._live:
                    self._add(seat, one.name, begun(one))
        for one in strangers:
            if not one.alive:
                self._beside(lambda one=one: one.running.stop(0.0))  # type: ignore[misc]

    def _reconcile(self) -> None:
        """See whether the runtime has what nobody here knows: what a killed process had begun to start."""
        with self._lock:
            known = {live.name for live in self._live.values()}
        try:
            survivors = self._runtime.list(self._environment)
        except SerinusError as error:
            log.warning("%s", error)
            return
        self._adopt(survivors, known)

    # Asking

    @staticmethod
    def _is_due(live: _Live, now: float) -> bool:
        return (
            live.seat.phase is Phase.STARTING and bool(live.begun) and not live.asking and now >= live.ask_at
        )

    def _ask_job(self, live: _Live) -> Job:
        live.asking = True
        return lambda: self._ask(live)

    def _ask(self, live: _Live) -> None:
        if live.begun is None:
            return
        status, said = live.begun.ask(live.seat.address, self._fetch)
        waited = self._clock() - live.seat.since
        over = status == UNFIT or (status != 200 and waited >= self._patience)
        words = live.begun.words() if over else ""
        with self._lock:
            live.asking = False
            now = self._clock()
            if live.seat.phase is not Phase.STARTING or self._live.get(live.seat.key) is not live:
                return
            if status == 200:
                live.seat = moved(live.seat, Phase.READY, now)
            if not over:
                live.ask_at, live.pause = now + live.pause, min(live.pause * 1.5, _LONGEST)
                return
            late = f"replica {live.name} was not ready after {waited:.0f} s: {said}"
            why = f"replica {live.name} is {said}" if status == UNFIT else late
            self._fail(live, now, why, words, hopeless=status == UNFIT)
            job = self._stop_job(live, now)
        self._beside(job)

    # Stopping

    def _stop_job(self, live: _Live, now: float) -> Job:
        live.seat = moved(live.seat, Phase.STOPPING, now)
        return lambda: self._stop(live)

    def _stop(self, live: _Live) -> None:
        if live.begun is None:
            return
        try:
            live.begun.running.stop(self._grace)
        except SerinusError as error:
            log.warning("%s", error)
            with self._lock:
                live.seat = moved(live.seat, Phase.LEAVING, self._clock())
            return
        with self._lock:
            self._remove(live)


def _sizes(seats: Sequence[Seat]) -> dict[str, int]:
    """How many replicas of each version there are."""
    versions = dict.fromkeys(seat.version for seat in seats)
    return {version: sum(seat.version == version for seat in seats) for version in versions}
