"""The way to a registry: which addresses may be spoken to in clear, and what went wrong on it. Pure."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urljoin, urlsplit, urlunsplit

from serinus.errors import RegistryError, Unavailable

INSECURE = "SERINUS_REGISTRY_INSECURE"
"""Variable: registries, separated by commas, that may be spoken to over plain HTTP."""


class Interrupted(Unavailable):
    """A request failed in a way that may pass: it can be sent again.

    Args:
        asked: seconds that the registry asked to wait, if it did.
    """

    def __init__(self, message: str, todo: str = "", asked: float | None = None) -> None:
        super().__init__(message, todo)
        self.asked = asked


def is_loopback(host: str) -> bool:
    """Whether a host, with or without a port, is this machine by its name or number alone."""
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_plain(registry: str, insecure: bool | None, variable: str) -> bool:
    """Whether a registry is spoken to over plain HTTP.

    Args:
        registry: host and port, as in references.
        insecure: what the caller asks for; None goes by the rule: loopback, and what the variable lists.
        variable: value of ``SERINUS_REGISTRY_INSECURE``.
    """
    if insecure is not None:
        return insecure
    listed = {host.strip() for host in variable.split(",")}
    return registry in listed or (is_loopback(registry) and not registry.endswith(":443"))


def follow(url: str, location: str) -> str:
    """The address that a ``Location`` header means, seen from the request's address.

    The scheme of the same host never falls back from https to http, as proxies in front of a registry often
    make it; another host over http is only right when the registry itself is spoken to so.

    Raises:
        RegistryError: the address is of no use.
    """
    old, new = urlsplit(url), urlsplit(urljoin(url, location))
    if old.scheme == "https" and new.scheme == "http" and old.hostname == new.hostname:
        new = new._replace(scheme="https", netloc=old.netloc)
    if new.scheme not in {"https", old.scheme} or not new.hostname:
        raise RegistryError(
            f"{old.hostname} sent us on to {location[:200]!r}; expected an address over {old.scheme}",
            "Check the registry's configuration: its own address, and its proxy's.",
        )
    return urlunsplit(new)


def same_origin(url: str, other: str) -> bool:
    """Whether two addresses share scheme, host and port, so that what one may see the other may."""
    a, b = urlsplit(url), urlsplit(other)
    ports = {"http": 80, "https": 443}
    return (a.scheme, a.hostname, a.port or ports.get(a.scheme)) == (
        b.scheme,
        b.hostname,
        b.port or ports.get(b.scheme),
    )


def failure(error: BaseException, host: str) -> RegistryError:
    """The error to raise for a failed connection: :class:`Interrupted` when it may pass.

    Args:
        error: what the HTTP library raised; its causes are looked through.
        host: which was spoken to.
    """
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Unavailable(
                f"the certificate of {host} cannot be trusted: {cause.verify_message}",
                "Name your own authority's file in SSL_CERT_FILE, or correct the registry's certificate.",
            )
        if isinstance(cause, ssl.SSLError) and "CERTIFICATE" not in (cause.reason or ""):
            if cause.reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"}:
                return Unavailable(
                    f"{host} answered plain HTTP where HTTPS was expected",
                    f"If that is meant, set {INSECURE}={host}.",
                )
            return Unavailable(f"no secure connection to {host}: {cause.reason or cause}", "Check its TLS.")
        if isinstance(cause, socket.gaierror):
            message = f"there is no host {host.rpartition(':')[0] or host}: {cause.strerror}"
            todo = "Check the spelling of the registry, and the network."
            kind = Interrupted if cause.errno == socket.EAI_AGAIN else Unavailable
            return kind(message, todo)
    return Interrupted(
        f"the connection to {host} failed: {str(error) or type(error).__name__}",
        "Check the network and whether the registry runs; then run the command again.",
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__
