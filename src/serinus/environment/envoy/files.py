"""The router's folder: documents that Envoy watches, and logs that are kept short.

::

    bootstrap.json            what Envoy was started with
    clusters.json             what it is told now; it reads a file anew when another takes its name
    endpoints/VERSION.json
    routes.json
    process                   who it is
    admin.sock
    envoy.log                 what it says itself
    attempts.jsonl            a line for each try at a replica; attempts-000001.jsonl and so on are older ones
    access.jsonl              a line for each request
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import orjson

from serinus.environment.envoy.config import Configuration, discovery
from serinus.environment.envoy.names import Document
from serinus.files import TEMPORARY, write_atomically

CLUSTERS, ROUTES, ENDPOINTS = "clusters", "routes", "endpoints"
_PLACE = re.compile(r"([0-9]{1,9}):([0-9]{1,15})")


class Documents:
    """The documents that Envoy watches, one version of each.

    Args:
        folder: where Envoy runs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, name: str, data: bytes) -> None:
        """Give Envoy a document, unless it is as it was."""
        if self.read(name) != data:
            write_atomically(self._path(name), data, mode=0o600)

    def restore(self, name: str, data: bytes | None) -> None:
        """Give Envoy what :meth:`read` gave."""
        if data is None:
            self._path(name).unlink(missing_ok=True)
        else:
            write_atomically(self._path(name), data, mode=0o600)

    def read(self, name: str) -> bytes | None:
        """A document as it is; None where there is none."""
        try:
            return self._path(name).read_bytes()
        except FileNotFoundError:
            return None

    def clusters(self) -> dict[str, Document]:
        """The clusters that Envoy was told of, by name."""
        return {cluster["name"]: cluster for cluster in self._resources(CLUSTERS)}

    def begin(self, configuration: Configuration) -> None:
        """Write what is not there yet: Envoy does not start without."""
        clusters, _ = discovery(list(configuration.clusters.values()))
        routes, _ = discovery([configuration.routes], f"{configuration.generation}.")
        for name, data in ((CLUSTERS, clusters), (ROUTES, routes)):
            if self.read(name) is None:
                self.write(name, data)

    def forget(self, endpoints: set[str]) -> None:
        """Drop the endpoints of all other versions, and what a killed writer has left."""
        for path in (self._folder / ENDPOINTS).glob("*.json"):
            if path.stem not in endpoints:
                path.unlink(missing_ok=True)
        for path in (*self._folder.glob(f"{TEMPORARY}*"), *(self._folder / ENDPOINTS).glob(f"{TEMPORARY}*")):
            path.unlink(missing_ok=True)

    def _resources(self, name: str) -> list[Document]:
        data = self.read(name)
        resources: list[Document] = orjson.loads(data)["resources"] if data else []
        return resources

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"


class Log:
    """A log that another process appends to, in numbered files; the one that is written to has no number yet.

    Args:
        folder: where it is.
        name: of it.
        bound: bytes after which a new file is begun.
        keep: how many older ones are kept, one at least: their numbers are those of the places in them.
    """

    def __init__(self, folder: Path, name: str, bound: int, keep: int) -> None:
        self._folder = folder
        self._name = name
        self._bound = bound
        self._keep = max(1, keep)
        self.path = folder / f"{name}.jsonl"
        """The file that is written to."""

    def full(self) -> bool:
        """Whether it is time for a new file; also when a new one was to be begun, and has not been."""
        try:
            return self.path.stat().st_size >= self._bound
        except FileNotFoundError:
            return True

    def turn(self) -> None:
        """Number the file that is written to; the writer has to be told to open a new one."""
        older = self._older()
        last = older[-1][0] if older else 0
        if self.path.exists():
            self.path.rename(self._folder / f"{self._name}-{last + 1:06}.jsonl")
            older = self._older()
        for _, path in older[: -self._keep]:
            path.unlink(missing_ok=True)

    def mend(self) -> None:
        """End the last line, which a killed writer may have left unfinished, before the next one writes."""
        try:
            with self.path.open("r+b") as file:
                if file.seek(0, os.SEEK_END) and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
                    file.write(b"\n")
        except FileNotFoundError:
            return

    def read(self, place: str, limit: int) -> tuple[list[bytes], str]:
        """Whole lines after a place, and the place behind them.

        Args:
            place: as an earlier call gave it; behind one that is not kept, and ``""``, stands all that is.
            limit: bytes after which it is enough for now.
        """
        number, offset = self._known(place)
        lines: list[bytes] = []
        files = [(n, path) for n, path in self._files() if n >= number]
        for position, (n, path) in enumerate(files):
            number, offset = n, offset if n == number else 0
            last = position == len(files) - 1
            for chunk in _chunks(path, offset, limit, last):
                lines += chunk.splitlines()
                offset += len(chunk)
                limit -= len(chunk)
            if limit <= 0:
                break
        return lines, f"{number}:{offset}"

    def _known(self, place: str) -> tuple[int, int]:
        found = _PLACE.fullmatch(place)
        if not found:
            return 0, 0
        number, offset = int(found[1]), int(found[2])
        sizes = {n: path.stat().st_size for n, path in self._files()}
        return (number, offset) if offset <= sizes.get(number, -1) else (0, 0)

    def _files(self) -> list[tuple[int, Path]]:
        older = self._older()
        if not self.path.exists():
            return older
        return [*older, ((older[-1][0] if older else 0) + 1, self.path)]

    def _older(self) -> list[tuple[int, Path]]:
        paths = self._folder.glob(f"{self._name}-[0-9]*.jsonl")
        return sorted((int(path.stem.rpartition("-")[2]), path) for path in paths)


def _chunks(path: Path, offset: int, limit: int, last: bool) -> Iterator[bytes]:
    """Whole lines of a file from there on; what is left at the end only of an older one."""
    with path.open("rb") as file:
        file.seek(offset)
        while limit > 0 and (data := file.read(min(limit, 1 << 20))):
            if not data.endswith(b"\n"):
                data += file.readline()
            if not data.endswith(b"\n") and last:
                data = data[: data.rfind(b"\n") + 1]
            if not data:
                return
            limit -= len(data)
            yield data
