"""How the image is made: the same again from another folder, and as a Dockerfile."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from serinus.checks import Finding, NotApplicable, Result, check
from serinus.checks.image.contents import names
from serinus.checks.subjects import Given, Subject
from serinus.files import scripts_folder
from serinus.image import CONTRACT, LABEL_MODEL
from serinus.project import Project

_LEFT_OUT = (".serinus", ".git", ".venv", "venv", "__pycache__", "node_modules")


@check(
    "image.reproducible",
    why="An image that cannot be made again cannot be audited, and a stale layer in a cache goes out unseen.",
    seconds=4.0,
)
def reproducible(given: Given, source: Project, fetched: Project | None, image: Subject) -> Result:
    """Built again, from a copy in another folder and with cold caches, the image has the same digest."""
    from serinus.files import cache_folder
    from serinus.image.build import build
    from serinus.registry.layout import Layout

    with tempfile.TemporaryDirectory(prefix="serinus-again-") as name:
        folder, cache = Path(name, "elsewhere"), Path(name, "cache")
        copy = _copied(fetched or source, folder)
        cache.mkdir()
        # The bases and the installed packages are shared; the layers that were packed from them are not.
        for part in cache_folder().glob("*"):
            if part.name != "layers":
                (cache / part.name).symlink_to(part)
        layout = Layout(Path(name, "layout"))
        again = build(copy, layout=layout, cache=cache, locked=True, observer=given.observer)
        if again.descriptor.digest == image.digest:
            return Result(f"twice {image.digest[:19]}")
        pairs = zip(names(image), image.layers, again.layers, strict=False)
        other = [name for name, one, two in pairs if one.diff_id != two.diff_id]
    told = f"built again the image is {again.descriptor.digest}, and was {image.digest}"
    where = f"; the layers that differ: {', '.join(other)}" if other else ""
    todo = (
        "Remove .serinus/cache and build again; if it stays so, look for what the build takes from outside."
    )
    return Result(findings=(Finding(told + where, todo),))


def _copied(project: Project, folder: Path) -> Project:
    """The project in another folder, with other times on its files; the model stays where it is."""
    from serinus.image.sources import find_model

    model = find_model(project)
    left_out = shutil.ignore_patterns(*_LEFT_OUT)

    def ignore(where: str, entries: list[str]) -> set[str]:
        return left_out(where, entries) | {n for n in entries if model and Path(where, n) == model.source}

    shutil.copytree(project.root, folder, symlinks=True, ignore=ignore, copy_function=shutil.copy)
    if model is None:
        return replace(project, root=folder)
    there = replace(project.model, source=str(model.source.absolute()), path=model.path)
    return replace(project, root=folder, model=there)


@check("image.dockerfile", why="The same service must build where only Docker is allowed.", seconds=0.5)
def dockerfile(source: Project, fetched: Project | None, image: Subject, rootfs: Path) -> Result:
    """The Dockerfile that a build can write, and one in the project's folder, are clean under hadolint."""
    program = _hadolint()
    text = _exported(fetched or source, image, rootfs)
    texts = {"the exported Dockerfile": text}
    own = source.root / "Dockerfile"
    if own.is_file():
        texts["Dockerfile"] = own.read_text("utf-8", "replace")
    faults: list[Finding] = []
    for name, content in texts.items():
        faults += _lint(program, source.root, name, content)
    return Result(" and ".join(texts), tuple(faults))


def _hadolint() -> str:
    found = shutil.which("hadolint", path=scripts_folder()) or shutil.which("hadolint")
    if found is None:
        raise NotApplicable("looking at a Dockerfile needs hadolint", "pip install 'serinus[checks]'")
    return found


def _exported(project: Project, image: Subject, rootfs: Path) -> str:
    from serinus.contract import Contract
    from serinus.image import dockerfile as docker
    from serinus.image import lock as locks

    lock = locks.load(project.root / locks.FILE)
    if lock is None:
        raise NotApplicable("there is no lock to install from", "Build the image: `serinus build`.")
    file = rootfs / CONTRACT.lstrip("/")
    contract = Contract.from_json(file.read_bytes()) if file.is_file() else None
    recipe = docker.recipe(project, lock, contract, {})
    if model := image.labels.get(LABEL_MODEL):
        recipe = replace(recipe, model=True, labels=(*recipe.labels, (LABEL_MODEL, model)))
    return docker.dockerfile(recipe)


def _lint(program: str, root: Path, name: str, text: str) -> Iterator[Finding]:
    done = subprocess.run(
        [program, "--no-fail", "--format", "json", "-"],
        input=text, cwd=root, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    found: list[dict[str, Any]] = json.loads(done.stdout)
    for one in found:
        told = f"{name}, line {one['line']}: {one['code']}: {one['message']}"
        file = "Dockerfile" if name == "Dockerfile" else ""
        todo = "Correct the line, or name the rule in .hadolint.yaml."
        yield Finding(told, todo, file, one["line"] if file else None)
