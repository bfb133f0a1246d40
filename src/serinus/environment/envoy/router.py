"""Envoy as a :class:`~serinus.rollout.Router`.

A change goes from the outside in, each step waiting until Envoy says that it has it: endpoints, new clusters,
routes. What is not routed any more stays for a while: requests that were given to it are under way, and may
have to be rescued, after the route has changed. When Envoy refuses a step, what was before is put back.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import orjson

from serinus.environment.envoy import DEFAULTS, Settings
from serinus.environment.envoy import admin as statistics
from serinus.environment.envoy.admin import Admin
from serinus.environment.envoy.bootstrap import ACCESS, bootstrap
from serinus.environment.envoy.config import Configuration, configuration, discovery
from serinus.environment.envoy.files import CLUSTERS, ENDPOINTS, ROUTES, Documents, Log
from serinus.environment.envoy.names import Document
from serinus.environment.envoy.process import BOOTSTRAP, Process
from serinus.environment.envoy.record import Record
from serinus.errors import RouterError
from serinus.files import write_atomically
from serinus.rollout import Attempt, Routing

_PATIENCE = 15.0
"""Seconds within which Envoy has to acknowledge a step; it takes milliseconds."""
_UPLOAD = 60.0
"""Seconds longer than its answer may take that a request may be under way."""
_GRACE = 30.0
_WATCHING = 0.5
"""Seconds between two looks at logs and at what is to go; a dead Envoy is noticed at once."""


class Envoy:
    """One Envoy, in a folder of its own.

    Args:
        folder: keeps everything; made if it is not there.
        settings: what the environment fixes.
        record: where attempts are read from; its files are of the same folder.
        linger: seconds for which what is not routed any more is kept; default: as long as a request may take.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings = DEFAULTS,
        *,
        record: Record | None = None,
        linger: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder.absolute()
        self._settings = settings
        self._linger = linger
        self._clock = clock
        self.admin = Admin(self._folder)
        self.process = Process(self._folder, settings)
        self.record = record or Record(self._folder)
        self._logs = (self.record.log, Log(self._folder, ACCESS, 16 << 20, 1))
        self._documents = Documents(self._folder)
        self._leaving: dict[str, float] = {}
        """Clusters that are not routed any more, and when they go."""
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._watcher: threading.Thread | None = None

    # Life

    def start(self) -> None:
        """Find the Envoy that runs in the folder, or start one, with the routing that was in force last.

        One that was started with other settings is stopped first. From now on a dead one is started again.

        Raises:
            RouterError: it cannot be started; the message says why.
        """
        with self._lock:
            (self._folder / ENDPOINTS).mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder.chmod(0o700)
            self._documents.begin(configuration(Routing(0), self._settings))
            wanted = orjson.dumps(bootstrap(self._settings))
            path = self._folder / BOOTSTRAP
            if self.process.alive() and (not path.exists() or path.read_bytes() != wanted):
                self.process.stop(_GRACE)
            write_atomically(path, wanted, mode=0o600)
            self.ensure()
            self._ended.clear()
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, name="serinus-router", daemon=True)
                self._watcher.start()

    def alive(self) -> bool:
        """Whether Envoy runs."""
        return self.process.alive()

    def ensure(self) -> None:
        """Start Envoy again if it has died, with the routing in force.

        Raises:
            RouterError: it cannot be started.
        """
        with self._lock:
            if self.process.alive():
                return
            for log in self._logs:
                log.mend()
            self.process.start()

    def close(self) -> None:
        """Let go of Envoy, which goes on serving."""
        self._ended.set()
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.join()

    def stop(self, grace: float = 30.0) -> None:
        """End Envoy once the requests under way are answered.

        Args:
            grace: seconds that they may take.
        """
        self.close()
        with self._lock:
            self.process.stop(grace)

    # Router

    def apply(self, routing: Routing) -> None:
        """Put a routing in force; returns when Envoy has acknowledged it.

        Raises:
            RouterError: it was refused, or not acknowledged in time; the routing before it is in force.
        """
        self.put(configuration(routing, self._settings))

    def put(self, wanted: Configuration) -> None:
        """Put a configuration in force; as :meth:`apply`."""
        with self._lock:
            self.ensure()
            old = self._documents.clusters()
            names = [*(f"{ENDPOINTS}/{name}" for name in wanted.endpoints), CLUSTERS, ROUTES]
            before = {name: self._documents.read(name) for name in names}
            try:
                self._steps(old, wanted)
            except RouterError:
                for name in reversed(names):
                    self._documents.restore(name, before[name])
                raise
            self._leave(old, wanted)
            with suppress(RouterError):
                self._sweep()

    def generation(self) -> int | None:
        """The generation that is in force, read from Envoy; None while it does not answer."""
        return self.admin.generation()

    def attempts(self, since: str) -> tuple[tuple[Attempt, ...], str]:
        """The first attempts that ended after a place in the record, and the place behind them.

        Some ten thousand at once; more follow with the next call.
        """
        with self._lock:
            return self.record.attempts(since)

    # Steps

    def _steps(self, old: Mapping[str, Document], wanted: Configuration) -> None:
        ends = {name: discovery([document]) for name, document in wanted.endpoints.items()}
        self._give({f"{ENDPOINTS}/{name}": data for name, (data, _) in ends.items()}, _heard(old, ends))
        data, version = discovery(list((dict(old) | dict(wanted.clusters)).values()))
        self._give({CLUSTERS: data}, {statistics.CLUSTERS: version} | _heard(wanted.clusters, ends))
        data, version = discovery([wanted.routes], f"{wanted.generation}.")
        self._give({ROUTES: data}, {statistics.ROUTING: version})

    def _give(self, documents: Mapping[str, bytes], expected: Mapping[str, str]) -> None:
        """Write documents, and wait until Envoy says that it has them.

        Args:
            documents: by name.
            expected: their versions, by the statistics in which Envoy says so.
        """
        before, size = self.admin.states(), self.process.log_size()
        for name, data in documents.items():
            self._documents.write(name, data)
        end, pause = time.monotonic() + _PATIENCE, 0.001
        while not _has(states := self.admin.states(), expected):
            if _refusals(states, expected) > _refusals(before, expected):
                raise RouterError(
                    f"Envoy refused {' and '.join(documents)}: {self.process.words(size)}",
                    "The routing before it is in force.",
                )
            if time.monotonic() > end:
                raise RouterError(
                    f"Envoy has not taken {' and '.join(documents)} within {_PATIENCE:.0f} s",
                    "See envoy.log in the router's folder.",
                )
            time.sleep(pause)
            pause = min(0.02, pause * 1.5)

    # What is over

    def _leave(self, old: Mapping[str, Document], wanted: Configuration) -> None:
        end = self._clock() + (wanted.longest + _UPLOAD if self._linger is None else self._linger)
        for name in old.keys() - wanted.clusters.keys():
            self._leaving.setdefault(name, end)
        for name in wanted.clusters:
            self._leaving.pop(name, None)

    def _sweep(self) -> None:
        """Take the clusters away whose time is over; their connections are closed as they become idle."""
        now = self._clock()
        due = {name for name, end in self._leaving.items() if end <= now}
        if not due:
            return
        left = {name: c for name, c in self._documents.clusters().items() if name not in due}
        data, version = discovery(list(left.values()))
        self._give({CLUSTERS: data}, {statistics.CLUSTERS: version})
        self._documents.forget({version_of(cluster) for cluster in left.values()})
        for name in due:
            del self._leaving[name]

    def _tidy(self) -> None:
        """Keep the logs short, and take away what is over."""
        with self._lock:
            self.process.shorten()
            full = [log for log in self._logs if log.full()]
            for log in full:
                log.turn()
            if full:
                self.admin.ask("/reopen_logs", "POST")
            self._sweep()

    def _watch(self) -> None:
        """Start a dead Envoy again, at once; look after its folder now and then."""
        while not self._ended.is_set():
            ended = self.process.ends(_WATCHING)
            if self._ended.is_set():
                return
            try:
                if ended:
                    self.ensure()
                self._tidy()
            except (RouterError, OSError):
                self._ended.wait(_WATCHING)


def version_of(cluster: Document) -> str:
    """The version whose replicas a cluster has; empty where it has none itself."""
    return str(cluster.get("eds_cluster_config", {}).get("service_name", ""))


def _heard(clusters: Mapping[str, Document], ends: Mapping[str, tuple[bytes, str]]) -> dict[str, str]:
    """Where those clusters say which version of their endpoints they have, and which they are to have."""
    versions = ((name, version_of(cluster)) for name, cluster in clusters.items())
    return {f"cluster.{name}": ends[version][1] for name, version in versions if version in ends}


def _has(states: Mapping[str, str], expected: Mapping[str, str]) -> bool:
    warm = states.get("cluster_manager.warming_clusters") == "0"
    return warm and all(states.get(f"{name}.version_text") == version for name, version in expected.items())


def _refusals(states: Mapping[str, str], names: Iterable[str]) -> int:
    kinds = ("update_rejected", "update_failure")
    return sum(int(states.get(f"{name}.{kind}", 0)) for name in names for kind in kinds)
