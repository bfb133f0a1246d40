"""A typed function -> its contract, and ``python -m serinus.contract.infer MODULE:ATTRIBUTE [--lazy]``.

The rules, for ``def predict(...) -> Answer``:

- the parameters that may be given by position form the request. One: the body is that parameter. Several: the
  body is an object with these names, a default makes one optional, and no other member is allowed;
- keyword-only parameters are no part of the request. ``model`` receives what the module's ``setup()``
  returned; any other needs a default;
- of a function marked by ``serinus.batched``, ``(list[X]) -> list[Y]``, the contract is that of one element;
- an object whose type says nothing about further members (a dataclass, a TypedDict, a pydantic model) takes
  none in a request. In a response they are left open: a new member does not break a caller.

The program imports the module and prints one JSON document: ``{"contract": ...}`` for a typed function,
``{"app": "wsgi" | "asgi", "openapi": document or null}`` for an app, ``{"error": {"message", "todo"}}`` and
exit code 1 otherwise. ``"executed"`` lists the project's functions that ran meanwhile. What the module itself
prints goes to stderr.

pydantic is imported when a function is looked at, and not before: serving an app does without it.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from serinus.contract.executed import executed
from serinus.contract.kinds import Kind, is_async, kind_of
from serinus.errors import ContractError, SerinusError

if TYPE_CHECKING:
    from serinus.contract.typed import Decoder, Encoder, Signature

__all__ = ["Decoder", "Encoder", "Kind", "Signature", "is_async", "kind_of", "load", "main", "signature"]

BATCHED = "__serinus_batched__"
"""The attribute that ``serinus.batched`` puts on a function over lists."""


def __getattr__(name: str) -> Any:
    if name in ("Decoder", "Encoder", "Signature"):
        return getattr(import_module("serinus.contract.typed"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def signature(function: Callable[..., Any], *, batched: bool | None = None) -> Signature:
    """The contract of a typed function, and how its requests are decoded and its results encoded.

    Args:
        function: sync or async, or an object that can be called.
        batched: whether it works on lists of requests; by default whether ``serinus.batched`` marked it.

    Raises:
        ContractError: an annotation is missing or has no JSON Schema; the message names the function, its
            file and line, and what to write.
    """
    from serinus.contract.typed import read_signature

    return read_signature(function, hasattr(function, BATCHED) if batched is None else batched)


def load(entrypoint: str) -> Any:
    """Import ``module:attribute`` (the attribute may have dots).

    Raises:
        ContractError: there is no such module or attribute. What the module itself raises passes through.
    """
    module_name, _, attribute = entrypoint.partition(":")
    if not module_name or not attribute:
        raise ContractError(
            f"the entry point is {entrypoint!r}, expected module:attribute", "Write `service:predict`, say."
        )
    try:
        found: Any = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise ContractError(
            f"there is no module {error.name!r} in {os.getcwd()}, which service.entrypoint "  # noqa: PTH109
            f"{entrypoint!r} names",
            "Correct service.entrypoint, or add the file.",
        ) from None
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise ContractError(
                f"{module_name} has no attribute {attribute!r}, which service.entrypoint names",
                f"Define {name!r} in the module, or correct service.entrypoint.",
            )
        found = getattr(found, name)
    return found


def describe(entrypoint: str) -> dict[str, Any]:
    """The document that the program prints for an entry point.

    Raises:
        ContractError: as :func:`load`, :func:`kind_of` and :func:`signature`.
    """
    found = load(entrypoint)
    if "serinus.contract.lazy" in sys.modules:
        sys.modules["serinus.contract.lazy"].refuse(found)
    kind = kind_of(found)
    if kind == "function":
        return {"contract": json.loads(signature(found).contract.to_json())}
    return {"app": kind, "openapi": _openapi(found)}


def _openapi(app: Any) -> Any:
    """What the app says about itself (FastAPI and others have ``openapi()``); None when it says nothing."""
    describe_itself = getattr(app, "openapi", None)
    if not callable(describe_itself):
        return None
    try:
        document = describe_itself()
        return json.loads(json.dumps(document, allow_nan=False))
    except Exception:  # noqa: BLE001 - an app that fails to describe itself can still be served
        traceback.print_exc()
        return None


def _report(entrypoint: str) -> tuple[dict[str, Any], bool]:
    try:
        with executed(os.getcwd()) as ran:  # noqa: PTH109
            document = describe(entrypoint)
        return {**document, "executed": sorted(ran)}, True
    except SerinusError as error:
        return {"error": {"message": error.message, "todo": error.todo}}, False
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a module does when it is imported
        _print_own_frames(error)
        message = f"importing {entrypoint.partition(':')[0]} failed: {type(error).__name__}: {error}"
        todo = "Correct the module; the traceback is above."
        if isinstance(error, ModuleNotFoundError):
            missing = f"Add the package that has {error.name} to the project's requirements"
            todo = f"{missing}, or correct the import; the traceback is above."
        return {"error": {"message": message, "todo": todo}}, False


def _print_own_frames(error: BaseException) -> None:
    """The traceback without the frames of Python's import machinery and of this program."""
    told = traceback.TracebackException.from_exception(error)
    own = [
        f for f in told.stack if not f.filename.startswith("<frozen importlib") and not _is_ours(f.filename)
    ]
    told.stack = traceback.StackSummary.from_list(own)
    sys.stderr.write("".join(told.format()))


def _is_ours(file: str) -> bool:
    return file == __file__ or file == sys.modules["importlib"].__file__


def main(arguments: Sequence[str]) -> int:
    """The program. Returns the exit code; writes to the process's stdout as it was when it began.

    With ``--lazy``, third-party modules are stood in for, since importing them takes longer than the rest of
    a build. When anything fails that way the program begins again without it.
    """
    lazily = "--lazy" in arguments
    entrypoints = [a for a in arguments if a != "--lazy"]
    if len(entrypoints) != 1:
        sys.stderr.write("usage: python -m serinus.contract.infer MODULE:ATTRIBUTE [--lazy]\n")
        return 2
    sys.stdout.flush()
    output = os.dup(1)
    os.dup2(2, 1)
    if "" not in sys.path and os.getcwd() not in sys.path:  # noqa: PTH109
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    if lazily:
        from serinus.contract import lazy

        with lazy.imports(os.getcwd()):  # noqa: PTH109
            document, well = _report(entrypoints[0])
        if not well:
            os.dup2(output, 1)
            os.execv(sys.executable, [sys.executable, *_options(), "-m", __spec__.name, entrypoints[0]])  # noqa: S606
    else:
        document, well = _report(entrypoints[0])
    sys.stdout.flush()
    with os.fdopen(output, "w", encoding="utf-8") as out:
        out.write(json.dumps(document, ensure_ascii=False, sort_keys=True) + "\n")
    return 0 if well else 1


def _options() -> list[str]:
    """What the interpreter was started with: without ``-S``, say, it would see other packages."""
    given = sys.orig_argv
    return given[1 : given.index("-m")] if "-m" in given else []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
