"""The pytest plugin: what checks take by name, as fixtures of pytest.

In a project's own tests ``project``, ``service``, ``client``, ``image``, ``contract``, ``examples`` and
``labelled`` are what they are for a check: the image is built and started when the first test asks for it.
Under ``serinus check`` they are the image and the replica that are checked. A test that asks for what there
is not (labelled data, say) is skipped, with what to add.

Nothing is done, and nothing is imported, where pytest does not run in a project's folder.
"""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDER: pytest.StashKey[Path] = pytest.StashKey()
"""Where the project's folder is kept."""
OPTIONS = {
    "--serinus-image": "the image to test: a tag, oci:PATH or reference (default: the project's, built)",
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
    config.stash[FOLDER] = folder
    config.pluginmanager.import_plugin("serinus.pytest_fixtures")


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
