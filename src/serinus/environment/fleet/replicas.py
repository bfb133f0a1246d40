"""How a wanted version becomes a replica, and how one that is found is known again."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from serinus.environment.fleet.supervise import Key, Terms
from serinus.files import write_atomically
from serinus.registry import Descriptor
from serinus.registry.layout import Layout
from serinus.rollout import Wanted
from serinus.runtimes import Bind, Replica, Running, Runtime, Survivor
from serinus.runtimes.launch import read
from serinus.runtimes.wait import Fetch, ask, ask_stranger, tail

Images = Callable[[str], tuple[Layout, Descriptor]]
"""Digest of a version -> where its image is, and what it is; may take its time, and raise SerinusErrors."""
CONTRACT = "/run/serinus/contract.json"
"""Where a replica finds the contract that it is held to instead of its own."""
_WORDS = 2000
"""Characters of a log that a failure tells."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What each replica may take."""

    memory: int | None = None
    """Bytes."""
    cpus: float | None = None


@dataclass(frozen=True, slots=True)
class Begun:
    """A replica that was started or found."""

    running: Running
    stranger: bool
    """Whether Serinus did not build its image: it need not know ``/readyz``."""

    def ask(self, address: tuple[str, int], fetch: Fetch) -> tuple[int, str]:
        """Ask it once whether it is ready: the status, and why it is not; see :func:`wait.ask`."""
        host, port = address
        return (ask_stranger if self.stranger else ask)(f"http://{host}:{port}", fetch)

    def words(self) -> str:
        """The last words of its log."""
        return tail(self.running.logs())[-_WORDS:]


class Starter:
    """Starts replicas of an environment; safe to use from several threads.

    Args:
        environment: its name.
        runtime: runs them.
        images: finds the image of a version.
        state: folder for the contracts that replicas are handed.
        env: variables of every replica.
        limits: of every replica.
    """

    def __init__(
        self,
        environment: str,
        runtime: Runtime,
        images: Images,
        state: Path,
        *,
        env: Mapping[str, str],
        limits: Limits,
    ) -> None:
        self._environment = environment
        self._runtime = runtime
        self._images = images
        self._contracts = state / "contracts"
        self._env = dict(env)
        self._limits = limits
        self._first: dict[str, threading.Lock] = {}

    def name(self, key: Key) -> str:
        """The name of a replica."""
        version, number = key
        return f"{self._environment}-{version.rpartition(':')[2][:12]}-{number}"

    def terms(self, wanted: Wanted) -> Terms:
        """Under what a replica of a wanted version would be started."""
        base = {"env": {**self._env, **wanted.env}, "limits": asdict(self._limits)}
        contract = "" if wanted.contract is None else _digest(wanted.contract)
        return Terms(_digest(json.dumps(base, sort_keys=True)), contract, wanted.record)

    def start(self, key: Key, wanted: Wanted, port: int) -> Begun:
        """Start a replica.

        Raises:
            SerinusError: its image cannot be had, or the runtime refused.
            OSError: its contract cannot be written.
        """
        layout, image = self._images(wanted.version)
        stranger = not read(layout, image).launch.is_serinus
        terms = self.terms(wanted)
        env, binds = {**self._env, **wanted.env}, tuple[Bind, ...]()
        if wanted.record:
            env["SERINUS_ACCESS_LOG"] = "answers"
        if wanted.contract is not None:
            env["SERINUS_CONTRACT"] = CONTRACT
            binds = (Bind(self._write(terms.contract, wanted.contract), CONTRACT),)
        replica = Replica(
            self.name(key),
            layout,
            image,
            port,
            env=env,
            binds=binds,
            memory=self._limits.memory,
            cpus=self._limits.cpus,
            lasting=True,
            environment=self._environment,
            number=key[1],
            labels=_labels(terms, wanted.version, stranger),
        )
        # The first one of a version unpacks or loads its image, and the others wait for that.
        with self._first.setdefault(wanted.version, threading.Lock()):
            return Begun(self._runtime.start(replica), stranger)

    def _write(self, digest: str, contract: str) -> Path:
        file = self._contracts / f"{digest}.json"
        if not file.exists():
            # Readable by whatever user the image runs as.
            write_atomically(file, contract.encode(), mode=0o644)
        return file


def version_of(survivor: Survivor) -> str:
    """The version whose replica was found."""
    return survivor.labels.get("version", survivor.version)


def terms_of(survivor: Survivor) -> Terms:
    """Under what a replica that was found had been started; under none that are known meets no terms."""
    labels = survivor.labels
    return Terms(labels.get("base", ""), labels.get("contract", ""), labels.get("record") == "yes")


def begun(survivor: Survivor) -> Begun:
    """A replica that was found."""
    return Begun(survivor.running, survivor.labels.get("stranger") == "yes")


def _labels(terms: Terms, version: str, stranger: bool) -> dict[str, str]:
    return {
        "version": version,
        "base": terms.base,
        "contract": terms.contract,
        "record": "yes" if terms.record else "no",
        "stranger": "yes" if stranger else "no",
    }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
