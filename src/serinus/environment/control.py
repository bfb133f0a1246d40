"""Control: what an environment answers to those who ask something of it.

Commands go to the controller, which carries them out one after the other; everything else is read from its
latest look and from its journal. Nothing here knows HTTP.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Protocol

from serinus.environment.overview import event, overview
from serinus.environment.status import Event, Named, Status
from serinus.errors import ControlError, NotFound, RolloutError, SerinusError
from serinus.rollout.command import Abort, Command, Deploy, Pause, Promote, Resume, Undo
from serinus.rollout.journal import Recorded
from serinus.rollout.policy import Policy
from serinus.rollout.run import Told, View
from serinus.rollout.state import State, Version

log = logging.getLogger("serinus.environment")

PATIENCE = 30.0
"""Seconds that the controller may take to answer a command."""
MOST = 1000
"""Entries of the history that are told at once."""


class Commanded(Protocol):
    """The controller, as far as it is asked: :class:`serinus.rollout.run.Controller`."""

    @property
    def view(self) -> View:
        """What the latest look has shown."""
        ...

    def submit(self, wanted: Command) -> Future[State]:
        """Ask for something."""
        ...


class Remembers(Protocol):
    """The journal, as far as it is read: :class:`serinus.rollout.journal.Journal`."""

    def history(self, after: int = 0, limit: int = 1000, rollout: int | None = None) -> tuple[Recorded, ...]:
        """Entries after a number, in order; with 0 the latest."""
        ...


class Admits(Protocol):
    """Makes versions of images: :class:`serinus.environment.admission.Admission`."""

    def __call__(self, image: str) -> Version:
        """The version of an image that a person named; raises where it must not start."""
        ...

    def pin(self, digest: str) -> None:
        """See that an image stays."""
        ...

    def keep(self, digests: Iterable[str]) -> None:
        """See that these images stay, and no others."""
        ...


@dataclass(frozen=True, slots=True)
class Facts:
    """What does not change while an environment runs."""

    name: str
    url: str
    """Where callers are served."""
    replicas: int = 1


@dataclass(frozen=True, slots=True)
class Deployed:
    """What came of a wish to deploy."""

    version: Named
    number: int
    """Of its rollout; 0 where it is in charge already."""
    after: int
    """Number of the entry of the history before the rollout's first."""
    new: bool
    """Whether a rollout was started."""
    message: str


