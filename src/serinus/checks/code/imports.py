"""Imports: whether everything that the code imports will be in the image."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from serinus.checks import Finding, NotApplicable, Result, check
from serinus.checks.code.files import modules, parents, parsed, reached
from serinus.checks.code.statements import Import, imports
from serinus.image import RUNTIME
from serinus.image.requirements import DEFAULT
from serinus.image.runtime import runtime_files
from serinus.project import Project

Resolves = Callable[[str], bool]
"""Whether a dotted name can be imported in the image."""


@check(
    "code.imports",
    why="An import that only the developer's machine had made the container end as soon as it was started.",
    seconds=0.5,
)
def resolved(source: Project, packages: Path) -> Result:
    """All that the service imports is in the standard library, the project or the locked packages.

    Directly or through its own modules, and inside functions too. Nothing is imported to find out. Files that
    go into the image and that the service does not import are looked at too; there it is a warning.
    """
    trees = parsed(source)
    if not trees:
        raise NotApplicable("no Python file goes into the image")
    known = modules(tuple(trees))
    names = {path: name for name, path in known.items()}
    major, minor = map(int, source.image.python.split("."))
    found = {
        path: imports(tree, names[path], path.endswith("__init__.py"), (major, minor))
        for path, tree in trees.items()
        if path in names
    }
    entry = (source.service.entrypoint or "").partition(":")[0]
    used = reached(entry, known, {path: _named(each) for path, each in found.items()})
    missing = {path: tuple(unresolved(each, _resolver(path, path in used, known, packages)))
               for path, each in found.items()}  # fmt: skip
    findings = [_finding(path, one, path in used, source) for path, each in missing.items() for one in each]
    count = sum(map(len, found.values()))
    fails = any(missing[path] for path in used if path in missing)
    told = "" if findings else f"{count} imports in {len(found)} files are all there"
    return Result(told, tuple(findings), warning=not fails)


def unresolved(found: Iterable[Import], resolves: Resolves) -> Iterable[Import]:
    """The imports that must succeed and do not. Pure."""
    for one in found:
        if one.guarded or (one.unless and all(map(resolves, one.unless))):
            continue
        if one.name and not resolves(one.name):
            yield one


def _named(found: Iterable[Import]) -> frozenset[str]:
    """All that an import may run: the module, and its members that may be modules."""
    return frozenset(
        name for one in found for name in (one.name, *(f"{one.name}.{m}".lstrip(".") for m in one.maybe))
    )


def _resolver(path: str, used: bool, known: Mapping[str, str], packages: Path) -> Resolves:
    # Python looks into the folder of a script that is run: only the service is imported from the project's.
    folder = ".".join(Path(path).parent.parts)
    ours = frozenset(parent for name in known for parent in parents(name))

    def resolves(name: str) -> bool:
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or top == "__main__":
            return True
        if name in ours or (not used and folder and f"{folder}.{name}" in ours):
            return True
        if top == "serinus":
            return name in _serving()
        return installed(name, packages)

    return resolves


def _serving() -> frozenset[str]:
    """The modules of Serinus that are in an image."""
    paths = (path.removeprefix(f"{RUNTIME}/") for path, _ in runtime_files())
    return frozenset(modules(tuple(paths)))


def installed(name: str, tree: Path) -> bool:
    """Whether a folder of packages has a module.

    Below a package that is not a mere namespace nothing is looked for: it may make its modules itself.
    """
    folder = tree
    for part in name.split("."):
        if (folder / f"{part}.py").is_file() or any(folder.glob(f"{part}.*so")):
            return True
        folder = folder / part
        if not folder.is_dir():
            return False
        if any(folder.glob("__init__.*")):
            return True
    return True


def _finding(path: str, one: Import, used: bool, project: Project) -> Finding:
    top = one.name.partition(".")[0]
    if (project.root / f"{top}.py").is_file() or (project.root / top).is_dir():
        return Finding(
            f"{path} imports {one.name!r}, which the image will not have: the file is left out or not there",
            "Correct the name, or the patterns in image.ignore and .serinusignore.",
            path,
            one.line,
        )
    file = project.image.requirements or DEFAULT
    brings = _distribution(top)
    todo = f"Add {brings} to {file}." if brings else f"Add the package that brings it to {file}."
    if not used:
        todo = f"{todo} Or keep the file out of the image by image.ignore: the service does not import it."
    here = f"; this machine has it from {brings}" if brings else ""
    return Finding(
        f"{path} imports {one.name!r}, which is not among the locked packages{here}", todo, path, one.line
    )


def _distribution(top: str) -> str:
    """The installed distribution of this machine that brings a module; empty where none does."""
    from importlib.metadata import packages_distributions

    return next(iter(packages_distributions().get(top, ())), "")
