"""An environment as a whole: what ``serinus up`` runs, put together of its parts.

Its folder holds the journal, the token, the router's and the replicas' state. Router and replicas are
processes of their own, which go on when this one is killed; the next one adopts them, and goes on from the
journal.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from serinus.environment import place
from serinus.environment.admission import Admission
from serinus.environment.api import token as tokens
from serinus.environment.api.routes import Route
from serinus.environment.api.server import Server
from serinus.environment.control import Control, Facts, everyone
from serinus.environment.envoy import Settings
from serinus.environment.envoy.router import Envoy
from serinus.environment.fleet.keep import RuntimeFleet
from serinus.environment.fleet.replicas import Limits
from serinus.environment.probe import asker
from serinus.environment.senses import Environs
from serinus.environment.webhooks import Webhooks
from serinus.errors import NotFound
from serinus.events import Noted, Observer, ignore
from serinus.image.build import layout_of
from serinus.project import Project
from serinus.registry.layout import Layout
from serinus.rollout.command import Deploy
from serinus.rollout.journal import Journal, Point, Recorded, nowhere
from serinus.rollout.policy import policy
from serinus.rollout.run import Controller
from serinus.runtimes import Runtime
from serinus.runtimes.named import runtime as named

JOURNAL = "journal.db"
SANDBOXES = "sandboxes"
"""The environment's own: another project may have a service of the same name."""
_GRACE = 5.0
"""Seconds beyond ``service.grace`` that a replica may take to stop."""


@dataclass(frozen=True, slots=True)
class Started:
    """An environment that serves."""

    environment: str
    url: str
    """Where callers are served."""
    control: str
    """URL of the control API."""
    folder: str
    """Where it keeps its state."""


def run(
    project: Project,
    *,
    image: str | None = None,
    keep: bool = False,
    observer: Observer = ignore,
    ready: Callable[[Started], None] = lambda started: None,
    stop: threading.Event,
    runtime: Runtime | None = None,
    routes: Sequence[Route] = (),
    point: Point = nowhere,
) -> int:
    """Run an environment until it is told to stop.

    Args:
        project: says all about it: the tables ``environment``, ``rollout``, ``deploy``.
        image: deployed first where nothing is in charge; default the project's ``NAME:latest``, if it is
            there.
        keep: leave router and replicas running at the end.
        observer: told each entry of the history.
        ready: told when it can be asked.
        stop: ends it.
        runtime: runs the replicas; default ``environment.runtime``.
        routes: of the control API, beside an environment's own.
        point: see :data:`serinus.rollout.journal.Point`.

    Returns:
        The exit code: 0.

    Raises:
        JournalError: another controller runs it, or the journal cannot be read.
        ControlError, RouterError: a port is taken, or a part is not installed.
        RuntimeUnavailable: the runtime is not there, or would not hold the limits.
        RolloutError: the policy does not fit.
        NotFound: there is no such image.
    """
    with ExitStack() as stack:
        engine = stack.enter_context(_engine(project, runtime, point))
        parts = stack.enter_context(_parts(project, engine, observer, routes))
        first = _first(project, parts, image, observer)
        engine.start()
        if first is not None:
            parts.controller.submit(first)
        ended = threading.Event()
        thread = threading.Thread(target=parts.controller.run, args=(ended,), name="controller", daemon=True)
        thread.start()
        stack.callback(thread.join)
        stack.callback(ended.set)
        parts.server.start()
        place.announce(engine.folder, parts.server.url)
        stack.callback(place.withdraw, engine.folder)
        ready(Started(parts.facts.name, parts.facts.url, parts.server.url, str(engine.folder)))
        stop.wait()
        parts.control.close()
        parts.server.close()
        ended.set()
        thread.join()
        engine.close(stop=not keep)
        parts.hooks.close()
    return 0


def down(project: Project, *, runtime: Runtime | None = None) -> None:
    """Stop router and replicas that an environment has left behind.

    Raises:
        JournalError: its controller runs: stop that.
    """
    with _engine(project, runtime, nowhere) as engine:
        engine.start()
        engine.close(stop=True)


