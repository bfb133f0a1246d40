"""What checks take by the names of their parameters, made once for all that take it.

A fixture is a function whose parameters name other fixtures, as with pytest's; one that is a generator is
finished when nobody needs it any more. The first paragraph of its documentation is what ``serinus check
--list`` says of it.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serinus.checks import Failed, Finding, NotApplicable, parameters
from serinus.checks.asked import AGAIN, ROUNDS, answered, ask
from serinus.checks.speed import fixtures as speed
from serinus.checks.starting import ADVISORY, Local, Start, free_port, starter, waited
from serinus.checks.subjects import (
    Alone,
    Answered,
    Given,
    Labelled,
    Locked,
    Served,
    Service,
    Subject,
    relative,
)
from serinus.contract import Contract, Example
from serinus.image import CONTRACT, LABEL_CONTRACT, SETTINGS
from serinus.image.sources import ModelPlace, find_model, with_model
from serinus.project import Checks, Project

if TYPE_CHECKING:
    import httpx

    from serinus.checks.image.contents import Entry
    from serinus.checks.transport.endpoint import Endpoint

TAG = "checked"
"""Tag of the image that a run of checks builds."""
LABELLED = "labelled.jsonl"
"""The labelled data of a project that names no file, if there is one."""


@dataclass(frozen=True, slots=True)
class Fixture:
    """One fixture: how it is made, and what it needs for that."""

    name: str
    make: Callable[..., Any]
    title: str
    """What is done, for people who watch: ``start the image``."""
    seconds: float = 0.1
    owner: str = ""
    """The check that fails when this cannot be made; the others that need it are blocked."""
    measuring: bool = False
    """Whether its making measures time, as with a check."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Other fixtures, by the names of its parameters."""
        return parameters(self.make)

    @property
    def about(self) -> str:
        """What it is."""
        return " ".join(inspect.cleandoc(self.make.__doc__ or "").split("\n\n")[0].split())


def project(given: Given) -> Project:
    """The project, as its file describes it."""
    if given.project is None:
        raise NotApplicable("there is no project here", "Go to the project's folder, or name it: --project.")
    return given.project


def settings(given: Given) -> Checks:
    """The table ``[checks]`` of the project file, or its defaults."""
    return given.settings


def source(given: Given, project: Project) -> Project:
    """The project whose source tree is checked: there is none where a built image alone was named."""
    if given.sourceless:
        todo = "Run `serinus check` without --image, or with --source if the image was built from it."
        raise NotApplicable("an image is checked, not a source tree", todo)
    return project


def found_lock(given: Given) -> Locked | None:
    """The lock as it was before anything was built; None where no source tree is checked."""
    from serinus.image import lock as locks

    if given.sourceless or given.project is None:
        return None
    return Locked(locks.load(given.project.root / locks.FILE), locks.inputs(given.project))


def lock(source: Project, found_lock: Locked) -> Locked:
    """The lock as it was found, and what it is to be made from."""
    return found_lock


def packages(source: Project, lock: Locked) -> Path:
    """The folder of the locked packages, installed for this machine as they are in the image."""
    from serinus.image import promises

    return promises.packages(source, locked=lock.lock is not None)


def fetched(given: Given) -> Project | None:
    """The project with its model on this machine, fetched where it comes from elsewhere; None without one."""
    return with_model(given.project, given.observer) if given.project and not given.sourceless else None


def model(source: Project, fetched: Project | None) -> ModelPlace:
    """Where the model is on this machine, and where the service finds it."""
    place = find_model(fetched or source)
    if place is None:
        raise NotApplicable("the project names no model", "Set model.path or model.source.")
    return place


def image(given: Given, found_lock: Locked | None, fetched: Project | None) -> Subject:
    """The image: the one that was named, or built from the project, which takes a lock as it is."""
    from serinus.image.build import build
    from serinus.image.publish import find

    if given.image is not None:
        layout, named = find(given.image, given.layout, observer=given.observer, connect=given.connect)
        return subject(given.image, replace(given, layout=layout), named)
    if fetched is None:
        raise NotApplicable("there is no image and no project", "Name an image: --image REF.")
    # A lock that `serinus serve` made knows no base yet: the build adds it, as it makes a missing lock.
    locked = found_lock is not None and found_lock.lock is not None and bool(found_lock.lock.bases)
    built = build(fetched, layout=given.layout, tag=TAG, locked=locked, observer=given.observer)
    return subject(built.reference, given, built.descriptor)


def subject(name: str, given: Given, named: Any) -> Subject:
    """An image of a layout, read."""
    from serinus.runtimes import launch

    read = launch.read(given.layout, named)
    with given.layout.blob(read.config) as blob:
        config = json.loads(blob.read())
    return Subject(name, given.layout, named, read.manifest, read.layers, config)


def rootfs(image: Subject) -> Path:
    """The folder with the root file system of the image; it is shared and must not be written to."""
    from serinus.runtimes.rootfs import root

    return root(image.layout, image.layers)


