"""Models: files with a name, a version and facts about them; where they are kept and where they come from.

The flow, and the modules that serve each stage::

    address    what a person wrote -> which of the ``forms``, and its parts (pure)
    sources    one small adapter for each kind of place a model can come from
    fetch      a source -> verified files in the ``cache``, all or nothing
    registry   the model registry: register, list, pull, alias, diff; its versions are looked up by ``lookup``
    numbers    how a version's number is taken; ``folder`` and ``remote`` do it in a layout and in a registry
    manifest   files and ``facts`` -> an OCI artifact in the format of the CNCF ModelPack specification (pure)
    pack       an OCI artifact in one of the ``formats`` of models -> files

A :class:`Source` knows one model. It is asked first what there is (:meth:`Source.find`), which costs no more
than a question, and brings the files only when the cache has not got them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Found:
    """A model as its source knows it, before a byte of it was brought."""

    uri: str
    """Names exactly this: a version or a digest where a person wrote an alias or nothing."""
    identity: str
    """Changes whenever the content does: a digest, or the source's own version or ETag. The cache's key."""
    digest: str = ""
    """Of the content, as ``sha256:<hex>``, where the source knows it; what is brought is verified."""
    size: int | None = None
    """Bytes of all files, where the source knows it."""
    facts: Mapping[str, str] = field(default_factory=dict, hash=False)
    """What else the source says: the manifest's digest, metrics, the commit it was trained from."""


Progress = Callable[[int, int | None], None]
"""Told how many bytes of how many are through; None where the whole is not known."""


class Source(Protocol):
    """One model, at the place where it comes from."""

    def find(self) -> Found:
        """What there is now.

        Raises:
            ModelError: there is no such model, or the source cannot be asked; it says which variable or login
                is missing where that is the reason.
        """
        ...

    def fetch(self, found: Found, folder: Path, progress: Progress) -> None:
        """Bring the files into an empty folder; large ones streamed.

        Raises:
            ModelError: it failed, or the model is another one by now.
        """
        ...
