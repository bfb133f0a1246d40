"""Just enough of protobuf's wire format to look into a large message without reading it all.

The format is that of https://protobuf.dev/programming-guides/encoding/: a message is fields, a field a varint
(number << 3 | wire type) and its value. A length-delimited value is handed out as a span of the file, and
what nobody asks for is skipped by a seek: 500 MB of weights cost as much as five bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from serinus.errors import ContractError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_MOST_FIELDS = 20_000_000
"""Fields looked at in one file, far above any real model: a file made to take forever is refused."""
_LONGEST_TEXT = 1 << 16


class Span(NamedTuple):
    """A length-delimited value: bytes ``start`` to ``end`` of the file."""

    start: int
    end: int


class Field(NamedTuple):
    """One field of a message."""

    number: int
    value: int | Span
    """An integer of a varint field (unsigned, 64 bits), or the span of a length-delimited one."""


class Reader:
    """Reads messages out of a file that can seek.

    Args:
        file: opened for reading bytes.
        size: its length in bytes.
        name: what messages call it.
    """

    def __init__(self, file: BinaryIO, size: int, name: str) -> None:
        self._file = file
        self._name = name
        self._left = _MOST_FIELDS
        self.whole = Span(0, size)

    def fields(self, span: Span) -> Iterator[Field]:
        """The fields of the message in the span, in their order; fixed-width ones are skipped.

        The file's position may be moved between two of them.

        Raises:
            ContractError: the bytes are no message: cut off, or not protobuf at all.
        """
        position = span.start
        while position < span.end:
            self._left -= 1
            if not self._left:
                raise self.broken("more fields than any model has")
            self._file.seek(position)
            tag, position = self._varint(position, span.end)
            number, wire = tag >> 3, tag & 7
            if not number:
                raise self.broken(f"a field with the number 0 before byte {position}")
            value: int | Span
            if wire == VARINT:
                value, position = self._varint(position, span.end)
            elif wire == BYTES:
                length, position = self._varint(position, span.end)
                value = Span(position, position + length)
                position += length
            elif wire in (FIXED32, FIXED64):
                value, position = 0, position + (4 if wire == FIXED32 else 8)
            else:
                raise self.broken(f"the wire type {wire} before byte {position}")
            if position > span.end:
                raise self.broken(f"a field that ends at byte {position}, and its message at {span.end}")
            if wire in (VARINT, BYTES):
                yield Field(number, value)

    def messages(self, span: Span, number: int) -> Iterator[Span]:
        """The spans of every field of this number that is a message."""
        for field in self.fields(span):
            if field.number == number and isinstance(field.value, Span):
                yield field.value

    def integers(self, span: Span) -> Iterator[int]:
        """The varints of a packed field."""
        position = span.start
        while position < span.end:
            self._file.seek(position)
            value, position = self._varint(position, span.end)
            yield value

    def text(self, span: Span) -> str:
        """A string field.

        Raises:
            ContractError: it is not UTF-8, or longer than any name.
        """
        if span.end - span.start > _LONGEST_TEXT:
            raise self.broken(f"a name of {span.end - span.start} bytes")
        self._file.seek(span.start)
        try:
            return self._file.read(span.end - span.start).decode()
        except UnicodeDecodeError:
            raise self.broken(f"a name that is not UTF-8 at byte {span.start}") from None

    def broken(self, found: str) -> ContractError:
        """The error for a file that is not what it is taken for."""
        return ContractError(
            f"{self._name} is not an ONNX model: found {found}",
            "Fetch or export the model again; the file may be cut off or of another format.",
        )

    def _varint(self, position: int, end: int) -> tuple[int, int]:
        """The value, and the position behind it. The file stands at ``position``."""
        value = 0
        for shift in range(0, 70, 7):
            byte = self._file.read(1) if position < end else b""
            if not byte:
                raise self.broken(f"the end of the data at byte {position}, within a number")
            position += 1
            value |= (byte[0] & 0x7F) << shift
            if byte[0] < 0x80:
                return value & 0xFFFF_FFFF_FFFF_FFFF, position
        raise self.broken(f"a number longer than ten bytes before byte {position}")
