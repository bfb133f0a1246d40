"""An environment and its rollouts, from a program or a notebook: the other side of the control API.

::

    environment = serinus.Environment()
    rollout = environment.deploy("sentiment:latest")
    kinds = [event.kind for event in rollout]  # as they happen
    assert rollout.wait() == "promoted"
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from serinus.environment.api.documents import read
from serinus.environment.place import absolute
from serinus.environment.status import Event, Named, Status
from serinus.environment.wire import Wire, located
from serinus.errors import ControlError
from serinus.rollout.policy import per_cent
from serinus.rollout.state import End

_ENDS = {"promote": End.PROMOTED, "abort": End.ABORTED, "supersede": End.SUPERSEDED}
_WAIT = 20.0
_PULL = 3600.0
"""Seconds that an image may take to come from a registry."""
_PAUSE = 0.3
"""Least seconds between two looks: an environment that many watch answers at once."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at an environment has shown."""

    events: tuple[Event, ...]
    """New entries of the history."""
    status: Status


class Environment:
    """An environment that runs.

    Args:
        where: URL of its control API, or its project (the folder, or its file). Default:
            ``SERINUS_CONTROL_URL``, or the project of the current folder.
        token: default ``SERINUS_CONTROL_TOKEN``, or the one in the project's folder.
        project: the project that is meant where none is named.
        transport: how requests travel.

    Raises:
        ControlError: no environment runs there, or there is no token for it.
    """

    def __init__(
        self,
        where: str | Path | None = None,
        token: str | None = None,
        *,
        project: str | Path = ".",
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._wire = Wire(*located(where, token, project), transport=transport)

    @property
    def url(self) -> str:
        """Of its control API."""
        return self._wire.url

    def __repr__(self) -> str:
        return f"<serinus.Environment at {self.url}>"

    def _repr_html_(self) -> str:
        from serinus.environment.display import html

        try:
            return html(self.status())
        except ControlError as error:
            return html(None, f"Environment at {self.url}", error.message)

    # Ask

    def status(self) -> Status:
        """How it stands.

        Raises:
            ControlError: it cannot be reached.
        """
        return read(Status, self._wire.get("/v1/status"))

    def history(self, after: int = 0, limit: int = 100, rollout: int = 0) -> tuple[Event, ...]:
        """Entries of the history after a number, in order; with 0 the latest; of one rollout if named."""
        found = self._wire.get("/v1/history", after=after, limit=limit, rollout=rollout)
        return read(_Entries, found).entries

    def logs(self, version: str, since: int = 0) -> tuple[str, int]:
        """What a version's replicas have written, and the ``since`` with which to ask for what follows.

        Args:
            version: digest or its beginning, name, or ``stable``, ``candidate``, ``previous``.
            since: 0, or what an earlier call gave.
        """
        found = read(_Log, self._wire.get(f"/v1/versions/{quote(version, safe='')}/logs", since=since))
        return found.text, found.next

    def look(self, after: int, wait: float = _WAIT) -> Look:
        """The entries after a number, and the status; waits so many seconds while there are no entries."""
        found = self._wire.get("/v1/events", after=after, wait=round(wait, 3), within=wait + 20.0)
        made = read(_Events, found)
        return Look(made.entries, made.status)

    def looks(
        self, after: int, every: float = _WAIT, *, sleep: Callable[[float], None] = time.sleep
    ) -> Iterator[Look]:
        """Look again and again, without end.

        Args:
            after: number of the last entry that is known.
            every: a look is given after so many seconds even if nothing has happened.
            sleep: waits.
        """
        while True:
            begin = time.monotonic()
            look = self.look(after, every)
            yield look
            after = max((event.number for event in look.events), default=after)
            if not look.events:
                sleep(max(0.0, min(every, _PAUSE) - (time.monotonic() - begin)))

    @property
    def rollout(self) -> Rollout | None:
        """The rollout under way."""
        found = self.status().rollout
        if found is None:
            return None
        own = [event.number for event in self.history(limit=1000, rollout=found.number)]
        return Rollout(self, found.candidate, found.number, min(own, default=1) - 1)

    # Command

    def deploy(self, image: str, strategy: str | None = None) -> Rollout:
        """Start the rollout of an image.

        Args:
            image: a tag or digest of the environment's layout, ``oci:PATH[:TAG]``, or a reference in a
                registry.
            strategy: ``canary``, ``blue-green`` or ``shadow``; default that of the project.

        Returns:
            The rollout; one that is over already where the image is in charge.

        Raises:
            NotFound: there is no such image, or none for this platform.
            CheckError: its report does not show what is required.
            RolloutError: it makes no sense now.
        """
        members: dict[str, Any] = {"image": absolute(image, Path.cwd())}
        if strategy is not None:
            members["strategy"] = strategy
        done = read(_Deployed, self._wire.post("/v1/rollouts", within=_PULL, **members))
        return Rollout(self, done.version, done.number, done.after, new=done.new, message=done.message)

    def promote(self, *, full: bool = False) -> Status:
        """Pass the step, open the gate or end the bake time; ``full`` goes to 100 %.

        Raises:
            RolloutError: nothing is to be promoted now.
        """
        return self._command("promote", full=full)

    def abort(self, why: str = "") -> Status:
        """Send the candidate back."""
        return self._command("abort", **({"why": why} if why else {}))

    def pause(self) -> Status:
        """Stay at this weight; what is seen goes on being judged."""
        return self._command("pause")

    def resume(self) -> Status:
        """Go on."""
        return self._command("resume")

    def undo(self) -> Status:
        """Back to the version before, or send the candidate back that is under way."""
        return read(Status, self._wire.post("/v1/undo"))

    def _command(self, name: str, **members: Any) -> Status:
        return read(Status, self._wire.post(f"/v1/rollout/{name}", **members))


@dataclass(frozen=True, slots=True)
class _Entries:
    entries: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class _Events:
    entries: tuple[Event, ...]
    status: Status


@dataclass(frozen=True, slots=True)
class _Log:
    text: str
    next: int


@dataclass(frozen=True, slots=True)
class _Deployed:
    version: Named
    number: int
    after: int
    new: bool
    message: str


class Rollout:
    """The way of one version in an environment. Iterating gives its events, and ends when it is over.

    A notebook shows it as it stands.

    Args:
        environment: where it is.
        version: the candidate.
        number: of the rollout; 0 where the version was in charge already.
        after: number of the entry of the history before its first.
        new: whether it was started just now.
        message: what the environment said to it.
    """

    def __init__(
        self,
        environment: Environment,
        version: Named,
        number: int,
        after: int,
        *,
        new: bool = False,
        message: str = "",
    ) -> None:
        self.environment = environment
        self.version = version
        self.number = number
        self.new = new
        self.message = message
        self._after = after
        self._seen: Status | None = None
        self._end = End.PROMOTED if number == 0 else None

    def __iter__(self) -> Iterator[Event]:
        for look in self.looks():
            yield from look.events

    def looks(self, every: float = _WAIT) -> Iterator[Look]:
        """What happens, from the rollout's beginning to its end: its own events, and the status.

        Args:
            every: a look is given after so many seconds even if nothing has happened.
        """
        if not self.number:
            return
        for look in self.environment.looks(self._after, every):
            self._seen = look.status
            own = tuple(event for event in look.events if event.rollout == self.number)
            ends = [_ENDS[event.kind] for event in own if event.kind in _ENDS]
            self._end = ends[0] if ends else self._end
            yield Look(own, look.status)
            if ends:
                return

    def wait(self, timeout: float | None = None) -> End:
        """How it ended: waits until it has.

        Args:
            timeout: seconds; None waits as long as it takes.

        Raises:
            TimeoutError: it is not over by then; it goes on.
            ControlError: the environment went away.
        """
        end = None if timeout is None else time.monotonic() + timeout
        every = _WAIT if timeout is None else min(_WAIT, max(0.1, timeout / 10))
        for look in self.looks(every):
            if self._end is None and end is not None and time.monotonic() >= end:
                raise TimeoutError(f"{self!r} is not over after {timeout:g} s: {_stands(look.status)}")
        if self._end is None:
            raise ControlError(f"the history says nothing of the end of {self!r}", "See `serinus history`.")
        return self._end

    @property
    def end(self) -> End | None:
        """How it ended; None while it is under way."""
        if self._end is None:
            for look in self.looks(0.0):
                if not look.events:
                    break
        return self._end

    @property
    def status(self) -> Status:
        """How its environment stands."""
        self._seen = self.environment.status()
        return self._seen

    def __repr__(self) -> str:
        told = f"{self._end}" if self._end else _stands(self._seen) if self._seen else "under way"
        return f"<serinus.Rollout {self.number} of {self.version}: {told}>"

    def _repr_html_(self) -> str:
        from serinus.environment.display import html

        try:
            end = self.end
            return html(self.status, self._title(end))
        except ControlError as error:
            return html(self._seen, self._title(self._end), error.message)

    def _title(self, end: End | None) -> str:
        return f"Rollout {self.number} of {self.version}: {end or 'under way'}"


def _stands(status: Status) -> str:
    rollout = status.rollout
    if rollout is None:
        return "under way"
    return f"{rollout.phase} at {per_cent(rollout.weight)}, waits for {rollout.waits or 'nothing'}"
