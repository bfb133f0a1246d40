"""The entries of a layout's ``index.json``: who has which tag, and what may go. Pure.

An entry is a descriptor as decoded JSON, so that members written by other tools survive. A tag stands in the
annotation ``org.opencontainers.image.ref.name`` (OCI image layout 1.1), one entry for each tag of a manifest;
an entry without a tag keeps a manifest that nothing else keeps: one pushed by digest, or one that refers to
another by its ``subject``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from serinus.registry import Descriptor

REF_NAME = "org.opencontainers.image.ref.name"
Entry = dict[str, Any]
Entries = tuple[Entry, ...]


def tag_of(entry: Mapping[str, Any]) -> str:
    """The tag of an entry, ``""`` where it has none."""
    annotations = entry.get("annotations")
    name = annotations.get(REF_NAME, "") if isinstance(annotations, dict) else ""
    return name if isinstance(name, str) else ""


def stored(entries: Entries, descriptor: Descriptor, tags: Sequence[str], children: Iterable[str]) -> Entries:
    """The entries after a manifest was stored under tags, or under none.

    A tag that stood elsewhere moves. The manifest's children, kept by it from now on, lose their entries
    without a tag.
    """
    covered = set(children) | ({descriptor.digest} if tags else set())
    kept = [e for e in entries if tag_of(e) not in tags] if tags else list(entries)
    kept = [e for e in kept if tag_of(e) or e.get("digest") not in covered]
    if tags:
        return (*kept, *(entry(descriptor, tag) for tag in dict.fromkeys(tags)))
    if any(e.get("digest") == descriptor.digest for e in kept):
        return tuple(kept)
    return (*kept, entry(descriptor, ""))


def entry(descriptor: Descriptor, tag: str) -> Entry:
    """The entry of a manifest under one tag, or without."""
    document = descriptor.to_json()
    annotations = {k: v for k, v in document.get("annotations", {}).items() if k != REF_NAME}
    if tag:
        annotations[REF_NAME] = tag
    document.pop("annotations", None)
    return document | ({"annotations": dict(sorted(annotations.items()))} if annotations else {})


def without(entries: Entries, name: str) -> Entries:
    """The entries after a tag was taken away, or with a digest every entry of that manifest."""
    return tuple(e for e in entries if name not in {tag_of(e), e["digest"]})


def living(entries: Entries, subjects: Mapping[str, str], reachable: Mapping[str, frozenset[str]]) -> Entries:
    """The entries that stay when what nobody can reach is collected.

    Args:
        entries: all of them.
        subjects: digest of an entry -> digest of its subject, for those that have one.
        reachable: digest of an entry -> digests of everything it needs, itself among them.

    An entry with a tag stays, and one without a subject. A referrer without a tag stays as long as its
    subject does.
    """
    kept: set[str] = set()
    chosen: set[int] = set()
    while True:
        more = {
            i
            for i, e in enumerate(entries)
            if i not in chosen and (tag_of(e) or subjects.get(e["digest"], "") in {"", *kept})
        }
        if not more:
            return tuple(e for i, e in enumerate(entries) if i in chosen)
        chosen |= more
        for i in more:
            kept |= reachable[entries[i]["digest"]]
