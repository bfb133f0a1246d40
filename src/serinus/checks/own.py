"""The project's own checks: functions in ``checks/*.py`` that ``@serinus.check`` made checks."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

from serinus.checks import Check
from serinus.errors import ProjectError

FOLDER = "checks"


def find(root: Path) -> tuple[Check, ...]:
    """The checks in the folder ``checks`` of a project, in the order of their files and lines.

    The files are imported in this process, in the order of their names; they can import each other, and what
    is installed beside Serinus.

    Args:
        root: the project's folder.

    Raises:
        ProjectError: a file cannot be imported; it names the line.
    """
    files = sorted(file for file in (root / FOLDER).glob("*.py") if not file.name.startswith("_"))
    return tuple(check for file in files for check in _checks(file))


def _checks(file: Path) -> Iterator[Check]:
    name = f"serinus_checks_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ProjectError(f"{file} cannot be imported", "Rename it to something that ends with .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    folder = str(file.parent)
    sys.path.insert(0, folder)
    kept, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ProjectError(
            f"{file.parent.name}/{file.name}{_line(error, file)} cannot be imported: "
            f"{type(error).__name__}: {error}",
            "Correct it, or install what it needs beside Serinus.",
        ) from error
    finally:
        sys.path.remove(folder)
        sys.dont_write_bytecode = kept
    for value in vars(module).values():
        if isinstance(value, Check) and getattr(value.function, "__module__", "") == name:
            yield value


def _line(error: BaseException, file: Path) -> str:
    import traceback

    if isinstance(error, SyntaxError) and error.lineno:
        return f":{error.lineno}"
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(file)]
    return f":{lines[-1]}" if lines else ""
