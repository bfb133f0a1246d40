"""The imports of a module, told from its syntax tree, with those left out that need not succeed. Pure."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

_CATCHING = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}
_COMPARED: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


@dataclass(frozen=True, slots=True)
class Import:
    """One import of one module."""

    name: str
    """Dotted and absolute."""
    line: int
    guarded: bool = False
    """Whether the module goes on when it fails."""
    unless: tuple[str, ...] = ()
    """It runs only where one of these cannot be imported: it stands in the handler of that failure."""
    maybe: tuple[str, ...] = ()
    """Names of its members that may be modules: ``from package import member``."""


@dataclass(frozen=True, slots=True)
class _Place:
    guarded: bool = False
    unless: tuple[str, ...] = ()


def imports(tree: ast.Module, module: str, is_package: bool, python: tuple[int, int]) -> tuple[Import, ...]:
    """Every import in a module, inside functions too.

    Left out is what never runs in a service: under ``TYPE_CHECKING``, under ``__name__ == "__main__"``, for
    another version of Python or another system.

    Args:
        tree: of the module.
        module: its dotted name.
        is_package: whether it is an ``__init__.py``.
        python: version that will run it, ``(3, 11)``.
    """
    package = module if is_package else module.rpartition(".")[0]
    return tuple(_walk(tree.body, _Place(), package, python))


def _walk(
    nodes: list[ast.stmt] | list[ast.AST], place: _Place, package: str, python: tuple[int, int]
) -> Iterator[Import]:
    for node in nodes:
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield Import(alias.name, node.lineno, place.guarded, place.unless)
            case ast.ImportFrom():
                yield _from(node, place, package)
            case ast.Try() | ast.TryStar():
                yield from _tried(node, place, package, python)
            case ast.If(test=test, body=body, orelse=orelse):
                holds = _holds(test, python)
                inner = _Place(True, place.unless) if _asks(test) else place
                yield from _walk(body, inner, package, python) if holds is not False else ()
                yield from _walk(orelse, inner, package, python) if holds is not True else ()
            case ast.With(items=items, body=body) if any(_suppresses(i.context_expr) for i in items):
                yield from _walk(body, _Place(True, place.unless), package, python)
            case _:
                if (name := _literal_import(node)) is not None:
                    yield Import(name, getattr(node, "lineno", 1), place.guarded, place.unless)
                yield from _walk(list(ast.iter_child_nodes(node)), place, package, python)


def _from(node: ast.ImportFrom, place: _Place, package: str) -> Import:
    name = node.module or ""
    if node.level:
        parts = package.split(".") if package else []
        kept = parts[: len(parts) - node.level + 1]
        name = ".".join([*kept, *([name] if name else [])])
    members = tuple(alias.name for alias in node.names if alias.name != "*")
    return Import(name, node.lineno, place.guarded, place.unless, members)


def _tried(
    node: ast.Try | ast.TryStar, place: _Place, package: str, python: tuple[int, int]
) -> Iterator[Import]:
    caught = any(_catches(handler.type) for handler in node.handlers)
    body = tuple(_walk(node.body, _Place(True, place.unless) if caught else place, package, python))
    yield from body
    names = tuple(found.name for found in body)
    for handler in node.handlers:
        inside = _Place(place.guarded, (*place.unless, *names)) if _catches(handler.type) else place
        yield from _walk(handler.body, inside, package, python)
    yield from _walk([*node.orelse, *node.finalbody], place, package, python)


def _catches(kind: ast.expr | None) -> bool:
    if kind is None:
        return True
    kinds = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    return any(_last(one) in _CATCHING for one in kinds)


def _suppresses(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and _last(node.func) == "suppress" and any(map(_catches, node.args))


def _last(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _asks(test: ast.expr) -> bool:
    """Whether a condition asks if a module is there."""
    return any(isinstance(n, ast.Call) and _last(n.func) == "find_spec" for n in ast.walk(test))


def _holds(test: ast.expr, python: tuple[int, int]) -> bool | None:
    """What a condition is in the service; None where that is not known."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        inner = _holds(test.operand, python)
        return None if inner is None else not inner
    if _last(test) == "TYPE_CHECKING":
        return False
    if not isinstance(test, ast.Compare) or len(test.ops) != 1:
        return None
    left, compare = ast.unparse(test.left), _COMPARED.get(type(test.ops[0]))
    known = {"__name__": "", "sys.platform": "linux", "os.name": "posix", "sys.version_info": python}
    if left not in known or compare is None:
        return None
    try:
        value = ast.literal_eval(test.comparators[0])
        if left == "sys.version_info":
            value = tuple(value)[:2]
        return bool(compare(known[left], value))
    except (ValueError, TypeError):
        return None


def _literal_import(node: ast.AST) -> str | None:
    """The module that ``import_module("name")`` or ``__import__("name")`` names."""
    match node:
        case ast.Call(func=called, args=[ast.Constant(value=str(name))]) if name and not name.startswith("."):
            return name if _last(called) in ("import_module", "__import__") else None
    return None
