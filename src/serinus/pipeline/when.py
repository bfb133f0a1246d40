"""Conditions of steps: a small language over the parameters, read by Python's parser, never run by Python.

``and``, ``or``, ``not``, ``== != < <= > >=``, parentheses, numbers, texts, ``true`` and ``false``, and names
of parameters; nothing else. Texts stand in single or double quotes.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from serinus.errors import PipelineError
from serinus.pipeline import Value

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_LITERALS = {"true": True, "false": False}
_KNOWN = "and, or, not, ==, !=, <, <=, >, >=, parentheses, numbers, texts, true, false and parameters"


def parse(text: str) -> ast.expr:
    """The condition as a tree that holds nothing else than what is allowed.

    Raises:
        PipelineError: it is not one; says what was found.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        what = error.msg if isinstance(error, SyntaxError) else str(error) or type(error).__name__
        raise PipelineError(f"{text!r} is no condition: {what}", f"Use {_KNOWN}.") from None
    _allowed(tree, text)
    return tree


def _allowed(tree: ast.expr, text: str) -> None:
    for node in ast.walk(tree):
        match node:
            case ast.BoolOp() | ast.Name() | ast.And() | ast.Or() | ast.Not() | ast.Load() | ast.USub():
                continue
            case ast.UnaryOp(op=ast.Not()):
                continue
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                if not isinstance(number, bool):
                    continue
            case ast.Constant(value=bool() | int() | float() | str()):
                continue
            case ast.Compare() if all(type(op) in _COMPARE for op in node.ops):
                continue
            case ast.cmpop() if type(node) in _COMPARE:
                continue
        part = ast.get_source_segment(text.strip(), node) or type(node).__name__
        raise PipelineError(f"{text!r} has {part!r}, which no condition can have", f"Use {_KNOWN}.")


def names(tree: ast.expr) -> Iterator[str]:
    """The parameters that a condition asks for."""
    return (n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id not in _LITERALS)


def holds(text: str, values: Mapping[str, Value]) -> bool:
    """Whether a condition holds of the parameters; a value by itself holds as Python says of it.

    Raises:
        PipelineError: it is no condition, or compares what cannot be compared.
    """
    try:
        return bool(_value(parse(text), values))
    except TypeError as error:
        raise PipelineError(
            f"the condition {text!r} compares what cannot be compared: {error}",
            "Compare a parameter with a value of its own type.",
        ) from None


def _value(node: ast.expr, values: Mapping[str, Value]) -> Any:
    match node:
        case ast.BoolOp(op=ast.And(), values=parts):
            return all(_value(part, values) for part in parts)
        case ast.BoolOp(values=parts):
            return any(_value(part, values) for part in parts)
        case ast.UnaryOp(operand=part):
            value = _value(part, values)
            return not value if isinstance(node.op, ast.Not) else -value
        case ast.Compare():
            return _compared(node, values)
        case ast.Name(id=name):
            return _LITERALS[name] if name in _LITERALS and name not in values else values[name]
        case ast.Constant(value=value):
            return value
    raise AssertionError(node)  # parse lets nothing else through


def _compared(node: ast.Compare, values: Mapping[str, Value]) -> bool:
    """A chain as Python reads it: ``1 < epochs < 5``."""
    left = _value(node.left, values)
    for op, right in zip(node.ops, node.comparators, strict=True):
        after = _value(right, values)
        if not _COMPARE[type(op)](left, after):
            return False
        left = after
    return True
