"""A router and a fleet that obey their protocols, in memory: the world outside of the controller."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from serinus.errors import RouterError
from serinus.rollout import Arm, Attempt, Backend, Found, Health, Routing, Wanted
from serinus.rollout.policy import Policy
from serinus.rollout.state import Version

OLD, NEW, NEWER = ("sha256:" + letter * 64 for letter in "abc")


def version(digest: str) -> Version:
    """A version that is named after the letter of its digest."""
    return Version(digest, f"mood:{digest[7]}", "/nowhere")


QUICK = Policy(steps=(0.1, 0.5, 1.0), minimum=1.0, bake=3.0)
"""A policy under which a rollout takes some tens of looks."""


class World:
    """What goes on while nobody controls it: routing and replicas stay as they are."""

    def __init__(self) -> None:
        self.routing: Routing | None = None
        self.record: list[Attempt] = []
        self.running: dict[str, Wanted] = {}
        self.broken: set[str] = set()
        """Versions whose replicas do not become ready."""
        self.crashes: dict[str, int] = {}
        self.deaf = False
        """Whether the router takes no routing and answers nothing."""
        self.applied: list[Routing] = []
        self.now = 1_000_000.0
        self.before_apply: Callable[[Routing], None] = lambda routing: None

    # The router

    def apply(self, routing: Routing) -> None:
        """Take a routing, if every version in it is ready."""
        if self.deaf:
            raise RouterError("the router does not answer", "Start it.")
        for backend in (routing.stable, routing.candidate):
            if backend is not None and backend.addresses:
                assert self.look()[backend.version].addresses == backend.addresses, "routed and not ready"
        self.before_apply(routing)
        self.routing = routing
        self.applied.append(routing)

    def generation(self) -> int | None:
        """Of the routing in force."""
        if self.deaf:
            return None
        return self.routing.generation if self.routing else None

    def attempts(self, since: str) -> tuple[tuple[Attempt, ...], str]:
        """What was recorded since."""
        if self.deaf:
            raise RouterError("the router does not answer", "Start it.")
        return tuple(self.record[int(since or 0) :]), str(len(self.record))

    # The fleet

    def keep(self, wanted: Sequence[Wanted]) -> None:
        """Run these; none that is routed may end."""
        names = {one.version for one in wanted}
        for backend in (self.routing.stable, self.routing.candidate) if self.routing else ():
            if backend is not None and backend.addresses and backend.version in self.running:
                assert backend.version in names, "retired while it is routed"
        self.running = {one.version: one for one in wanted}

    def look(self) -> Mapping[str, Found]:
        """All that run are ready, unless they are broken."""
        return {name: self._found(name, one.replicas) for name, one in self.running.items()}

    def _found(self, name: str, replicas: int) -> Found:
        crashes = self.crashes.get(name, 0)
        if name in self.broken:
            return Found(name, Health.STARTING, restarts=crashes)
        port = 10_000 + "abc".index(name[7]) * 100
        addresses = tuple(("127.0.0.1", port + number) for number in range(replicas))
        return Found(name, Health.READY, addresses, crashes)

    def logs(self, version: str, since: int = 0) -> bytes:
        """Nothing."""
        return b""

    # Traffic

    def serve(self, requests: int, *, bad: float = 0.0, seconds: float = 0.01) -> None:
        """Let callers ask: the candidate gets its share exactly, and fails a share of that."""
        routing = self.routing
        if routing is None or routing.stable is None:
            return
        mine = round(requests * routing.weight)
        failing = round(mine * bad)
        one = Attempt(Arm.STABLE, routing.weight, 200, seconds, at=self.now)
        self.record += [one] * (requests - mine)
        self.record += [replace(one, arm=Arm.CANDIDATE, status=500)] * failing
        self.record += [replace(one, arm=Arm.CANDIDATE)] * (mine - failing)


def in_charge(world: World) -> Backend | None:
    """The version that answers without a candidate."""
    return world.routing.stable if world.routing else None
