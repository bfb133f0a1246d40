"""Columns of JSON documents: one value for each document, so that rows stay independent. Pure."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from serinus.checks.subjects import joined

ELEMENTS = 64
"""Elements of a list that are looked at; of all of them the length is."""
KINDS = {bool: "boolean", int: "number", float: "number", str: "text", list: "list", dict: "object"}


@dataclass(frozen=True, slots=True)
class Column:
    """One feature of two samples."""

    name: str
    reference: tuple[Any, ...]
    seen: tuple[Any, ...]
    numeric: bool


def leaves(document: Any, path: str = "") -> dict[str, Any]:
    """The values of a document by JSON Pointer; of a list and an object the length stands for the whole."""
    found = {path: document if not isinstance(document, list | dict) else type(document)()}
    if isinstance(document, list):
        found[path] = [len(document)]
        for place, value in enumerate(document[:ELEMENTS]):
            found |= leaves(value, path + joined(place))
    if isinstance(document, dict):
        for name, value in document.items():
            found |= leaves(value, path + joined(name))
    return found


def columns(reference: Sequence[Any], seen: Sequence[Any]) -> tuple[Column, ...]:
    """The features of two samples of documents: kinds, numbers, categories, lengths, share of unknown words.

    A column that is the same in all documents of both samples says nothing and is left out.
    """
    old, new = [leaves(document) for document in reference], [leaves(document) for document in seen]
    found: list[Column] = []
    for path in dict.fromkeys(path for row in (*old, *new) for path in row):
        found += _at(path, [row.get(path, KINDS) for row in old], [row.get(path, KINDS) for row in new])
    return tuple(column for column in found if len({*column.reference, *column.seen}) > 1)


def _at(path: str, old: Sequence[Any], new: Sequence[Any]) -> list[Column]:
    """The columns of one place; ``KINDS`` stands for nothing there."""
    place = path or "the whole"
    found = [Column(f"kind of {place}", tuple(map(_kind, old)), tuple(map(_kind, new)), numeric=False)]

    def only(kind: str) -> tuple[list[Any], list[Any]]:
        chosen = [[v for v in values if _kind(v) == kind] for values in (old, new)]
        return chosen[0], chosen[1]

    for kind, name in (("number", place), ("boolean", place), ("list", f"length of {place}")):
        first, second = only(kind)
        if kind == "list":
            first, second = [value[0] for value in first], [value[0] for value in second]
        found.append(Column(name, tuple(first), tuple(second), kind != "boolean"))
    return found + _texts(place, *only("text"))


def _texts(place: str, old: list[str], new: list[str]) -> list[Column]:
    if len(set(old)) * 5 <= len(old):
        return [Column(place, tuple(old), tuple(new), numeric=False)]
    counted = Counter(word for text in old for word in set(words(text)))
    known, shared = set(counted), {word for word, times in counted.items() if times > 1}
    # A text of the reference is held against the other texts: its own words are no evidence for it.
    unknown = tuple(_unknown(text, shared) for text in old), tuple(_unknown(text, known) for text in new)
    return [
        Column(f"characters of {place}", tuple(map(len, old)), tuple(map(len, new)), numeric=True),
        Column(f"share of unknown words in {place}", *unknown, numeric=True),
    ]


def words(text: str) -> list[str]:
    """Its words, in small letters."""
    return re.findall(r"\w+", text.lower())


def _unknown(text: str, known: set[str]) -> float:
    found = words(text)
    return sum(word not in known for word in found) / len(found) if found else 0.0


def _kind(value: Any) -> str:
    return "missing" if value is KINDS else KINDS.get(type(value), "null")


def values(
    predictions: Sequence[Any], others: Sequence[Any]
) -> tuple[tuple[Any, ...], tuple[Any, ...], bool]:
    """Two samples of predictions: as numbers where all of them are, else as categories; and which."""
    everything = [*predictions, *others]
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in everything)
    if numeric and len(set(everything)) > 10:
        return tuple(predictions), tuple(others), True
    return tuple(map(_text, predictions)), tuple(map(_text, others)), False


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
