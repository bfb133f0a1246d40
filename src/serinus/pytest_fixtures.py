"""The fixtures that :mod:`serinus.pytest_plugin` brings into the tests of a project."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from serinus.checks import NotApplicable
from serinus.checks.fixtures import FIXTURES, PUBLIC
from serinus.checks.resolve import Resolver
from serinus.checks.subjects import Given
from serinus.image.build import layout_of
from serinus.project import Project
from serinus.pytest_plugin import FOLDER
from serinus.runtimes.named import runtime


@pytest.fixture(scope="session")
def serinus_resolver(request: pytest.FixtureRequest) -> Iterator[Resolver]:
    """What makes the other fixtures, and finishes them after the last test."""
    option = request.config.getoption
    project = Project.load(request.config.stash[FOLDER])
    started = runtime(option("--serinus-runtime") or "sandbox")
    image, url = option("--serinus-image"), option("--serinus-url")
    with Resolver(Given(layout_of(project), started, project, image, url=url)) as resolver:
        yield resolver


def _fixture(name: str) -> Any:
    def made(serinus_resolver: Resolver) -> Any:
        try:
            return serinus_resolver.get(name)
        except NotApplicable as nothing:
            pytest.skip(str(nothing))

    made.__doc__ = next(fixture.about for fixture in FIXTURES if fixture.name == name)
    return pytest.fixture(scope="session", name=name)(made)


globals().update({name: _fixture(name) for name in PUBLIC})
