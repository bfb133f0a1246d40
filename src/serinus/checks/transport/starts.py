"""Does it start, and does it answer where it should?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from serinus.checks import Finding, Measure, Result, check
from serinus.checks.subjects import Given, Served, Subject
from serinus.checks.transport import wire
from serinus.checks.transport.endpoint import Endpoint, ask, settings_of
from serinus.project import Checks
from serinus.runtimes.launch import launch
from serinus.serving import Settings

FILE = "serinus.toml"


@check(
    "transport.ready",
    why="A model that was not in the image, or a package that did not import there, was found out by users.",
)
def ready(served: Served, settings: Checks) -> Result:
    """The image starts, answers its examples and is ready within `checks.transport.ready`."""
    if served.running is None:
        return Result(f"{served.url} answers")
    bound = settings.transport.ready
    measure = Measure("ready", served.seconds, "s", at_most=bound)
    late = Finding(
        f"the service was ready after {served.seconds:.1f} s; expected {bound:g} s at most",
        "Load less, or give it more time: checks.transport.ready.",
    )
    unfit = Finding(
        f"the service answers, but will not become ready: {served.unfit}",
        "Mend the service, or correct the example.",
    )
    findings = [finding for finding, holds in ((unfit, not served.unfit), (late, measure.holds)) if not holds]
    summary = "" if findings else f"ready after {served.seconds:.2f} s"
    return Result(summary, tuple(findings), (measure,))


@check(
    "transport.route",
    why="An app whose route had been renamed started well, and every caller got 404.",
    seconds=0.2,
)
def route(given: Given, image: Subject, endpoint: Endpoint) -> Result:
    """Route and port are the project's, an example is answered 2xx with JSON, health and description too."""
    found = [*_settings(given, image, endpoint.settings), *_prediction(endpoint), *_beside(endpoint)]
    return Result(f"POST {endpoint.route} answers", tuple(found))


def _settings(given: Given, image: Subject, settings: Settings | None) -> Iterator[Finding]:
    project = given.project
    ports = launch(image.config).ports
    wanted = project.service.port if project else settings.port if settings else None
    if wanted is not None and wanted not in ports:
        shown = ", ".join(map(str, ports)) or "none"
        yield Finding(
            f"the image says that it listens on port {shown}; expected {wanted}",
            "Build the image again, or correct service.port.",
            FILE if project else "",
        )
    if project and settings and settings.route != project.service.route:
        yield Finding(
            f"the image answers at {settings.route}; the project file says {project.service.route}",
            "Build the image again, or correct service.route.",
            FILE,
        )


def _prediction(endpoint: Endpoint) -> Iterator[Finding]:
    what = f"POST {endpoint.route} with an example"
    todo = "Correct service.route, or the route of the app."
    try:
        answer = ask(endpoint, endpoint.post())
    except (wire.NoAnswer, wire.Late, wire.Malformed) as error:
        yield Finding(f"{what}: {error.message}", todo)
        return
    if not endpoint.known:
        if answer.status in (404, 405):
            yield Finding(f"POST {endpoint.route} was answered {answer}; expected a route", todo)
    elif not 200 <= answer.status < 300:
        yield Finding(f"{what} was answered {answer}; expected 2xx", todo)
    elif not answer.is_json:
        kind = answer.header("content-type") or "no content type"
        yield Finding(f"{what} was answered with {kind}; expected application/json", "Answer with JSON.")


def _beside(endpoint: Endpoint) -> Iterator[Finding]:
    paths = ("/healthz", "/readyz", "/openapi.json") if endpoint.settings else ("/readyz",)
    for path in paths:
        try:
            answer = ask(endpoint, wire.Request("GET", path))
        except (wire.NoAnswer, wire.Late, wire.Malformed) as error:
            yield Finding(f"GET {path}: {error.message}", "Look into the log of the service.")
            continue
        if answer.status != 200:
            yield Finding(
                f"GET {path} was answered {answer}; expected 200", "Look into the log of the service."
            )


@check(
    "transport.unchanged",
    why="A new version listened on another port than the one that all its callers knew.",
    seconds=0.5,
)
def unchanged(image: Subject, rootfs: Path, baseline: Subject) -> Result:
    """Route and port are those of the version in charge."""
    from serinus.runtimes.rootfs import root

    now, before = launch(image.config).ports, launch(baseline.config).ports
    new, old = settings_of(rootfs), settings_of(root(baseline.layout, baseline.layers))
    found = []
    if new and old and new.route != old.route:
        found.append(_moved("predictions are answered at", new.route, old.route, "route"))
    if new and old and new.port != old.port:
        found.append(_moved("the service listens on port", new.port, old.port, "port"))
    elif not set(before) <= set(now):
        found.append(_moved("the image exposes the ports", now, before, "port"))
    return Result(f"as {baseline.name}", tuple(found))


def _moved(what: str, new: object, old: object, key: str) -> Finding:
    return Finding(
        f"{what} {new}; the version in charge has {old}",
        f"Set service.{key} back: its callers know no other.",
        FILE,
    )
