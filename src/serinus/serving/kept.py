"""Keeping a copy of what is answered, for the access log of a service whose answers are compared."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable

from serinus.serving.rsgi import Exchange, Stream, is_json

LIMIT = 16 << 10
"""Bytes of an answer that are kept; of a longer one only its length is."""


class Kept:
    """An exchange whose answer is kept, if it is JSON.

    Args:
        exchange: where everything goes on to.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._json = False
        self._pieces: list[bytes] = []
        self._size = 0

    def __call__(self) -> Awaitable[bytes]:
        """The whole body."""
        return self._exchange()

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The body piece by piece."""
        return self._exchange.__aiter__()

    async def client_disconnect(self) -> None:
        """Returns when the caller has gone."""
        await self._exchange.client_disconnect()

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """Answer at once."""
        self._begin(headers)
        self.keep(body)
        self._exchange.response_bytes(status, headers, body)

    def response_stream(self, status: int, headers: list[tuple[str, str]]) -> Stream:
        """Begin an answer in pieces."""
        self._begin(headers)
        return _KeptStream(self._exchange.response_stream(status, headers), self)

    def keep(self, piece: bytes) -> None:
        """Keep a piece of the answer."""
        self._size += len(piece)
        if self._json and self._size <= LIMIT:
            self._pieces.append(bytes(piece))

    @property
    def answer(self) -> bytes | int | None:
        """The answer's JSON, or its length when it is too long; None when it is no JSON."""
        if not self._json:
            return None
        return self._size if self._size > LIMIT else b"".join(self._pieces)

    def _begin(self, headers: list[tuple[str, str]]) -> None:
        kind = next((value for name, value in headers if name == "content-type"), "")
        self._json = is_json(kind)


class _KeptStream:
    def __init__(self, stream: Stream, kept: Kept) -> None:
        self._stream = stream
        self._kept = kept

    async def send_bytes(self, data: bytes) -> None:
        self._kept.keep(data)
        await self._stream.send_bytes(data)
