"""The images are built once; each test has a project and an environment of its own."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import given
import pytest
from backends import Backend
from stage import Stage


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One Envoy for a module."""
    made = Stage(tmp_path_factory.mktemp("router"))
    yield made
    made.close()


@pytest.fixture
def stable(stage: Stage) -> Backend:
    """The version in charge, on the stage of the module."""
    return stage.backend("stable")


@pytest.fixture
def candidate(stage: Stage) -> Backend:
    """The new one."""
    return stage.backend("candidate")


@pytest.fixture(scope="session")
def mood_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with an image for each way of being broken."""
    folder = tmp_path_factory.mktemp("images") / "mood"
    folder.mkdir()
    given.images(folder)
    return folder


@pytest.fixture
def docker_forgets() -> Iterator[None]:
    """Docker keeps the images that it was given: they are taken away."""
    yield
    images = [given.tag(name) for name in given.BREAKS]
    if shutil.which("docker"):
        subprocess.run(["docker", "rmi", "--force", *images], capture_output=True, check=False)


@pytest.fixture
def an_environment(mood_images: Path) -> Iterator[Callable[..., given.Running]]:
    """Makes an environment that is not started yet; at the end of the test it is stopped."""
    number = count()
    # Not below pytest's own folders: paths of sockets are short.
    base = Path(tempfile.mkdtemp(prefix="serinus-tests-"))

    with ExitStack() as stack:
        stack.callback(shutil.rmtree, base, ignore_errors=True)

        def environment(**settings: Any) -> given.Running:
            folder = given.copied(mood_images, base / f"mood{next(number)}")
            port, _ = given.settle(folder, **settings)
            made = given.Running(folder, port)
            stack.callback(made.down)
            return made

        yield environment
