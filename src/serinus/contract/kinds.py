"""What an entry point is: a typed function, a WSGI app or an ASGI app, told apart without any framework.

WSGI is PEP 3333: a callable of ``environ`` and ``start_response``. ASGI is version 3: an async callable of
``scope``, ``receive`` and ``send``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal

from serinus.errors import ContractError

Kind = Literal["function", "wsgi", "asgi"]
_ASGI = ("scope", "receive", "send")


def kind_of(obj: Any) -> Kind:
    """What the entry point is.

    A plain function is an app only when its parameters are called so; an object that can be called is one
    when it takes two (WSGI), or is async and takes three (ASGI), and says nothing about their types.

    Raises:
        ContractError: it cannot be called, or is a class.
    """
    if inspect.isclass(obj):
        raise ContractError(
            f"the entry point is the class {obj.__qualname__}, expected a function or an app",
            f"Make one in the module, `app = {obj.__qualname__}()`, and name `app`.",
        )
    if not callable(obj):
        raise ContractError(
            f"the entry point is of type {type(obj).__qualname__}, which cannot be called; "
            "expected a typed function, a WSGI app or an ASGI app",
            "Name the function or the app in service.entrypoint.",
        )
    if callable(getattr(obj, "wsgi_app", None)):
        return "wsgi"
    parameters = _positional(obj)
    if parameters is None:
        return "function"
    names = [p.name.lower().lstrip("_") for p in parameters]
    if len(names) == 3 and sum(a == b for a, b in zip(names, _ASGI, strict=True)) >= 2:
        return "asgi"
    if len(names) == 2 and names[0].startswith("env") and names[1].startswith(("start", "resp")):
        return "wsgi"
    plain = inspect.isroutine(obj) or any(p.annotation is not p.empty for p in parameters)
    if not plain and len(names) == 3 and is_async(obj):
        return "asgi"
    return "wsgi" if not plain and len(names) == 2 and not is_async(obj) else "function"


def is_async(obj: Callable[..., Any]) -> bool:
    """Whether calling it gives an awaitable: an async function, or an object whose ``__call__`` is one."""
    return inspect.iscoroutinefunction(inspect.unwrap(obj)) or inspect.iscoroutinefunction(
        getattr(type(obj), "__call__", None)  # noqa: B004 - whether it is async, not whether it is there
    )


def _positional(obj: Callable[..., Any]) -> list[inspect.Parameter] | None:
    """The parameters that a caller must give by position; None where Python cannot say."""
    try:
        parameters = inspect.signature(obj).parameters.values()
    except (TypeError, ValueError):
        return None
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p for p in parameters if p.kind in places and p.default is p.empty]
