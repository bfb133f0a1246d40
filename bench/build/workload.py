"""What is built: a typed service, 170 MB of dependencies, 500 MB of random weights; and on what."""

from __future__ import annotations

import json
import secrets
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tools import CannotMeasureError, Environment, run, serinus, uv

MODEL_BYTES = 500 * 1000 * 1000
PYTHON = "3.11"
NAME = "serinus-bench"
BASE_TAG = "serinus-bench-base"
REQUIREMENTS = ("numpy", "scipy", "scikit-learn", "onnxruntime")

_SERVICE = '''\
"""A service whose code is small, as code is beside its model and its dependencies."""

from pathlib import Path

import numpy as np

SCALE = {scale}


def setup() -> np.ndarray:
    return np.memmap(Path(__file__).parent / "weights.bin", dtype=np.float32, mode="r")


def predict(x: float, *, model: np.ndarray) -> float:
    return float(model[0]) * 0 + x * SCALE + {offset}
'''
_PROJECT = f"""\
[service]
name = "{NAME}"
entrypoint = "service:predict"

[model]
path = "weights.bin"
"""


@dataclass(frozen=True)
class Project:
    """A project, and the folder that `serinus build --dockerfile` makes of it. Both get the same changes."""

    root: Path
    export: Path

    def write(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        (self.root / "serinus.toml").write_text(_PROJECT)
        (self.root / "requirements.txt").write_text("\n".join(REQUIREMENTS) + "\n")
        self.change_code()
        self.change_model()

    def change_code(self) -> None:
        """Change a line inside a function to what it never was: no cache of an earlier run may know it."""
        self._write_service(1, secrets.randbits(60))

    def change_statement(self) -> None:
        """Change a statement of the module likewise: its contract must be found out again."""
        self._write_service(secrets.randbits(60), 0)

    def _write_service(self, scale: int, offset: int) -> None:
        for folder in self._there("code"):
            (folder / "service.py").write_text(_SERVICE.format(scale=scale, offset=offset))

    def change_model(self) -> None:
        """Other random weights."""
        random = np.random.default_rng()
        weights = random.random(MODEL_BYTES // 4, dtype=np.float32)
        for folder in self._there("model"):
            weights.tofile(folder / "weights.bin")

    def _there(self, part: str) -> list[Path]:
        return [folder for folder in (self.root, self.export / part) if folder.is_dir()]


def fetch_wheels(project: Project, work: Path) -> Path:
    """A folder with the wheels of the project's lock: both builders install from it alone."""
    wheels, pip = work / "wheels", work / "pip"
    if not pip.is_dir():
        run([uv(), "pip", "install", "--quiet", "--target", pip, "pip"])
    check_python()
    lines = project.export / "requirements.txt"
    download = ["-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    run(
        [sys.executable, *download, "--dest", wheels, "--requirement", lines],
        env={"PYTHONPATH": str(pip)},
    )
    return wheels


def check_python() -> None:
    """Wheels are fetched by this Python for the one in the image.

    Raises:
        CannotMeasureError: they are not of the same minor version.
    """
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if here != PYTHON:
        raise CannotMeasureError(
            f"this benchmark needs Python {PYTHON}, which is in the base image; this is {here}"
        )


def make_docker_base(docker: str, project: Project, work: Path, cache: Path) -> None:
    """Our own base as a Docker image, with pip and the wheels in it.

    pip is what `docker build` installs with; no time goes into fetching the wheels.
    """
    from serinus.registry.layout import Layout
    from serinus.runtimes import launch, rootfs

    layout = Layout(project.root / ".serinus" / "layout")
    image = launch.read(layout, layout.resolve(f"{NAME}:latest"))
    tree = work / "base"
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(rootfs.root(layout, image.layers[:1], cache=cache / "rootfs"), tree, symlinks=True)
    shutil.copytree(work / "pip", tree / "usr/lib/python3/dist-packages", dirs_exist_ok=True)
    shutil.copytree(work / "wheels", tree / "wheels")
    archive = work / "base.tar"
    run(["tar", "-C", tree, "-cf", archive, "."])
    settings = ["ENV PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels", "ENV PATH=/usr/local/bin:/usr/bin:/bin"]
    changes = [word for line in settings for word in ("--change", line)]
    run([docker, "import", *changes, archive, BASE_TAG])
    archive.unlink()


class Serinus:
    """`serinus`, as the user runs it, with caches of its own."""

    def __init__(self, project: Project, env: Environment) -> None:
        self.project = project
        self.env = env

    def build(self, *options: str) -> str:
        """`serinus build --json`; what it printed."""
        return run([serinus(), "build", "--json", *options], cwd=self.project.root, env=self.env)

    def layers(self) -> dict[str, int]:
        """The sizes of the layers of a build in which nothing has changed."""
        return {layer["name"]: layer["size"] for layer in json.loads(self.build())["layers"]}

    def publish(self, reference: str) -> None:
        """`serinus publish`."""
        run([serinus(), "publish", "--json", reference], cwd=self.project.root, env=self.env)


class Docker:
    """`docker build` of the exported Dockerfile, by one of Docker's builders."""

    def __init__(self, project: Project, name: str, program: str, env: Environment) -> None:
        self.project = project
        self.name = name
        self.program = program
        self.env = env
        self._tag = NAME + ("-buildkit" if env else "")

    def build(self, *options: str) -> None:
        """Build and tag."""
        base = ["--build-arg", f"BASE={BASE_TAG}"]
        words = [self.program, "build", "-q", *base, "-t", self._tag, *options, str(self.project.export)]
        run(words, env=self.env)

    def forget(self) -> None:
        """Drop the images that earlier builds have left; BuildKit's cache is not ours to empty."""
        run([self.program, "rmi", "--force", self._tag])
        title = f"label=org.opencontainers.image.title={NAME}"
        run([self.program, "image", "prune", "--force", "--filter", title])

    def drop_base(self) -> None:
        """Drop the base that :func:`make_docker_base` made."""
        run([self.program, "rmi", "--force", BASE_TAG])

    def publish(self, reference: str) -> None:
        """`docker push`."""
        run([self.program, "tag", self._tag, reference])
        run([self.program, "push", "-q", reference])
        run([self.program, "rmi", reference])
