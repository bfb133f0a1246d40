"""The registries that these tests talk to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opening import Open

from fakes.registry import Registry, serving
from parts import registry as registry
from serinus.registry.auth import Credentials
from serinus.registry.client import Repository
from serinus.registry.credentials import Search
from serinus.registry.layout import Layout


@pytest.fixture
def fake() -> Iterator[Registry]:
    """A registry in this process."""
    with serving(Registry()) as running:
        yield running


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout")


@pytest.fixture
def slept() -> list[float]:
    """Seconds that clients would have waited."""
    return []


@pytest.fixture
def connect(fake: Registry, slept: list[float]) -> Iterator[Open]:
    """Open a repository of the fake registry, as its user, without waiting between tries."""
    opened: list[Repository] = []

    def one(name: str = "acme/x", **options: Any) -> Repository:
        mine = Credentials(fake.username, fake.password, source="the test")
        options = {"find": lambda *_, **__: Search(mine, ("the test",))} | options
        repository = Repository(f"{fake.host}/{name}", sleep=slept.append, jitter=lambda: 0.0, **options)
        opened.append(repository)
        return repository

    yield one
    for repository in opened:
        repository.close()
