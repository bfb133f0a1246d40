"""What a registry's refusal means, as an error of ours. Pure."""

from __future__ import annotations

import json

from serinus.errors import NotFound, RegistryError, Unauthorized
from serinus.registry.credentials import PREFIX, Search, variable_part
from serinus.registry.network import Interrupted
from serinus.registry.reference import HUB
from serinus.registry.retry import is_transient


def explain(body: bytes, limit: int = 300) -> str:
    """What a registry says about a refusal: its error codes and messages, or the beginning of its text."""
    try:
        errors = json.loads(body)["errors"]
        words = [f"{e.get('code', '')}: {e.get('message', '')}".strip(": ") for e in errors]
        text = "; ".join(filter(None, words))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        text = " ".join(body.decode("utf-8", "replace").split())
        if text.startswith("<"):
            text = ""  # a page for a browser says nothing here
    return text if len(text) <= limit else text[: limit - 1] + "…"


def refusal(status: int, body: bytes, asked: float | None, registry: str, what: str) -> RegistryError:
    """The error for an answer that is none of those expected.

    Args:
        status: of the answer; 401 is not for here.
        body: of the answer.
        asked: seconds the registry asked to wait.
        registry: which answered.
        what: names the object.
    """
    words = explain(body)
    said = f" ({words})" if words else ""
    if is_transient(status):
        todo = "Wait a while and run the command again."
        return Interrupted(f"{registry} answered {status} for {what}{said}", todo, asked)
    if status == 404:
        todo = "Check the spelling, and whether it was pushed; some registries hide what one may not see."
        return NotFound(f"{registry} has not got {what}{said}", todo)
    if status == 403:
        todo = f"Ask for the right to it, or log in to {registry} as somebody else."
        return Unauthorized(f"{registry} forbids access to {what}{said}", todo)
    if status == 413:
        todo = "Raise the limit of the registry, or of the proxy in front of it."
        return RegistryError(f"{what} is larger than {registry} accepts{said}", todo)
    if status == 400 and b"HTTPS server" in body:
        todo = f"Name it by its host name, not by loopback, and leave it out of {PREFIX}INSECURE."
        return RegistryError(f"{registry} speaks HTTPS, and was spoken to over plain HTTP", todo)
    return RegistryError(
        f"{registry} answered {status} for {what}{said}; expected success",
        "Check that the address is that of a registry, and its log.",
    )


def denied(search: Search, registry: str, what: str, words: str) -> Unauthorized:
    """The error for a 401 after everything we have was tried; names the credentials, never a secret."""
    said = f" ({words})" if words else ""
    variables = f"{PREFIX}{variable_part(registry)}_USERNAME and _PASSWORD"
    login = f"docker login{'' if registry == HUB else ' ' + registry}"
    if search.credentials:
        return Unauthorized(
            f"{registry} refused {search.credentials} for {what}{said}",
            f"Check the password and the rights: `{login}`, or {variables}.",
        )
    return Unauthorized(
        f"{registry} wants credentials for {what}, and none were found in {', '.join(search.looked)}{said}",
        f"Log in with `{login}`, or set {variables}.",
    )
