"""Source -> bytecode, by the Python that is to run it: this file is started with a base's own.

It reads frames from its standard input, and answers each in turn on its standard output: a path and a source
in, the content of a ``.pyc`` out, empty where the source is not this Python's. A frame is its length in four
bytes, little end first, and that many bytes. It imports nothing of Serinus, and runs on Python 3.9 and later.

The bytes depend on path, source and Python alone, not on what was compiled before. They are of the kind
"unchecked hash" (PEP 552): Python takes them without looking at the source. ``marshal`` writes down that an
object may be met again where somebody else holds it too, which for a string is anybody who has the same one;
so here all of them are held.
"""

from __future__ import annotations

import sys
from importlib.util import MAGIC_NUMBER, source_hash
from marshal import dumps
from types import CodeType

TYPE_CHECKING = False
if TYPE_CHECKING:  # the module that says so takes longer to load than a hundred others to compile
    from typing import Any, BinaryIO

_UNCHECKED = (1).to_bytes(4, "little")
_STRINGS = ("co_filename", "co_name", "co_qualname")
_TUPLES = ("co_consts", "co_names", "co_varnames", "co_cellvars", "co_freevars")
_LENGTH = 4


def pyc(source: bytes, path: str) -> bytes:
    """What Python would keep of a module, without a time in it.

    Args:
        source: of the module.
        path: where it will be: what a traceback shows.

    Returns:
        The file's content; empty where the source cannot be compiled.
    """
    try:
        code = compile(source, path, "exec", dont_inherit=True, optimize=0)
        held: list[Any] = []
        _hold(code, held)
        return MAGIC_NUMBER + _UNCHECKED + source_hash(source) + dumps(code)
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError):  # the last: nested too deep
        return b""


def _hold(value: Any, held: list[Any]) -> None:
    held.append(value)
    if isinstance(value, CodeType):
        held.extend(getattr(value, name, "") for name in _STRINGS)
        for name in _TUPLES:
            _hold(getattr(value, name), held)
    elif isinstance(value, (tuple, frozenset)):
        for one in value:
            _hold(one, held)


def answer(source: BinaryIO, sink: BinaryIO) -> None:
    """Read frames to their end, and answer each two."""
    # One string stands for all of the same single character, and "import *" would make it an interned one.
    shared = [sys.intern(chr(number)) for number in range(256)] + [sys.intern("")]
    while (path := _frame(source)) is not None:
        made = pyc(_frame(source) or b"", path.decode("utf-8", "surrogateescape"))
        sink.write(len(made).to_bytes(_LENGTH, "little") + made)
    sink.flush()
    del shared


def _frame(source: BinaryIO) -> bytes | None:
    length = source.read(_LENGTH)
    return source.read(int.from_bytes(length, "little")) if length else None


if __name__ == "__main__":
    answer(sys.stdin.buffer, sys.stdout.buffer)
