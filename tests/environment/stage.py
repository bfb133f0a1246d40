"""A real Envoy in front of fake replicas, for tests that read as sentences."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backends import Backend, Behaviour, Caller, Loop, good

from parts import free_port
from serinus.environment.envoy import Settings
from serinus.environment.envoy.router import Envoy
from serinus.rollout import Attempt, Routing
from serinus.rollout import Backend as Version


def until(true: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    """Wait for something."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.01)


class Stage:
    """A router, the replicas behind it, and a caller."""

    def __init__(
        self, folder: Path, *, start: bool = True, linger: float | None = None, **settings: Any
    ) -> None:
        self.loop = Loop()
        self.folder = folder
        self.settings = Settings(**({"port": free_port()} | settings))
        self.linger = linger
        self.router = self.envoy()
        self.caller = Caller(self.loop, self.settings.port)
        self.backends: list[Backend] = []
        self.routing = Routing(0)
        self.place = ""
        if start:
            self.router.start()

    def envoy(self, **more: Any) -> Envoy:
        """One more controller of the same folder."""
        return Envoy(self.folder, self.settings, linger=self.linger, **more)

    def backend(self, name: str, behave: Behaviour = good) -> Backend:
        """A replica that answers."""
        made = Backend(self.loop, name, behave).start()
        self.backends.append(made)
        return made

    def route(
        self,
        stable: list[Backend] | None,
        candidate: list[Backend] | None = None,
        weight: float = 0.0,
        **more: Any,
    ) -> Routing:
        """Put a routing in force; versions are called as their first replica is."""
        self.routing = Routing(
            self.routing.generation + 1,
            _version(stable),
            _version(candidate),
            weight,
            **({"try_timeout": 10.0, "timeout": 20.0} | more),
        )
        self.router.apply(self.routing)
        return self.routing

    def attempts(self, count: int) -> list[Attempt]:
        """The next attempts under the routing in force, as many as that."""
        found: list[Attempt] = []

        def came() -> bool:
            more, self.place = self.router.attempts(self.place)
            found.extend(a for a in more if a.generation == self.routing.generation)
            return len(found) >= count

        until(came, f"{count} attempts in the record")
        return found

    def close(self) -> None:
        """End everything."""
        self.router.close()
        self.router.process.kill()
        for backend in self.backends:
            backend.kill()
        self.loop.close()


def _version(replicas: list[Backend] | None) -> Version | None:
    if replicas is None:
        return None
    return Version(replicas[0].name if replicas else "none", tuple(r.address for r in replicas))
