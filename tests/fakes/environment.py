"""An environment in this process: a real controller, journal and control API over a world that is none."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rollout.rollout_fakes import NEW, NEWER, OLD, World, version
from serinus.environment.api import token as tokens
from serinus.environment.api.server import Server
from serinus.environment.control import Control, Facts, everyone
from serinus.environment.place import FOLDER, announce, token_file, withdraw
from serinus.errors import CheckError, NotFound, SerinusError
from serinus.rollout import Arm
from serinus.rollout.command import Deploy
from serinus.rollout.journal import Journal, Recorded
from serinus.rollout.policy import Policy, Strategy
from serinus.rollout.run import Controller
from serinus.rollout.state import Version

POLICY = Policy(steps=(0.1, 0.5, 1.0), minimum=1.0, bake=2.0, margin=0.05, alpha=0.05)
"""A rollout takes about a second of this world's quick time."""
URL = "http://127.0.0.1:5000"


class Images:
    """Admission to images that are known by name."""

    def __init__(self) -> None:
        self.known: dict[str, Version | SerinusError] = {
            "mood:a": version(OLD),
            "mood:b": version(NEW),
            "mood:c": version(NEWER),
            "mood:unchecked": CheckError("the report does not show what is required", "Run `serinus check`."),
        }
        self.pinned: set[str] = set()

    def __call__(self, image: str) -> Version:
        found = self.known.get(image, NotFound(f"there is no image {image!r}", "Build it first."))
        if isinstance(found, SerinusError):
            raise found
        return found

    def pin(self, digest: str) -> None:
        self.pinned.add(digest)

    def keep(self, digests: Iterable[str]) -> None:
        self.pinned = set(digests)


class WatchedControl(Control):
    """Counts the looks of those who watch."""

    watched = 0

    def events(self, after: int, wait: float) -> Any:
        self.watched += 1
        return super().events(after, wait)


class FakeEnvironment:
    """Goes on by itself, ten times as fast as the clock on the wall.

    Args:
        project: folder; what clients look for goes below it.
        policy: of every rollout.
        every: real seconds of a look, of which each is a tenth of a second in here.
    """

    def __init__(self, project: Path, policy: Policy = POLICY, every: float = 0.01) -> None:
        self.folder = project / FOLDER
        self.folder.mkdir(parents=True)
        self.world, self.images, self.policy = World(), Images(), policy
        self.requests, self.bad, self.every = 40, 0.0, every
        self.wrote: dict[str, bytes] = {}
        self.recorded: list[Recorded] = []
        self.journal = Journal(self.folder / "journal.db", clock=lambda: self.world.now)
        self.controller = Controller(
            self.journal,
            self.world,
            self.world,
            idle=policy,
            told=everyone(self.recorded.append, lambda one: self.control.told(one)),  # noqa: PLW0108
            clock=lambda: self.world.now,
            monotonic=lambda: self.world.now,
        )
        self.control = WatchedControl(
            Facts("mood", URL),
            self.controller,
            self.journal,
            self.images,
            policy=lambda strategy: replace(policy, strategy=Strategy(strategy or policy.strategy)),
            logs=lambda digest, since: self.wrote.get(digest, b"")[since:],
            clock=lambda: self.world.now,
            patience=10.0,
        )
        self.token = tokens.ensure(token_file(self.folder))
        self.server = Server(self.control, tokens.Watched(token_file(self.folder)), port=0)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def url(self) -> str:
        return self.server.url

    def start(self) -> None:
        announce(self.folder, self.url)
        self.server.start()
        self._thread.start()
        self.controller.submit(Deploy(version(OLD), self.policy)).result(10)
        self.until(lambda: self.controller.view.state.stable == OLD)
        self.until(lambda: self.controller.view.traffic.figures(Arm.STABLE)["rate"] > 10)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.server.close()
        self.journal.close()
        withdraw(self.folder)

    def _run(self) -> None:
        while not self._stop.is_set():
            self.world.now += 0.1
            self.world.serve(self.requests, bad=self.bad)
            self.controller.tick()
            self._stop.wait(self.every)

    def until(self, holds: Callable[[], Any], most: float = 20.0) -> None:
        end = time.monotonic() + most
        while not holds():
            assert time.monotonic() < end, f"it has not come: {self.controller.view}"
            time.sleep(0.005)

    def once_watched(self, then: Callable[[], Any], looks: int = 2) -> threading.Thread:
        """Do something, beside, when somebody watches and waits for what comes."""

        def work() -> None:
            self.until(lambda: self.control.watched >= looks)
            time.sleep(0.3)
            then()

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return thread

    def kinds(self) -> list[str]:
        return [one.entry.kind for one in self.recorded]


@contextmanager
def running(project: Path, **about: Any) -> Iterator[FakeEnvironment]:
    """An environment with ``mood:a`` in charge."""
    made = FakeEnvironment(project, **about)
    made.start()
    try:
        yield made
    finally:
        made.close()
