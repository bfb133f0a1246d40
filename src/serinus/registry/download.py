"""One blob on its way from a registry: streamed, and resumed where the connection was cut.

Follows the OCI distribution specification 1.1 (pulling blobs) and RFC 9110 section 14 (range requests).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

from serinus.errors import RegistryError
from serinus.registry.connection import Connection, Request
from serinus.registry.network import Interrupted


class Download:
    """A blob being read. Not verified here: wrap :meth:`read` in ``content.verified``.

    Args:
        connection: to the registry.
        request: that asks for the whole blob.
    """

    def __init__(self, connection: Connection, request: Request) -> None:
        self._connection = connection
        self._request = request
        self._offset = 0
        self._retries = connection.retries()
        self._open = ExitStack()
        self._pieces: Iterator[bytes] | None = None
        self._rest = memoryview(b"")

    def read(self, count: int) -> bytes:
        """Up to so many bytes of what comes next, none at the end.

        Raises:
            NotFound, Unauthorized, Unavailable, RegistryError: as ``Connection.request``.
        """
        while not self._rest:
            piece = self._next()
            if not piece:
                return b""
            self._rest = memoryview(piece)
        data = bytes(self._rest[:count])
        self._rest = self._rest[count:]
        return data

    def close(self) -> None:
        """Let go of the connection."""
        self._open.close()

    def _next(self) -> bytes:
        """The next piece that is not empty; ``b""`` at the end of the blob."""
        while True:
            try:
                if self._pieces is None:
                    self._pieces = self._begin()
                piece = next(self._pieces, b"")
            except Interrupted as error:
                self._open.close()
                self._pieces = None
                self._retries.wait(error)
                continue
            if piece:
                self._offset += len(piece)
                self._retries.progressed()
            return piece

    def _begin(self) -> Iterator[bytes]:
        request = self._request
        if self._offset:
            headers = (*request.headers, ("range", f"bytes={self._offset}-"))
            request = replace(request, headers=headers, expect=(200, 206))
        response = self._open.enter_context(self._connection.stream(request))
        pieces = self._connection.pieces(response)
        if response.status_code != 206:
            return _skip(pieces, self._offset)
        start = re.match(r"bytes (\d+)-", response.headers.get("content-range", ""))
        if not start or int(start[1]) != self._offset:
            raise RegistryError(
                f"asked for {request.what} from byte {self._offset}, the registry gave "
                f"{response.headers.get('content-range', 'no Content-Range')!r}",
                "Run the command again; if it stays, the registry is at fault.",
            )
        return pieces


def _skip(pieces: Iterator[bytes], count: int) -> Iterator[bytes]:
    """Without the first so many bytes: the registry does not know ranges, and began anew."""
    for piece in pieces:
        if count >= len(piece):
            count -= len(piece)
        else:
            yield piece[count:]
            count = 0
