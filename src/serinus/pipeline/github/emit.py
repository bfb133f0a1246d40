"""YAML, as a person would write it: mappings, lists, texts, comments, and places for what people write. Pure.

A library's output has no comments where they are wanted, and quotes by the rules of one version of YAML:
``on`` is a text in YAML 1.2 and true in YAML 1.1. Here a text stands bare only where both read it as the same
text; every other one is in double quotes, or a literal block where it has several lines (YAML 1.2.2, sections
7.3.1 and 8.1.2).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment on a line of its own: a key whose value is not looked at, or an item of a list."""

    text: str


@dataclass(frozen=True, slots=True)
class Space:
    """An empty line: a key whose value is not looked at."""

    number: int
    """So that a mapping can have several."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where people may write: a key whose value is not looked at, or an item of a list."""

    name: str


@dataclass(frozen=True, slots=True)
class Noted:
    """A text with a comment behind it, on its line."""

    text: str
    note: str


BEGIN, END = "# serinus: begin ", "# serinus: end "
"""What stands before and behind a place, and its name."""

_BARE = re.compile(r"[A-Za-z_$][ -~]*")
_WORDS = {"true", "false", "yes", "no", "on", "off", "y", "n", "null"}
_SHORT = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def text_of(document: Mapping[Any, Any]) -> str:
    """A document as YAML.

    Args:
        document: keys are texts, or :class:`Comment`, :class:`Space` and :class:`Place`; values are texts,
            whole numbers, booleans, :class:`Noted`, lists and mappings. There is an empty line between its
            keys, and none in what is below them but for :class:`Space`.
    """
    lines: list[str] = []
    for key, value in document.items():
        if lines:
            lines.append("")
        lines += _entry(key, value, 0)
    return "".join(f"{line}\n" for line in lines)


def _mapping(document: Mapping[Any, Any], indent: int) -> Iterator[str]:
    for key, value in document.items():
        yield from _entry(key, value, indent)


def _entry(key: Any, value: Any, indent: int) -> Iterator[str]:
    if isinstance(key, Comment | Place | Space):
        yield from _aside(key, indent)
        return
    yield from _valued(f"{' ' * indent}{scalar(key)}:", value, indent)


def _valued(begin: str, value: Any, indent: int) -> Iterator[str]:
    """A key or a dash, and its value behind it or below it."""
    if isinstance(value, Mapping) and value:
        yield begin
        yield from _mapping(value, indent + 2)
    elif isinstance(value, list | tuple) and value:
        yield begin
        yield from _list(value, indent + 2)
    elif isinstance(value, str) and _is_block(value):
        yield f"{begin} |" if value.endswith("\n") else f"{begin} |-"
        yield from (f"{' ' * (indent + 2)}{line}" if line else "" for line in value.splitlines())
    else:
        yield f"{begin} {_flow(value)}"


def _list(items: Sequence[Any], indent: int) -> Iterator[str]:
    for item in items:
        if isinstance(item, Comment | Place):
            yield from _aside(item, indent)
        elif isinstance(item, Mapping) and item:
            first, *rest = _mapping(item, indent + 2)
            yield f"{' ' * indent}- {first.lstrip(' ')}"
            yield from rest
        else:
            yield from _valued(f"{' ' * indent}-", item, indent)


def _aside(aside: Comment | Place | Space, indent: int) -> Iterator[str]:
    if isinstance(aside, Space):
        yield ""
    elif isinstance(aside, Comment):
        yield f"{' ' * indent}# {aside.text}"
    else:
        yield f"{' ' * indent}{BEGIN}{aside.name}"
        yield f"{' ' * indent}{END}{aside.name}"


def _flow(value: Any) -> str:
    if isinstance(value, Noted):
        return f"{scalar(value.text)} # {value.note}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return scalar(value)
    return "{}" if isinstance(value, Mapping) else "[]"


def scalar(text: str) -> str:
    """A text on one line: bare where that is safe, else in double quotes."""
    bare = _BARE.fullmatch(text) and ": " not in text and " #" not in text and not text.endswith((":", " "))
    return text if bare and text.lower() not in _WORDS else f'"{"".join(map(_escaped, text))}"'


def _escaped(sign: str) -> str:
    if sign in _SHORT:
        return _SHORT[sign]
    if sign.isprintable():
        return sign
    code = ord(sign)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _is_block(text: str) -> bool:
    """Whether a text can be a literal block: several lines, nothing that has to be escaped or counted."""
    lines = text.split("\n")
    ends = lines[-1] != "" or (len(lines) > 2 and lines[-2] != "")
    plain = all(sign.isprintable() or sign == "\n" for sign in text)
    return len(lines) > 2 and ends and plain and bool(lines[0]) and not lines[0].startswith(" ")
