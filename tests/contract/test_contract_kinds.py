"""Functions and apps are told apart without a framework."""

from __future__ import annotations

import functools
from typing import Any

import fastapi
import flask
import pytest
import starlette.applications

from serinus.contract.kinds import Kind, kind_of
from serinus.errors import ContractError


def typed(text: str) -> bool:
    return bool(text)


def two(text: str, limit: int) -> bool:
    return len(text) < limit


def two_untyped(text, limit):  # type: ignore[no-untyped-def]
    return len(text) < limit


async def three(a: int, b: int, c: int) -> int:
    return a + b + c


def wsgi(environ, start_response):  # type: ignore[no-untyped-def]
    return []


def typed_wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    return []


async def asgi(scope, receive, send):  # type: ignore[no-untyped-def]
    return None


async def typed_asgi(scope: Any, _receive: Any, send: Any) -> None:
    return None


class Wsgi:
    def __call__(self, env, respond):  # type: ignore[no-untyped-def]
        return []


class AnyTwo:
    def __call__(self, a, b):  # type: ignore[no-untyped-def]
        return []


class Asgi:
    async def __call__(self, a, b, c):  # type: ignore[no-untyped-def]
        return None


class Predictor:
    def __call__(self, text: str, limit: int) -> bool:
        return len(text) < limit


class Later:
    async def __call__(self, a: int, b: int, c: int) -> int:
        return a + b + c


@pytest.mark.parametrize(
    ("obj", "kind"),
    [
        (typed, "function"),
        (two, "function"),
        (two_untyped, "function"),
        (three, "function"),
        (Predictor(), "function"),
        (Later(), "function"),
        (functools.partial(two, limit=3), "function"),
        (wsgi, "wsgi"),
        (typed_wsgi, "wsgi"),
        (Wsgi(), "wsgi"),
        (AnyTwo(), "wsgi"),
        (flask.Flask("x"), "wsgi"),
        (flask.Flask("x").wsgi_app, "wsgi"),
        (asgi, "asgi"),
        (typed_asgi, "asgi"),
        (Asgi(), "asgi"),
        (fastapi.FastAPI(), "asgi"),
        (starlette.applications.Starlette(), "asgi"),
        (dict, None),
        (Predictor, None),
        (3, None),
    ],
)
def test_kind_of(obj: Any, kind: Kind | None) -> None:
    if kind is None:
        with pytest.raises(ContractError, match="the entry point is"):
            kind_of(obj)
    else:
        assert kind_of(obj) == kind