def layer_contents(image: Subject) -> tuple[Entry, ...]:
    """What the layers of the image hold: names, owners, modes, and what looks like a secret."""
    from serinus.checks.image.contents import contents

    return contents(image)


def contract(given: Given, image: Subject, rootfs: Path) -> Contract:
    """The contract of the image, with its examples."""
    if (file := rootfs / CONTRACT.lstrip("/")).is_file():
        return Contract.from_json(file.read_bytes())
    if LABEL_CONTRACT in image.labels:
        return Contract.from_json(image.labels[LABEL_CONTRACT])
    raise NotApplicable(
        "the service has no contract", "Draw one from examples: `serinus contract write --from-examples`."
    )


def examples(contract: Contract) -> tuple[Example, ...]:
    """The examples of the contract, at least one."""
    if not contract.examples:
        raise NotApplicable(
            "there are no examples", 'Write some to examples.jsonl, {"request": ..., "response": ...} a line.'
        )
    return contract.examples


def start(given: Given, image: Subject, rootfs: Path) -> Start:
    """A way to start one more replica of the image; ``with`` it is one that is ready."""
    return starter(image, given.runtime, route_of(rootfs, given.project), given.settings.transport.ready)


def route_of(rootfs: Path, project: Project | None) -> str:
    """The path of an image's service that answers predictions."""
    file = rootfs / SETTINGS.lstrip("/")
    if file.is_file():
        return str(json.loads(file.read_bytes()).get("route", "/predict"))
    return project.service.route if project else "/predict"


def served(given: Given, start: Start) -> Iterator[Served]:
    """A replica of the image, shared by all checks that ask it well-behaved questions."""
    if given.url is not None:
        yield Served(given.url.rstrip("/"), given.project.service.route if given.project else "/predict")
        return
    with start("shared") as served:
        yield served


def endpoint(given: Given, image: Subject, rootfs: Path, served: Served) -> Endpoint:
    """Where the service answers, and what it promises there: what the checks of the wire ask."""
    from serinus.checks.transport import endpoint as endpoints
    from serinus.contract.files import read_examples
    from serinus.image.contracts import examples_file

    try:
        held = contract(given, image, rootfs)
    except NotApplicable:
        held = None
    file = examples_file(given.project) if given.project else None
    known = read_examples(file) if file and not (held and held.examples) else ()
    return endpoints.endpoint(served, rootfs, held, [example.request for example in known])


def client(served: Served) -> Iterator[httpx.Client]:
    """An ``httpx.Client`` whose base URL is the service."""
    import httpx

    # The service is on loopback: no proxy of the environment is to stand between.
    with httpx.Client(base_url=served.url, timeout=60.0, trust_env=False) as client:
        yield client


def service(client: httpx.Client, served: Served) -> Iterator[Service]:
    """The service: called with a request, it gives back the response, both as decoded JSON."""
    with closing(Service(client, served.route, served.running)) as service:
        yield service


def _service(served: Served) -> Iterator[Service]:
    for http in client(served):
        yield from service(http, served)


def from_source(given: Given, source: Project, fetched: Project | None, image: Subject) -> Iterator[Service]:
    """The service from the source tree, called as ``service`` is."""
    from serinus.runtimes.local import prepare

    port = free_port()
    prepared = prepare(fetched or source, port)
    running = Local(prepared.argv, prepared.cwd, {**prepared.env, **ADVISORY})
    try:
        url = f"http://127.0.0.1:{port}"
        waited(url, running, given.settings.transport.ready)
        yield from _service(Served(url, source.service.route, running))
    finally:
        running.stop(grace=5.0)


def labelled(given: Given) -> tuple[Labelled, ...]:
    """The labelled data: requests, what the predictions should be, and the slices of each row."""
    wanted = given.settings.labelled
    if given.project is None:
        raise NotApplicable("there is no project with labelled data", "Name it with --project.")
    file = given.project.root / (wanted or LABELLED)
    if not file.is_file() and wanted is None:
        raise NotApplicable(
            "there is no labelled data",
            'Write labelled.jsonl, {"request": ..., "label": ..., "slice": {"group": "name"}} a line.',
        )
    return tuple(_labelled(row, number, file, given.project) for number, row in rows(file, given.project))


