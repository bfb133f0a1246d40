"""Whether the service takes the model for what it is: names, types and shapes."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from serinus.checks import Finding, NotApplicable, Result, check
from serinus.checks.code.files import parsed
from serinus.checks.model.files import onnx_files
from serinus.checks.model.graph import read
from serinus.contract.compare import compare
from serinus.contract.onnx import from_onnx
from serinus.contract.onnx import interface as interface_of
from serinus.image.contracts import Importing, contract_of
from serinus.image.sources import ModelPlace
from serinus.project import Project


class Named(NamedTuple):
    """A name that the code gives to ``InferenceSession.run``."""

    side: str
    """``input`` or ``output``."""
    name: str
    line: int


@check(
    "model.interface",
    why="A new export called its output 'output_0' where the service asked for 'logits'.",
    seconds=0.3,
)
def interface(source: Project, model: ModelPlace) -> Result:
    """The names, types and shapes that the service or its contract relies on are those of the ONNX model.

    Of a service with code, the names that stand as literals in calls of ``run`` are looked at.
    """
    if source.service.entrypoint is None:
        return _bare(source, model)
    graphs = [read(file) for file in onnx_files(model)]
    there = {
        "input": {name for graph in graphs for name in graph.inputs},
        "output": {name for graph in graphs for name in graph.outputs},
    }
    found = {path: tuple(names(tree)) for path, tree in parsed(source).items()}
    if not any(found.values()):
        raise NotApplicable("the service names no input or output of the model by a literal")
    findings = tuple(
        Finding(
            f"the service names the {one.side} {one.name!r}, expected one of "
            f"{', '.join(sorted(there[one.side]))}, as the model has it",
            "Correct the name, or export the model with this one.",
            path,
            one.line,
        )
        for path, each in found.items()
        for one in each
        if one.name not in there[one.side]
    )
    return Result("" if findings else f"{sum(map(len, found.values()))} names are the model's", findings)


def _bare(project: Project, model: ModelPlace) -> Result:
    graph = from_onnx(model.source)
    promised = contract_of(project, model.source, _unneeded, lambda event: None).contract
    if promised is None:
        raise NotApplicable("the service has no contract")
    findings = []
    # The promise may ask for more and say less than the graph: what it takes, the graph must take, and what
    # the graph answers, it must have promised. So the graph stands where a new version would.
    for change in compare(promised, graph):
        if change.breaking:
            told = f"the contract does not fit the model's {change.side}: {change.why}"
            findings.append(
                Finding(told, "Correct the schema, or take the one of the model.", pointer=change.pointer)
            )
    shown = interface_of(model.source)
    ends = (", ".join(f"{each.name} {each}" for each in side) for side in (shown.inputs, shown.outputs))
    return Result("" if findings else " -> ".join(ends), tuple(findings))


def _unneeded() -> Importing:
    raise AssertionError("a bare ONNX file is not imported")


def names(tree: ast.Module) -> Iterator[Named]:
    """The literal names in calls like ``session.run(["logits"], {"input_ids": ids})``. Pure.

    A dictionary may have a name of its own, where that is bound once in its function. Whatever is not written
    out is left alone, and so is ``run`` of a module that was imported.
    """
    modules = {a.asname or a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    scopes = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    for scope in (*scopes, tree):
        bound = _bound(scope)
        for node in _own(scope):
            match node:
                case ast.Call(func=ast.Attribute(value=receiver, attr="run")):
                    if isinstance(receiver, ast.Name) and receiver.id in modules:
                        continue
                    yield from _called(node, bound)


def _called(call: ast.Call, bound: Mapping[str, ast.expr]) -> Iterator[Named]:
    given = dict(zip(("output_names", "input_feed"), call.args, strict=False))
    given |= {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
    outputs, feed = given.get("output_names"), given.get("input_feed")
    feed = bound.get(feed.id) if isinstance(feed, ast.Name) else feed
    whole = isinstance(outputs, ast.Constant) and outputs.value is None
    if not isinstance(feed, ast.Dict) or not (whole or isinstance(outputs, ast.List | ast.Tuple)):
        return
    asked = outputs.elts if isinstance(outputs, ast.List | ast.Tuple) else []
    for side, written in (("output", asked), ("input", feed.keys)):
        for each in written:
            if isinstance(each, ast.Constant) and isinstance(each.value, str):
                yield Named(side, each.value, each.lineno)


def _bound(scope: ast.AST) -> dict[str, ast.expr]:
    """The names that are bound exactly once in a scope, by an assignment."""
    stores = [n.id for n in _own(scope) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    found = {}
    for node in _own(scope):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if stores.count(name) == 1:
                found[name] = value
    return found


def _own(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a scope but for those of the functions in it."""
    for node in ast.iter_child_nodes(scope):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
            yield from _own(node)
