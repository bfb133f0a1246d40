"""The part of a Python module that its import depends on: everything but the bodies of functions not run.

Kept of such a function are its name, decorators, parameters, defaults, annotations and documentation, and
whether it is a generator: all that can be seen of it without calling it.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Set


def skeleton(source: bytes, executed: Set[str]) -> str | None:
    """A digest of what the import of a module depends on; None where the source does not parse.

    Args:
        source: of the module.
        executed: qualified names (PEP 3155) of the functions that ran; their bodies count.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return None
    _strip(tree, "", executed)
    try:
        text = ast.dump(tree, annotate_fields=False)
    except RecursionError:
        return None
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _strip(node: ast.AST, prefix: str, executed: Set[str]) -> None:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            name = prefix + child.name
            if name in executed:
                _strip(child, f"{name}.<locals>.", executed)
            else:
                child.body = _outside(child)
        elif isinstance(child, ast.ClassDef):
            _strip(child, f"{prefix}{child.name}.", executed)
        else:
            _strip(child, prefix, executed)


def _outside(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.stmt]:
    """What can be seen of a body from outside: the documentation, and whether it yields."""
    first = function.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    kept: list[ast.stmt] = [first] if documented else []
    if any(isinstance(node, ast.Yield | ast.YieldFrom) for node in _own(function)):
        kept.append(ast.Expr(ast.Yield()))
    return kept or [ast.Pass()]


def _own(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function's body, but not those of the functions and classes inside it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            yield child
            yield from _own(child)