def rows(file: Path, project: Project | None) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The objects of a file of JSON lines, with their line numbers; empty lines are passed over.

    Raises:
        Failed: the file cannot be read, or a line is no JSON object with a member ``request``.
    """
    named = relative(file, project)
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Failed(
            Finding(f"{named} cannot be read: {error}", "Correct its name in the project file.", named)
        ) from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise Failed(
                Finding(f"this line is not JSON: {error}", "Correct the line.", named, number)
            ) from None
        if not isinstance(row, dict) or "request" not in row:
            raise Failed(
                Finding("this line is no object with a member 'request'", "Correct the line.", named, number)
            )
        yield number, row


def _labelled(row: Mapping[str, Any], number: int, file: Path, project: Project) -> Labelled:
    groups = row.get("slice", {})
    if "label" not in row or not isinstance(groups, dict):
        raise Failed(
            Finding(
                "this row has no member 'label', or its 'slice' is no object",
                'Write {"request": ..., "label": ..., "slice": {"group": "name"}}.',
                relative(file, project),
                number,
            )
        )
    return Labelled(
        row["request"], row["label"], {name: str(value) for name, value in groups.items()}, number
    )


def answers(service: Service, labelled: tuple[Labelled, ...]) -> tuple[Answered, ...]:
    """What the service answers to each row of the labelled data."""
    return ask(service, [row.request for row in labelled])


def requests(given: Given, image: Subject, rootfs: Path) -> tuple[Any, ...]:
    """Requests to ask: those of the examples, and up to 50 of the labelled data, if there is some."""
    found: list[Any] = []
    with suppress(NotApplicable):
        found += [example.request for example in contract(given, image, rootfs).examples]
    with suppress(NotApplicable):
        rows = labelled(given)
        found += [row.request for row in rows[:: max(1, -(-len(rows) // 50))]]
    if not found:
        raise NotApplicable("there are no examples", "Write some to examples.jsonl.")
    return tuple(found)


def alone(start: Start, requests: tuple[Any, ...]) -> Alone:
    """What a replica that nobody else asks answers, one request at a time, the first few repeatedly."""
    with start("alone") as served:
        for service in _service(served):
            first = tuple(answered(service, request) for request in requests)
            again = tuple(
                tuple(answered(service, request) for request in requests[:AGAIN]) for _ in range(ROUNDS - 1)
            )
    return Alone(requests, (first, *again))


def baseline(given: Given, settings: Checks) -> Subject:
    """The image of the version in charge, to compare with."""
    from serinus.image.publish import find

    name = given.against or settings.against
    if name is None:
        raise NotApplicable(
            "no version in charge is named to compare with",
            "Name its image: checks.against, or --against REF.",
        )
    layout, named = find(name, given.layout, observer=given.observer, connect=given.connect)
    return subject(name, replace(given, layout=layout), named)


def start_baseline(given: Given, baseline: Subject) -> Start:
    """Starts a replica of the version in charge, as ``start`` does of the image."""
    from serinus.runtimes.rootfs import root

    route = route_of(root(baseline.layout, baseline.layers), given.project)
    return starter(baseline, given.runtime, route, given.settings.transport.ready)


def baseline_service(start_baseline: Start) -> Iterator[Service]:
    """The version in charge, called as ``service`` is."""
    with start_baseline("baseline") as served:
        yield from _service(served)


def baseline_answers(baseline_service: Service, labelled: tuple[Labelled, ...]) -> tuple[Answered, ...]:
    """What the version in charge answers to each row of the labelled data."""
    return ask(baseline_service, [row.request for row in labelled])


def _fixture(make: Callable[..., Any], title: str = "", seconds: float = 0.1, owner: str = "") -> Fixture:
    return Fixture(make.__name__, make, title or make.__name__.replace("_", " "), seconds, owner)


FIXTURES: tuple[Fixture, ...] = (
    _fixture(project),
    _fixture(settings),
    _fixture(source),
    _fixture(found_lock, "read the lock", owner="dependencies.pinned"),
    _fixture(lock),
    _fixture(packages, "install the packages", 0.5, "dependencies.installed"),
    _fixture(fetched, "fetch the model", 0.1, "model.digest"),
    _fixture(model, "find the model", 0.1, "model.loads"),
    _fixture(image, "build or fetch the image", 2.0, "image.built"),
    _fixture(rootfs, "unpack the image", 1.0, "image.built"),
    _fixture(layer_contents, "look through the layers", 2.0, "image.built"),
    _fixture(contract, "read the contract", 0.1, "contract.examples"),
    _fixture(examples),
    _fixture(start),
    _fixture(served, "start the image", 2.0, "transport.ready"),
    _fixture(endpoint),
    _fixture(client),
    _fixture(service),
    _fixture(from_source, "start the service from source", 2.0, "behaviour.source"),
    _fixture(labelled, "read the labelled data", 0.1, "quality.floor"),
    _fixture(answers, "ask the labelled data", 8.0),
    _fixture(requests),
    _fixture(alone, "ask a replica alone", 4.0),
    _fixture(baseline, "fetch the version in charge", 1.0),
    _fixture(start_baseline, "unpack the version in charge", 1.0),
    _fixture(baseline_service, "start the version in charge", 2.0),
    _fixture(baseline_answers, "ask the version in charge", 8.0),
    _fixture(speed.rival, "unpack the version in charge", 1.0),
    replace(_fixture(speed.loads, "load the service", 9.0), measuring=True),
)
"""Every fixture; ``given`` comes from outside."""

PUBLIC = ("project", "service", "client", "image", "contract", "examples", "labelled")
"""Those that own checks and the project's pytest tests are promised."""