@dataclass(frozen=True)
class _Engine:
    """What serves callers, and goes on when the rest is gone; and what is known of it."""

    folder: Path
    name: str
    """Of the environment."""
    journal: Journal
    layout: Layout
    """Holds the image of every version."""
    router: Envoy
    fleet: RuntimeFleet

    def start(self) -> None:
        """Start router and fleet, or adopt what runs of them."""
        self.fleet.start()
        self.router.start()

    def close(self, *, stop: bool) -> None:
        """Let go of router and replicas: callers first, then those who answer them."""
        if stop:
            self.router.stop()
        else:
            self.router.close()
        self.fleet.close(stop=stop)


@contextmanager
def _engine(project: Project, runtime: Runtime | None, point: Point) -> Iterator[_Engine]:
    """Take hold of an environment's folder; nothing is started yet."""
    table, folder, layout = project.environment, place.folder_of(project.root), layout_of(project)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    name = table.name or project.service.name
    journal = Journal(folder / JOURNAL, point=point)
    try:
        settings = Settings(host=table.host, port=_port(project), max_body=project.service.max_body)
        fleet = RuntimeFleet(
            place.known_as(name, folder),
            runtime or named(table.runtime, state=folder / SANDBOXES),
            lambda digest: (layout, layout.resolve(digest)),
            folder / "replicas",
            limits=Limits(table.memory, table.cpus),
            grace=project.service.grace + _GRACE,
        )
        yield _Engine(folder, name, journal, layout, Envoy(folder / "router", settings), fleet)
    finally:
        journal.close()


@dataclass(frozen=True)
class _Parts:
    """What commands an engine, and answers those who ask for it."""

    facts: Facts
    controller: Controller
    admission: Admission
    control: Control
    server: Server
    hooks: Webhooks


@contextmanager
def _parts(
    project: Project, engine: _Engine, observer: Observer, routes: Sequence[Route]
) -> Iterator[_Parts]:
    """Put the parts together; what can be refused is refused before anything is started."""
    table, idle = project.environment, policy(project)
    host, port = _local(table.host), _port(project)
    admission = Admission(project, engine.layout, observer=observer)
    listeners: list[Callable[[Recorded], None]] = []

    def told(one: Recorded) -> None:  # to be told are parts that need the controller themselves
        everyone(*listeners)(one)

    controller = Controller(
        engine.journal,
        engine.router,
        engine.fleet,
        idle=idle,
        replicas=table.replicas,
        senses=Environs(engine.fleet, asker(host, port, idle.route, 2 * idle.deadline + 5)).look,
        told=told,
    )
    facts = Facts(engine.name, f"http://{host}:{port}", table.replicas)
    control = Control(
        facts,
        controller,
        engine.journal,
        admission,
        policy=lambda strategy: policy(project, strategy),
        logs=engine.fleet.logs,
    )
    hooks = Webhooks(project.rollout.webhooks, engine.name, name_of=control.name_of)
    listeners += [control.told, hooks, lambda one: observer(Noted(_line(one, control)))]
    file = place.token_file(engine.folder)
    tokens.ensure(file)
    server = Server(control, tokens.Watched(file), port=table.control, more=routes)
    try:
        yield _Parts(facts, controller, admission, control, server, hooks)
    finally:
        server.close()


def _port(project: Project) -> int:
    return project.environment.port or project.service.port


def _local(host: str) -> str:
    return "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104


def _line(recorded: Recorded, control: Control) -> str:
    at = time.strftime("%H:%M:%S", time.localtime(recorded.at))
    one = recorded.entry
    return f"{at} {control.name_of(one.version) or one.version[:19]} {one.kind}: {one.message}"


def _first(project: Project, parts: _Parts, image: str | None, observer: Observer) -> Deploy | None:
    """What puts a first version in charge, if there is none and one is named or built."""
    state = parts.controller.view.state
    if state.stable is not None or state.rollout is not None:
        if image is not None:
            charge = state.versions[state.stable].name if state.stable else "a first version"
            observer(Noted(f"{charge} is in charge; {image} is not started: `serinus deploy {image}`"))
        return None
    try:
        version = parts.admission(image or f"{project.service.name}:latest")
    except NotFound:
        if image is not None:
            raise
        observer(Noted("nothing is in charge yet; start with `serinus build` and `serinus deploy`"))
        return None
    parts.admission.pin(version.digest)
    return Deploy(version, policy(project, "canary"))