class Control:
    """What an environment answers; its methods may be called from any thread.

    Args:
        facts: name, address, replicas.
        controller: carries out commands.
        journal: has the history.
        admission: makes versions of images.
        policy: of a strategy, or of the project's own where it is None.
        logs: what a version's replicas have written after so many bytes (:meth:`serinus.rollout.Fleet.logs`).
        clock: seconds since the epoch.
        patience: see :data:`PATIENCE`.
    """

    def __init__(
        self,
        facts: Facts,
        controller: Commanded,
        journal: Remembers,
        admission: Admits,
        *,
        policy: Callable[[str | None], Policy],
        logs: Callable[[str, int], bytes],
        clock: Callable[[], float] = time.time,
        patience: float = PATIENCE,
    ) -> None:
        self._facts = facts
        self._controller = controller
        self._journal = journal
        self._admission = admission
        self._policy = policy
        self._logs = logs
        self._clock = clock
        self._patience = patience
        self._deploying = threading.Lock()
        self._changed = threading.Condition()
        self._closed = False
        self._names: dict[str, str] = {}
        self._last = max((one.number for one in journal.history(0, 1)), default=0)

    # Told by the controller

    def told(self, recorded: Recorded) -> None:
        """Take in that an entry was recorded: those who wait for events go on."""
        with self._changed:
            self._last = max(self._last, recorded.number)
            self._changed.notify_all()

    def name_of(self, digest: str) -> str:
        """What a person called an image; empty where that is not known any more."""
        known = self._controller.view.state.versions.get(digest)
        return known.name if known else self._names.get(digest, "")

    def close(self) -> None:
        """Let those who wait for events go on at once, now and from now on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    # Read

    def status(self) -> Status:
        """The environment as it stands."""
        return self._status(self._controller.view)

    def history(self, after: int = 0, limit: int = 100, rollout: int | None = None) -> tuple[Event, ...]:
        """Entries after a number, in order; with 0 the latest; of one rollout alone if it is named."""
        found = self._journal.history(after, min(limit, MOST), rollout)
        return tuple(event(one, self.name_of(one.entry.version)) for one in found)

    def events(self, after: int, wait: float) -> tuple[tuple[Event, ...], Status]:
        """Entries after a number, and the status; while there are none, the answer waits.

        Args:
            after: number of the last entry that is known.
            wait: seconds that it waits at most.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._last > after or self._closed, wait)
        found = self.history(after, MOST) if self._last > after else ()
        return found, self.status()

    def logs(self, version: str, since: int = 0) -> tuple[Named, bytes]:
        """What a version's replicas have written after so many bytes.

        Args:
            version: digest or its beginning, name, or ``stable``, ``candidate``, ``previous``.
            since: sum of the lengths of what was had before.

        Raises:
            NotFound: there is no such version, or several.
        """
        found = self._named(version)
        return found, self._logs(found.digest, since)

    # Commands

    def deploy(self, image: str, strategy: str | None = None) -> Deployed:
        """Start the rollout of an image.

        Raises:
            RolloutError: there is no such strategy, or it makes no sense now.
            NotFound, CheckError, RegistryError: as :class:`.Admission` says; nothing was started.
            ControlError: the controller did not answer in time.
        """
        policy = self._policy(strategy)
        version = self._admission(image)
        with self._deploying:
            before = self._controller.view.state
            self._admission.pin(version.digest)
            self._names[version.digest] = version.name
            try:
                state = self._ask(Deploy(version, policy))
            except RolloutError:
                self._keep(before)
                raise
            self._keep(state)
        return self._deployed(version, before, state)

    def promote(self, full: bool = False) -> Status:
        """Pass the step, open the gate or end the bake time; ``full`` goes to 100 %."""
        return self._after(Promote(full))

    def abort(self, why: str = "") -> Status:
        """Send the candidate back."""
        return self._after(Abort(why))

    def pause(self) -> Status:
        """Stay at this weight."""
        return self._after(Pause())

    def resume(self) -> Status:
        """Go on."""
        return self._after(Resume())

    def undo(self) -> Status:
        """Back to the version before, or send the candidate back that is under way."""
        return self._after(Undo(self._policy(None)))

    # How

    def _keep(self, state: State) -> None:
        try:
            self._admission.keep(state.versions)
        except (SerinusError, OSError) as error:
            log.warning("images that are not needed could not be let go of: %s", error)

    def _ask(self, wanted: Command) -> State:
        try:
            return self._controller.submit(wanted).result(self._patience)
        except TimeoutError:
            raise ControlError(
                f"the controller has not answered within {self._patience:g} s; it may do it yet",
                "See `serinus status`, and what the environment says.",
            ) from None

    def _after(self, wanted: Command) -> Status:
        state = self._ask(wanted)
        return self._status(replace(self._controller.view, state=state))

    def _status(self, view: View) -> Status:
        facts = self._facts
        with self._changed:
            last = self._last
        return overview(
            view,
            environment=facts.name,
            url=facts.url,
            replicas=facts.replicas,
            last=last,
            now=self._clock(),
        )

    def _deployed(self, version: Version, before: State, after: State) -> Deployed:
        named = Named(version.digest, version.name)
        rollout = after.rollout
        if rollout is None or rollout.candidate != version.digest:
            return Deployed(named, 0, self._last, False, f"{named} is in charge already")
        new = before.rollout is None or before.rollout.number != rollout.number
        own = (one.number for one in self._journal.history(0, MOST, rollout.number))
        said = "is on its way" if new else "is on its way already"
        return Deployed(named, rollout.number, min(own, default=self._last + 1) - 1, new, f"{named} {said}")

    def _named(self, text: str) -> Named:
        state = self._controller.view.state
        roles: Mapping[str, str | None] = {
            "stable": state.stable,
            "candidate": state.rollout.candidate if state.rollout else None,
            "previous": state.previous,
        }
        known = [Named(one.digest, one.name) for one in state.versions.values()]
        exact = [one for one in known if text in (one.digest, one.name)]
        found = exact or [one for one in known if one.digest == roles.get(text)]
        found = found or [one for one in known if one.short.startswith(text) or one.digest.startswith(text)]
        if len(found) == 1:
            return found[0]
        raise _unclear(text, found, known)


def _unclear(text: str, found: Sequence[Named], known: Sequence[Named]) -> NotFound:
    if found:
        return NotFound(f"{text} names {len(found)} versions: {_all(found)}", "Give the digest.")
    return NotFound(
        f"there is no version {text!r} here; there is {_all(known) or 'none'}", "Name one of these."
    )


def _all(versions: Sequence[Named]) -> str:
    return ", ".join(f"{one.name} ({one.digest})" for one in versions)


def everyone(*listeners: Told) -> Told:
    """One listener for several: each is told, and what one of them raises harms nobody."""

    def told(recorded: Recorded) -> None:
        for listener in listeners:
            try:
                listener(recorded)
            except Exception:
                log.exception("an entry of the history could not be passed on")

    return told
