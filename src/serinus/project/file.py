"""Reading the project file: find it, parse it, hold it to the rules, and keep what was valid.

A file that was valid is remembered, by the digest of its text, in ``.serinus/project.json`` of the project,
so that reading it again needs no pydantic.
"""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import serinus
from serinus.errors import ProjectError
from serinus.files import write_atomically
from serinus.project import FILE, NAMED, TABLES, Project
from serinus.project.declare import default_of, inner, named

MODEL_SOURCE = "SERINUS_MODEL_SOURCE"
"""Variable: goes before ``model.source``, so that a pipeline delivers a version that was just registered."""
KEPT = Path(".serinus") / "project.json"
"""Where a valid file's tables are remembered, below the project's folder."""


def load(path: Path) -> Project:
    """Read a project; see :meth:`serinus.project.Project.load`."""
    file, prefix = find(path)
    text = _read(file)
    root = file.parent.resolve()
    key = hashlib.sha256(f"{serinus.__version__}\n{file.name}\n{text}".encode()).hexdigest()
    tables = _recall(root / KEPT, key)
    if tables is None:
        from serinus.project.rules import check

        tables = check(_below(_parse(text, file), prefix), text, file, prefix)
        _remember(root / KEPT, key, tables)
    return _project(root, tables)


def find(path: Path) -> tuple[Path, tuple[str, ...]]:
    """The file that describes a project, and the table in it under which the keys stand.

    Raises:
        ProjectError: there is none.
    """
    if path.is_file():
        return path, ("tool", "serinus") if path.name == "pyproject.toml" else ()
    if (path / FILE).is_file():
        return path / FILE, ()
    pyproject = path / "pyproject.toml"
    if pyproject.is_file() and "serinus" in _parse(_read(pyproject), pyproject).get("tool", {}):
        return pyproject, ("tool", "serinus")
    raise ProjectError(
        f"no {FILE} in {path.resolve()}, and no [tool.serinus] in a pyproject.toml there",
        "Run `serinus init` there, or name the project's folder with --project.",
    )


def keys() -> Iterator[tuple[str, Any, str]]:
    """Every key: its dotted name, its default (``...`` if it must be given), its documentation."""
    import ast
    import inspect

    def documented(kind: type) -> dict[str, str]:
        [tree] = ast.parse(inspect.getsource(kind)).body
        return dict(_documented(tree.body if isinstance(tree, ast.ClassDef) else ()))

    def below(kind: type, path: str) -> Iterator[tuple[str, Any, str]]:
        told = documented(kind)
        tables = []
        for key in fields(kind):
            if table := inner(key):
                tables.append((table, f"{path}.{key.name}"))
            elif many := named(key):
                tables.append((many, f"{path}.{key.name}.{key.metadata['name']}"))
            else:
                yield f"{path}.{key.name}", default_of(key), told.get(key.name, "")
        for table, name in tables:
            yield from below(table, name)

    for name, kind in TABLES.items():
        yield from below(kind, name)
    for name, (kind, chosen, _) in NAMED.items():
        yield from below(kind, f"{name}.{chosen}")


def _documented(body: Sequence[Any]) -> Iterator[tuple[str, str]]:
    """The attributes of a class that have a string under them, and the string."""
    import ast
    import inspect

    for before, after in pairwise(body):
        match before, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, " ".join(inspect.cleandoc(text).split())


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ProjectError(f"{file} is not UTF-8 at byte {error.start}", "Save it as UTF-8.") from None


def _parse(text: str, file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProjectError(f"{file} is not TOML: {error}", "Mend the place that is named.") from None


def _below(tables: Any, prefix: Sequence[str]) -> Any:
    for name in prefix:
        tables = tables.get(name, {})
    return tables


def _recall(kept: Path, key: str) -> Mapping[str, Any] | None:
    try:
        document = json.loads(kept.read_bytes())
        return document["tables"] if document["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # nothing was kept, or it cannot be read: the file is checked again


def _remember(kept: Path, key: str, tables: Mapping[str, Any]) -> None:
    try:
        write_atomically(kept, json.dumps({"key": key, "tables": tables}).encode())
    except OSError:
        return  # a project that cannot be written to is read all the same


def _project(root: Path, tables: Mapping[str, Any]) -> Project:
    made = {name: _table(kind, tables.get(name, {})) for name, kind in TABLES.items()}
    made |= {name: _tables(kind, tables.get(name, {})) for name, (kind, _, _) in NAMED.items()}
    if source := os.environ.get(MODEL_SOURCE):
        made["model"] = replace(made["model"], source=source)
    return Project(root=root, **made)


def _tables(kind: type, named: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _table(kind, values) for name, values in named.items()}


def _table(kind: type, values: Mapping[str, Any]) -> Any:
    tables = {key.name: table for key in fields(kind) if (table := inner(key))}
    many = {key.name: each for key in fields(kind) if (each := named(key))}

    def plain(name: str, value: Any) -> Any:
        if name in tables:
            return _table(tables[name], value)
        if name in many:
            return _tables(many[name], value)
        return tuple(value) if isinstance(value, list) else value

    return kind(**{name: plain(name, value) for name, value in values.items()})


def describe(project: Project) -> dict[str, Any]:
    """The project as plain values, as ``serinus config --json`` shows it."""
    plain = asdict(project)
    return {"root": str(project.root)} | {name: plain[name] for name in (*TABLES, *NAMED)}
