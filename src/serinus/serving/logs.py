"""Logs: one JSON object a line, on stderr.

Every line has ``time`` (RFC 3339, UTC), ``level`` and ``message``; lines about a request have ``request_id``,
``method``, ``route``, ``status`` and ``seconds``, and where answers are noted ``answer``, the JSON itself, or
``answer_bytes``, its length; a line about an exception has ``exception``, the traceback.
What the service itself logs through :mod:`logging`, what Granian logs, and Python's warnings come out the
same way, with the id of the request that they belong to.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable
from contextvars import ContextVar
from functools import lru_cache
from typing import BinaryIO, Protocol

import orjson

REQUEST_ID: ContextVar[str] = ContextVar("serinus_request_id", default="")
"""Id of the request that the running code works for; ``""`` outside of requests."""

log = logging.getLogger("serinus.serving")
"""What the server itself has to say."""

_PLAIN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_SILENT = ("Embedded server is experimental!",)


def timestamp(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339 in UTC with milliseconds: ``2026-01-31T12:00:00.250Z``."""
    whole, milliseconds = divmod(int(seconds * 1000), 1000)
    return f"{_second(whole)}.{milliseconds:03d}Z"


def _second(whole: int, cache: dict[int, str] = {}) -> str:  # noqa: B006  (the cache is meant to be shared)
    text = cache.get(whole)
    if text is None:
        cache.clear()
        text = cache[whole] = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
    return text


class JsonFormatter(logging.Formatter):
    """A log record as one line of JSON; what was passed as ``extra`` becomes members."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        document: dict[str, object] = {
            "time": timestamp(record.created),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        if record.name != log.name:
            document["logger"] = record.name
        if request_id := REQUEST_ID.get():
            document["request_id"] = request_id
        document.update((k, v) for k, v in record.__dict__.items() if k not in _PLAIN)
        if record.exc_info and record.exc_info[0] is not None:
            document["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(document, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()


class LineHandler(logging.Handler):
    """Writes each line whole, so that the lines of threads and of the access log never mix.

    Args:
        stream: where to; by default whatever is the standard error at the moment of writing.
    """

    def __init__(self, stream: BinaryIO | None = None) -> None:
        super().__init__()
        self._stream = stream
        self.setFormatter(JsonFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            self.write(self.format(record).encode())
        except Exception:  # noqa: BLE001  (logging must not break what it reports on)
            self.handleError(record)

    def write(self, line: bytes) -> None:
        """Write one line that is JSON already."""
        stream = self._stream or sys.stderr.buffer
        stream.write(line + b"\n")
        stream.flush()


def configure(stream: BinaryIO | None = None, level: int = logging.INFO) -> LineHandler:
    """Send everything that is logged in this process to ``stream`` as JSON.

    Call it again after Granian has set up its own logging, which would print plain text.
    """
    handler = LineHandler(stream)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("_granian", "granian.access"):
        theirs = logging.getLogger(name)
        theirs.handlers.clear()
        theirs.propagate = True
    granian = logging.getLogger("_granian")
    granian.setLevel(logging.WARNING)
    granian.filters[:] = [_worth_saying]
    logging.captureWarnings(True)
    return handler


def _worth_saying(record: logging.LogRecord) -> bool:
    return record.getMessage() not in _SILENT


GATHER = 0.05
"""Seconds that a line of the access log may wait for others."""


class Access(Protocol):
    """Notes answered requests."""

    def __call__(  # noqa: PLR0917 (as the line has them)
        self,
        request_id: str,
        method: str,
        route: str,
        status: int,
        seconds: float,
        answer: bytes | int | None = None,
        /,
    ) -> None:
        """Note one; with its answer as JSON, or the length of that, where answers are noted."""
        ...


_Noted = tuple[float, str, str, str, int, float, bytes | int | None]
"""When, and what is noted of a request: made into a line when there is time."""


class AccessLog:
    """The access log: one line for each request. Belongs to one event loop.

    Lines are gathered for :data:`GATHER` seconds and written together: under load a line then costs a
    fraction of a system call. :meth:`flush` writes what is gathered.

    Args:
        write: takes lines, without the last one's end.
        later: calls a function after so many seconds; by default the running loop does.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        write: Callable[[bytes], None],
        later: Callable[[float, Callable[[], None]], object] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._write = write
        self._later = later
        self._clock = clock
        self._lines: list[_Noted] = []

    def __call__(  # noqa: PLR0917 (as the line has them)
        self,
        request_id: str,
        method: str,
        route: str,
        status: int,
        seconds: float,
        answer: bytes | int | None = None,
        /,
    ) -> None:
        """Note one answered request."""
        if not self._lines:
            (self._later or asyncio.get_running_loop().call_later)(GATHER, self.flush)
        self._lines.append((self._clock(), request_id, method, route, status, seconds, answer))

    def flush(self) -> None:
        """Write what is gathered."""
        if self._lines:
            lines, self._lines = self._lines, []
            self._write(b"\n".join(map(_line, lines)))


def _line(noted: _Noted) -> bytes:
    at, request_id, method, route, status, seconds, answer = noted
    head = (
        f'{{"time":"{timestamp(at)}","level":"info","message":"request","request_id":"{request_id}",'
        f'"method":{_quoted(method)},"route":{_quoted(route)},"status":{status},"seconds":{seconds:.6f}'
    )
    if answer is None:
        return f"{head}}}".encode()
    return f"{head},".encode() + orjson.dumps(_members(answer))[1:]


@lru_cache(maxsize=256)
def _quoted(text: str) -> str:
    """A JSON string."""
    return orjson.dumps(text).decode()


def _members(answer: bytes | int) -> dict[str, object]:
    """The members that tell of an answer; one that is no JSON after all is told by its length."""
    if isinstance(answer, int):
        return {"answer_bytes": answer}
    try:
        return {"answer": orjson.loads(answer)}
    except orjson.JSONDecodeError:
        return {"answer_bytes": len(answer)}
