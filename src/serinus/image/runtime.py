"""What of Serinus goes into an image: its serving files, and what they require of the package index.

Both are said here, once. The dependencies layer holds :func:`requirements`, the runtime layer
:func:`runtime_files`; nothing that a build needs is among them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from serinus.image import RUNTIME
from serinus.project import Project

Kind = Literal["function", "app", "onnx"]
"""Kind of service: a typed function, a WSGI or ASGI app, a bare ONNX file."""

_EVERY = ("granian>=2.8", "jsonschema-rs>=0.60", "orjson>=3.10", "uvloop>=0.21")
_FURTHER: dict[Kind, tuple[str, ...]] = {
    "function": ("pydantic>=2.11",),
    "app": (),
    "onnx": ("numpy>=1.26", "onnxruntime>=1.20"),
}
_MODULES = ("__init__.py", "errors.py")
_PACKAGES = ("contract", "serving")
_FRAMEWORKS = frozenset(
    ("Bottle", "Falcon", "FastAPI", "Flask", "Litestar", "Quart", "Sanic", "Starlette",
     "get_asgi_application", "get_wsgi_application")
)  # fmt: skip
"""What a web application is made by, where it is made in the module that names it."""


def requirements(kind: Kind) -> tuple[str, ...]:
    """What serving a service of this kind requires: requirement lines, sorted."""
    return tuple(sorted((*_EVERY, *_FURTHER[kind])))


def runtime_files(package: Path = Path(__file__).parents[1]) -> tuple[tuple[str, Path], ...]:
    """The serving part of Serinus as (absolute path in the image, file here), sorted by path; ``.py`` alone.

    Args:
        package: the folder of the package ``serinus``.
    """
    files = [package / name for name in _MODULES]
    for name in _PACKAGES:
        files += (package / name).rglob("*.py")
    placed = ((f"{RUNTIME}/serinus/{file.relative_to(package).as_posix()}", file) for file in files)
    return tuple(sorted(placed))


def kind_of(project: Project) -> Kind:
    """The kind of a project's service, told from its source without importing it.

    Importing needs the dependencies, and those depend on the kind. Where the source does not show that the
    entry point is an app (it is imported from elsewhere, say), it is taken for a function: that requires
    the most, so it is never too little.
    """
    if project.service.entrypoint is None:
        return "onnx"
    module, _, attribute = project.service.entrypoint.partition(":")
    place = project.root.joinpath(*module.split("."))
    for file in (place.with_suffix(".py"), place / "__init__.py"):
        if file.is_file():
            return _told(file.read_bytes(), attribute.partition(".")[0])
    return "function"


def _told(source: bytes, name: str) -> Kind:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return "function"  # the one who imports it has the better message
    last = list(_bindings(tree, name))[-1:]
    return "app" if last and _is_app(last[0]) else "function"


def _bindings(tree: ast.Module, name: str) -> Iterator[ast.stmt]:
    for node in tree.body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() if node.name == name:
                yield node
            case ast.Assign(targets=[ast.Name(id=bound), *_]) if bound == name:
                yield node
            case ast.AnnAssign(target=ast.Name(id=bound)) if bound == name:
                yield node


def _is_app(node: ast.stmt) -> bool:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            # app(environ, start_response) or app(scope, receive, send), undecorated and without annotations.
            arguments = node.args.args
            annotated = node.returns or any(a.annotation for a in arguments)
            return not annotated and not node.decorator_list and len(arguments) in (2, 3)
        case ast.Assign(value=ast.Call(func=made)) | ast.AnnAssign(value=ast.Call(func=made)):
            last = made.attr if isinstance(made, ast.Attribute) else getattr(made, "id", "")
            return last in _FRAMEWORKS
        case _:
            return False
