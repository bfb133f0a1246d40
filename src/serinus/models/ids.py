"""Ids in the model registry: ``NAME``, ``NAME:VERSION``, ``NAME@ALIAS``, ``NAME@sha256:...``. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from serinus.errors import ModelError

NEWEST = "latest"
"""The alias that every model has: its newest version. Nobody moves it."""

_NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_ALIAS = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,126}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REFERRERS = re.compile(r"sha(?:256|512)-[0-9a-f]{64,}")
_LONGEST = 128
_HOW = "Write NAME, NAME:3, NAME@production or NAME@sha256:<64 hexadecimal digits>."


@dataclass(frozen=True, slots=True)
class Id:
    """A model, and at most one of version, alias and digest; with none of them its newest version."""

    name: str
    version: int = 0
    alias: str = ""
    digest: str = ""
    """Of the manifest."""

    def __str__(self) -> str:
        if self.version:
            return f"{self.name}:{self.version}"
        return f"{self.name}@{self.alias or self.digest}" if self.alias or self.digest else self.name


def parse(text: str) -> Id:
    """Read an id as a person writes it.

    Raises:
        ModelError: it is none; the message says which part is wrong.
    """
    name, at, rest = text.partition("@")
    if at:
        check_name(name, text)
        if _DIGEST.fullmatch(rest):
            return Id(name, digest=rest)
        if rest == NEWEST:
            return Id(name)
        return Id(name, alias=check_alias(rest, text))
    name, colon, rest = text.partition(":")
    check_name(name, text)
    if not colon:
        return Id(name)
    if not _VERSION.fullmatch(rest):
        hint = f"An alias stands behind '@': {name}@{rest}." if is_alias(rest) else _HOW
        raise ModelError(f"the model id {text!r} has the version {rest!r}, expected a number from 1", hint)
    return Id(name, version=int(rest))


def check_name(name: str, text: str = "") -> str:
    """The same name, when a model may have it.

    Raises:
        ModelError: it may not.
    """
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        where = f"the model id {text!r} has the name {name!r}" if text else f"{name!r} is no name of a model"
        raise ModelError(
            f"{where}, expected lower-case letters and digits, single '.', '_' or '-' between them", _HOW
        )
    return name


def check_alias(alias: str, text: str = "") -> str:
    """The same alias, when it may be given.

    Raises:
        ModelError: it may not.
    """
    if not is_alias(alias):
        where = f"the model id {text!r} has the alias {alias!r}" if text else f"{alias!r} is no alias"
        raise ModelError(
            f"{where}, expected a letter, then letters, digits, '_', '.' or '-', at most 127",
            "Write it like production or staging.",
        )
    return alias


def is_alias(tag: str) -> bool:
    """Whether a tag can be an alias: no version, and nothing that registries and this program keep there."""
    return bool(_ALIAS.fullmatch(tag)) and not _REFERRERS.fullmatch(tag)


def version_of(tag: str) -> int:
    """The version that a tag stands for; 0 when it is another kind of tag."""
    return int(tag) if _VERSION.fullmatch(tag) else 0


def nearest(wanted: str, known: Iterable[str], most: int = 5) -> str:
    """The names that may have been meant, or the first there are: ``a, b, c``; ``""`` when there are none."""
    names = sorted(known)
    near = get_close_matches(wanted, names, 3, 0.5) or names[:most]
    more = len(names) - len(near)
    return ", ".join(near) + (f" and {more} more" if near and more else "")
