"""HTTP/1.1 as it stands on the wire: requests of any bytes, answers read whole (RFC 9110, RFC 9112).

An HTTP client mends what it is given and retries what fails; a check must be able to send half a request,
and must see what came back.
"""

from __future__ import annotations

import http.client
import json
import socket
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any, cast

from serinus.errors import ServiceError

PATIENCE = 30.0
"""Seconds that an answer may take: many checks at once on a slow machine must not look like a fault."""
JSON = ("content-type", "application/json")
_CLOSE_WAIT = 8
"""State of a connection that the other side has closed without a reset: linux/tcp_states.h."""
_RESET = 0.1
"""Seconds after the end of a connection within which a reset comes."""


class NoAnswer(ServiceError):
    """The service closed or reset the connection, or nobody listens, before a byte of an answer came."""


class Late(ServiceError):
    """The service did not answer in time."""


class Malformed(ServiceError):
    """What came is not an HTTP answer, or not the whole of one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    """Names in lower case."""
    body: bytes = b""
    closes: bool = False
    """Whether the connection ends with it."""

    def header(self, name: str) -> str | None:
        """The first field of a name in lower case."""
        return next((value for known, value in self.headers if known == name), None)

    @property
    def is_json(self) -> bool:
        """Whether its content type is JSON, and its body too."""
        kind = (self.header("content-type") or "").partition(";")[0].strip().lower()
        if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
            return False
        return self.document is not None or self.body.strip() == b"null"

    @property
    def document(self) -> Any:
        """Its body as decoded JSON; None where it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    def __str__(self) -> str:
        text = " ".join(self.body[:160].decode("utf-8", "replace").split())
        return f"{self.status}, {text!r}" if text else f"{self.status} and an empty body"


@dataclass(frozen=True, slots=True)
class Request:
    """A request that can be sent again and again."""

    method: str = "GET"
    path: str = "/"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None

    def head(self, **fields: str) -> bytes:
        """Request line and header fields; those in ``fields`` (``_`` for ``-``) replace or add."""
        length = {} if self.body is None else {"content-length": str(len(self.body))}
        told = {"host": "localhost"} | length | dict(self.headers)
        told |= {name.replace("_", "-"): value for name, value in fields.items()}
        if "transfer-encoding" in told:
            told.pop("content-length", None)
        lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
        return f"{self.method} {self.path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")

    def whole(self, **fields: str) -> bytes:
        """All of its bytes."""
        return self.head(**fields) + (self.body or b"")


def chunks(pieces: Iterable[bytes], *, last: bool = True) -> bytes:
    """A body in the chunked transfer coding (RFC 9112, section 7.1).

    Args:
        pieces: none of them empty.
        last: whether the body ends with them.
    """
    coded = b"".join(b"%X\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return coded + b"0\r\n\r\n" if last else coded


class Connection:
    """One connection; ``with`` it is closed at the end.

    Args:
        address: host and port.
        patience: seconds that anything may take.

    Raises:
        NoAnswer: nobody listens.
        Late: nobody took the connection in time.
    """

    def __init__(self, address: tuple[str, int], patience: float = PATIENCE) -> None:
        try:
            self._socket = socket.create_connection(address, patience)
        except TimeoutError:
            raise Late(f"no connection to port {address[1]} within {patience:g} s") from None
        except OSError as error:
            raise NoAnswer(f"no connection to port {address[1]}: {error.strerror or error}") from None
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._patience = patience
        self._shared = _Shared(self._socket.makefile("rb"))

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close it; what has not been read is dropped."""
        self._shared.reader.close()
        self._socket.close()

    def reset(self) -> None:
        """Break it off with RST (``socket(7)``, ``SO_LINGER`` of no time)."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def send(self, data: bytes) -> bool:
        """Send bytes; whether the other side still took them: it may have answered and gone."""
        try:
            self._socket.sendall(data)
        except TimeoutError:
            raise Late(f"the service did not read on for {self._patience:g} s") from None
        except OSError:
            return False
        return True

    def answer(self, method: str = "POST") -> Answer:
        """The next answer; those before must have been read.

        Args:
            method: of its request: the answer to HEAD has no body.

        Raises:
            NoAnswer, Late, Malformed: there is none.
        """
        response = http.client.HTTPResponse(cast("socket.socket", self._shared), method=method)
        begun = False
        try:
            response.begin()
            begun = True
            body = response.read()
        except http.client.RemoteDisconnected:
            raise NoAnswer("the service closed the connection without an answer") from None
        except TimeoutError:
            raise Late(f"no answer within {self._patience:g} s") from None
        except OSError as error:
            if begun:
                raise Malformed(f"the answer broke off: {error.strerror or error}") from None
            raise NoAnswer(f"the connection broke without an answer: {error.strerror or error}") from None
        except http.client.IncompleteRead as error:
            raise Malformed(f"the answer broke off after {len(error.partial)} bytes of its body") from None
        except (http.client.HTTPException, ValueError) as error:
            raise Malformed(f"what came is no HTTP answer: {error!r}") from None
        headers = tuple((name.lower(), value) for name, value in response.getheaders())
        return Answer(response.status, headers, body, response.will_close)

    def ask(self, request: Request, **fields: str) -> Answer:
        """The answer to one request."""
        self.send(request.whole(**fields))
        return self.answer(request.method)

    def ended(self, patience: float = PATIENCE) -> bool:
        """Whether the service closes the connection, and sends nothing more."""
        self._socket.settimeout(patience)
        try:
            return self._shared.reader.read(1) == b""
        except TimeoutError:
            return False
        except OSError:
            return True

    def was_read(self) -> bool | None:
        """Whether the other side read all that was sent before it closed; None where nobody can tell.

        A side that closes with bytes unread, or to which bytes come after it has closed, resets the
        connection (RFC 9293, section 3.10.7; RFC 1122, section 4.2.2.13): without a reset all was read.
        """
        if not hasattr(socket, "TCP_INFO"):
            return None
        time.sleep(_RESET)
        try:
            return self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _CLOSE_WAIT
        except OSError:
            return None


class _Shared:
    """What ``http.client`` reads answers from, one after the other: it would close what it has read."""

    def __init__(self, reader: IO[bytes]) -> None:
        self.reader = reader

    def makefile(self, mode: str) -> _Kept:
        return _Kept(self.reader)


class _Kept:
    """A reader that stays open when its user closes it."""

    def __init__(self, reader: IO[bytes]) -> None:
        self._reader = reader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def close(self) -> None:
        """Nothing: the connection is closed by its owner."""

    def flush(self) -> None:
        """Nothing: it only reads."""


def once(address: tuple[str, int], request: Request, patience: float = PATIENCE, **fields: str) -> Answer:
    """The answer to one request on a connection of its own.

    Raises:
        NoAnswer, Late, Malformed: there is none.
    """
    with Connection(address, patience) as connection:
        return connection.ask(request, **fields)
