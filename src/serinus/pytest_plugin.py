"""The pytest plugin: what checks take by name, as fixtures of pytest.

In a project's own tests ``project``, ``service``, ``client``, ``image``, ``contract``, ``examples`` and
``labelled`` are what they are for a check: the image is built and started when the first test asks for it. Under
``serinus check`` they are the image and the replica that are checked. A test that asks for what there is not
(labelled data, say) is skipped, with what to add.

Nothing is done, and nothing is imported, where pytest does not run in a project's folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

OPTIONS = {
    "--serinus-image": "the image to test: tag of the layout, oci:PATH or reference (default: the project's, built)",
    "--serinus-url": "where the service answers already (default: the image is started)",
    "--serinus-runtime": "what starts the image: sandbox, docker or podman (default: sandbox)",
    "--serinus-packages": "a folder of packages to be seen behind those that are installed",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add our options."""
    group = parser.getgroup("serinus")
    for name, about in OPTIONS.items():
        group.addoption(name, default=None, help=about)


def pytest_configure(config: pytest.Config) -> None:
    """Bring the fixtures, where there is a project."""
    folder = _project(config)
    if folder is None:
        return
    if packages := config.getoption("--serinus-packages"):
        import sys

        sys.path.append(packages)
    config.pluginmanager.register(Fixtures(folder, config), "serinus-fixtures")


def _project(config: pytest.Config) -> Path | None:
    """The folder of the project that pytest was started in or above which its rootdir lies."""
    from serinus.project import FILE

    for folder in dict.fromkeys((Path(config.invocation_params.dir), config.rootpath)):
        if (folder / FILE).is_file():
            return folder
        file = folder / "pyproject.toml"
        if file.is_file() and "[tool.serinus" in file.read_text("utf-8", "replace"):
            return folder
    return None


class Fixtures:
    """The fixtures of one project.

    Args:
        folder: the project's.
        config: pytest's, with our options.
    """

    def __init__(self, folder: Path, config: pytest.Config) -> None:
        self._folder = folder
        self._option = config.getoption

    @pytest.fixture(scope="session")
    def serinus_resolver(self) -> Iterator[Any]:
        """Makes what the other fixtures give."""
        from serinus.checks.resolve import Resolver
        from serinus.checks.subjects import Given
        from serinus.image.build import layout_of
        from serinus.project import Project
        from serinus.runtimes.named import runtime

        project = Project.load(self._folder)
        started = runtime(self._option("--serinus-runtime") or "sandbox")
        image, url = self._option("--serinus-image"), self._option("--serinus-url")
        with Resolver(Given(layout_of(project), started, project, image, url=url)) as resolver:
            yield resolver

    @pytest.fixture(scope="session")
    def project(self, serinus_resolver: Any) -> Any:
        """The project: what its file says."""
        return _get(serinus_resolver, "project")

    @pytest.fixture(scope="session")
    def service(self, serinus_resolver: Any) -> Any:
        """The service: called with a request, it gives back the response."""
        return _get(serinus_resolver, "service")

    @pytest.fixture(scope="session")
    def client(self, serinus_resolver: Any) -> Any:
        """An ``httpx.Client`` whose base URL is the service."""
        return _get(serinus_resolver, "client")

    @pytest.fixture(scope="session")
    def image(self, serinus_resolver: Any) -> Any:
        """The image."""
        return _get(serinus_resolver, "image")

    @pytest.fixture(scope="session")
    def contract(self, serinus_resolver: Any) -> Any:
        """The contract, with its examples."""
        return _get(serinus_resolver, "contract")

    @pytest.fixture(scope="session")
    def examples(self, serinus_resolver: Any) -> Any:
        """The examples."""
        return _get(serinus_resolver, "examples")

    @pytest.fixture(scope="session")
    def labelled(self, serinus_resolver: Any) -> Any:
        """The labelled data."""
        return _get(serinus_resolver, "labelled")


def _get(resolver: Any, name: str) -> Any:
    from serinus.checks import NotApplicable

    try:
        return resolver.get(name)
    except NotApplicable as nothing:
        pytest.skip(str(nothing))
