"""The Python files of a project that go into the image, parsed."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

from serinus.image import select
from serinus.image.sources import find_model, is_elsewhere
from serinus.project import Project


def code_files(project: Project) -> tuple[str, ...]:
    """Paths of the project's Python files that go into the image, relative to its folder, sorted.

    The model's own files are not among them: they are data.

    Raises:
        BuildError: a file cannot be read.
    """
    patterns = (*select.DEFAULTS, *select.read_patterns(project.root), *project.image.ignore)
    entries = select.walk(project.root, select.rules(patterns))
    # A model from elsewhere is not in the project's folder, and nothing is fetched to look at code.
    model = None if is_elsewhere(project) else find_model(project)
    own = () if model is None else (model.path,)
    paths = (entry.path for entry in entries if entry.path.endswith(".py"))
    return tuple(path for path in paths if not any(path == o or path.startswith(f"{o}/") for o in own))


def parsed(project: Project) -> dict[str, ast.Module]:
    """Path -> syntax tree of each file of :func:`code_files` that is correct Python."""
    found = {}
    for path in code_files(project):
        try:
            found[path] = ast.parse((project.root / path).read_bytes())
        except (SyntaxError, ValueError):
            continue  # the check ``code.lint`` says so
    return found


def modules(paths: Iterator[str] | tuple[str, ...]) -> dict[str, str]:
    """Dotted name -> path of each file, as imported from the project's folder. Pure."""
    found = {}
    for path in paths:
        parts = Path(path).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return {name: path for name, path in found.items() if name}


def parents(name: str) -> Iterator[str]:
    """``a.b.c`` -> ``a``, ``a.b``, ``a.b.c``: what an import of it runs. Pure."""
    parts = name.split(".")
    return (".".join(parts[:end]) for end in range(1, len(parts) + 1))


def reached(entry: str, known: Mapping[str, str], imports: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """Paths of the modules that an import of the entry point may run. Pure.

    Args:
        entry: dotted name of the entry point's module.
        known: what :func:`modules` gave.
        imports: path -> dotted names that it imports.
    """
    seen: set[str] = set()
    pending = [entry]
    while pending:
        for name in parents(pending.pop()):
            path = known.get(name)
            if path is not None and path not in seen:
                seen.add(path)
                pending += imports.get(path, ())
    return frozenset(seen)
