"""What the libraries of the sources raise, as errors of ours that say what to do.

They share no class and no attribute: an error is judged by the HTTP status that it or its causes carry, else
by the names of their classes.
"""

from __future__ import annotations

import errno
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from serinus.errors import ModelError, SerinusError, SourceUnavailable

_UNKNOWN = (
    "NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "TokenRetrievalError",
    "SSOTokenLoadError", "UnauthorizedSSOTokenError", "ProfileNotFound", "NoRegionError",
    "DefaultCredentialsError", "RefreshError", "ClientAuthenticationError", "CredentialUnavailableError",
    "GatedRepoError", "PermissionError",
)  # fmt: skip
"""Who we are is not known, or not enough."""
_UNREACHED = (
    "ConnectionError", "ConnectError", "ConnectTimeout", "ConnectTimeoutError", "ConnectionClosedError",
    "EndpointConnectionError", "ReadTimeout", "ReadTimeoutError", "ReadError", "RemoteProtocolError",
    "ClientConnectionError", "ClientConnectorError", "ClientPayloadError", "ServerDisconnectedError",
    "ServiceRequestError", "ServiceResponseError", "IncompleteReadError", "ResponseStreamingError",
    "NewConnectionError", "MaxRetryError", "ProtocolError", "NameResolutionError", "TimeoutError", "gaierror",
    "ConnectionResetError", "ConnectionRefusedError", "BrokenPipeError", "SSLError", "OfflineModeIsEnabled",
    "ChunkedEncodingError",
)  # fmt: skip
"""The network, or the other end of it."""
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG)
_ABSENT = ("FileNotFoundError", "ResourceNotFoundError", "EntryNotFoundError", "NoSuchBucket", "NoSuchKey")


def need(module: str, extra: str, what: str) -> Any:
    """Import a library that came with an extra.

    Raises:
        ModelError: it is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ModelError(
            f"{what} needs {error.name}, which is not installed", f"pip install 'serinus[{extra}]'"
        ) from None


@contextmanager
def explained(what: str, login: str) -> Iterator[None]:
    """Tell what a library raises in the block as an error of ours.

    Args:
        what: names the model, ``the model s3://...``.
        login: says which variables or login are needed there, in the imperative.
    """
    try:
        yield
    except SerinusError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _DISK:
            raise  # of this machine: whoever gave us the folder tells it
        raise failure(error, what, login) from error


def failure(error: BaseException, what: str, login: str) -> ModelError:
    """The error of ours for one of a library. Pure."""
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error)):
        return ModelError(
            f"{what} is behind a certificate that cannot be trusted: {_told(error)}",
            "Name the file of your own authority in SSL_CERT_FILE, AWS_CA_BUNDLE or REQUESTS_CA_BUNDLE.",
        )
    status = next((found for cause in _causes(error) if (found := _status(cause))), 0)
    names = {kind.__name__ for cause in _causes(error) for kind in type(cause).__mro__}
    told = _told(error)
    if status in {401, 403, 407} or (not status and names & set(_UNKNOWN)):
        return ModelError(f"{what} may not be read: {told}", login)
    if status == 404 or (not status and names & set(_ABSENT)):
        return ModelError(
            f"there is no {what.removeprefix('the ')}: {told}", "Correct model.source, or log in where it is."
        )
    if status in {408, 429} or status >= 500 or (not status and names & set(_UNREACHED)):
        return SourceUnavailable(
            f"{what} cannot be reached: {told}",
            "Check the network and the address; then run the command again.",
        )
    return ModelError(
        f"{what} cannot be fetched: {told}", "Correct what the message names, and run the command again."
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    met: set[int] = set()
    while seen is not None and id(seen) not in met:
        met.add(id(seen))
        yield seen
        seen = seen.__cause__ or seen.__context__


def _status(error: BaseException) -> int:
    """The HTTP status that an error carries; 0 for none."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore's
        return _number(response.get("ResponseMetadata", {}).get("HTTPStatusCode"))
    if callable(told := getattr(error, "get_http_status_code", None)):  # MLflow's
        return _number(told())
    own = (getattr(error, name, None) for name in ("status_code", "status", "code"))
    return next(filter(None, map(_number, (getattr(response, "status_code", None), *own))), 0)


def _number(value: object) -> int:
    return value if isinstance(value, int) and 400 <= value <= 599 else 0


def _told(error: BaseException) -> str:
    """What an error says, on one line, short, and without the queries of URLs, which may hold signatures."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = re.sub(r"(https?://[^\s?'\"]+)\?[^\s'\"]+", r"\1?...", text)
    return text if len(text) <= 400 else f"{text[:397]}..."
