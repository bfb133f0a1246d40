"""Asking a control API over HTTP: where it is, with which token, and the errors that it answers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx

from serinus import errors
from serinus.environment.api import token as tokens
from serinus.environment.place import announced, folder_of, token_file
from serinus.errors import ControlError, SerinusError

_TIMEOUT = 40.0
_CONNECT = 5.0


def located(
    where: str | Path | None,
    token: str | None,
    project: str | Path = ".",
    environ: Mapping[str, str] = os.environ,
) -> tuple[str, str]:
    """The address of a control API, and its token.

    Args:
        where: its URL, or a project; None is ``SERINUS_CONTROL_URL``, or ``project``.
        token: None is ``SERINUS_CONTROL_TOKEN``, or that of the project whose environment it is.
        project: whose token is taken where a URL is named and it is that of its environment.
        environ: the variables.

    Raises:
        ControlError: no environment runs there, or there is no token for it.
    """
    named = where if where is not None else environ.get("SERINUS_CONTROL_URL") or project
    token = token or environ.get("SERINUS_CONTROL_TOKEN")
    if isinstance(named, str) and named.startswith(("http://", "https://")):
        url = named.rstrip("/")
        _check_safe(url)
        return url, token or _token_of(url, project)
    folder = folder_of(Path(named))
    return announced(folder).url, token or tokens.read(token_file(folder))


def _token_of(url: str, project: str | Path) -> str:
    """The token of a project's environment, if that is the one; another's is never sent."""
    folder = folder_of(Path(project))
    try:
        here = announced(folder).url == url
    except ControlError:
        here = False
    if not here:
        raise ControlError(
            f"there is no token for the environment at {url}",
            "Set SERINUS_CONTROL_TOKEN, or name the project instead of the URL.",
        )
    return tokens.read(token_file(folder))


def _check_safe(url: str) -> None:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ControlError(f"{url!r} is no URL: {error}", "Write it like http://127.0.0.1:9670.") from None
    if parsed.scheme == "http" and not _is_loopback(parsed.host):
        raise ControlError(
            f"the token would travel to {parsed.host} in the clear",
            "The control API is on loopback: forward a port to it (`ssh -L`), or name an https URL.",
        )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class Wire:
    """A control API.

    No connection is kept: on loopback a new one costs little, and nothing has to be closed.

    Args:
        url: where it is.
        token: its token.
        transport: how requests travel.
    """

    def __init__(self, url: str, token: str, *, transport: httpx.BaseTransport | None = None) -> None:
        if not (token.isascii() and token.isprintable()):
            raise ControlError("the token is none: it holds more than printable ASCII", "Copy it again.")
        self.url = url
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
            limits=httpx.Limits(max_keepalive_connections=0),
            trust_env=not _is_loopback(httpx.URL(url).host),  # no proxy is to see what goes to loopback
            verify=url.startswith("https://"),
            transport=transport,
        )

    def get(self, path: str, *, within: float = _TIMEOUT, **query: float | str) -> Any:
        """The document of a GET.

        Raises:
            SerinusError: the one that the environment answered.
            ControlError: it cannot be reached, or answered nothing that can be read.
        """
        return self._ask("GET", path, within, params=query)

    def post(self, path: str, *, within: float = _TIMEOUT, **members: Any) -> Any:
        """The document of a POST; raises as :meth:`get` does."""
        return self._ask("POST", path, within, json=members)

    def _ask(self, method: str, path: str, within: float, **more: Any) -> Any:
        timeout = httpx.Timeout(within, connect=_CONNECT)
        try:
            response = self._http.request(method, path, timeout=timeout, **more)
        except httpx.ConnectError:
            raise ControlError(f"no environment answers at {self.url}", "Start it: `serinus up`.") from None
        except httpx.TimeoutException:
            raise ControlError(
                f"the environment at {self.url} has not answered within {within:g} s",
                "See what `serinus up` says there.",
            ) from None
        except httpx.HTTPError as error:
            raise ControlError(
                f"the environment at {self.url} went away: {error}",
                "See what `serinus up` says there, or start it again.",
            ) from None
        return _document(response, self.url)


def _document(response: httpx.Response, url: str) -> Any:
    try:
        document = response.json()
    except ValueError:
        document = None
    if response.is_success and isinstance(document, dict):
        return document
    if isinstance(document, dict) and "detail" in document:
        raise _error(document)
    raise ControlError(
        f"what answers at {url} is no control API: status {response.status_code}, "
        f"{response.headers.get('content-type', 'no content type')}",
        "Name the URL that `serinus up` said, without a path.",
    )


def _error(problem: Mapping[str, Any]) -> SerinusError:
    """The error that a problem tells of."""
    kind = getattr(errors, str(problem.get("kind")), None)
    if not (isinstance(kind, type) and issubclass(kind, SerinusError)):
        kind = ControlError
    made: SerinusError = kind(str(problem["detail"]), str(problem.get("todo", "")))
    return made
