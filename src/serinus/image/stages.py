"""The stages of a build that make layers: model, runtime, dependencies, code.

A stage gathers files (:class:`Gathered`), and :meth:`Workshop.layers` packs them unless that was done
before. What was gathered is read at most once: small files while they are hashed and looked through for
secrets, large ones while they are packed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from serinus.errors import BuildError
from serinus.events import Noted, Observer, Step, step
from serinus.files import write_atomically
from serinus.image import Layer, secrets, select
from serinus.image.cache import Contents, Known, Layers, Store, layer_key, start_clock
from serinus.image.layers import LARGE, Item, Packed, pack, split, tar_size
from serinus.registry import LAYER, LAYER_GZIP, Descriptor
from serinus.registry.layout import Layout

FOLDER = ".serinus"
"""What Serinus keeps in a project: the layout and the caches."""


@dataclass(frozen=True, slots=True)
class State:
    """A file that has not been read to its end."""

    mark: str
    """Its path in the index of contents."""
    stat: os.stat_result
    clean: bool
    """Whether its beginning holds no secret."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """Files for layers, and what is known of their contents."""

    items: tuple[Item, ...]
    known: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Path inside the image -> hexadecimal SHA-256, where it is known without packing."""
    states: Mapping[str, State] = field(default_factory=dict, hash=False)
    """Path inside the image -> what to remember when the file has been packed."""

    findings: tuple[secrets.Finding, ...] = ()
    """What looks like a secret."""

    def __add__(self, other: Gathered) -> Gathered:
        return Gathered(
            (*self.items, *other.items),
            {**self.known, **other.known},
            {**self.states, **other.states},
            (*self.findings, *other.findings),
        )


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where a build works: the layout it writes to and what it remembers."""

    state: Path
    layout: Layout
    contents: Contents
    index: Layers
    store: Store
    observer: Observer

    def gather(self, entries: Sequence[select.Entry], folder: Path, place: str) -> Gathered:
        """Take in the files of a folder, and look for secrets in those not known to be free of them.

        Args:
            entries: the files, relative to the folder.
            folder: where they are.
            place: where they go, inside the image, with a slash at its end.

        Raises:
            BuildError: a file cannot be read.
        """
        items: list[Item] = []
        known: dict[str, str] = {}
        states: dict[str, State] = {}
        found: list[secrets.Finding] = []
        for entry in entries:
            path, source = place + entry.path, folder / entry.path
            if entry.state is None:
                items.append(Item(path, 0, None, link=entry.link))
                continue
            before = self.contents.find(str(source), entry.state)
            content: Path | bytes = source
            if before is None or not before.clean:
                head = _head(source)
                findings = secrets.scan(entry.path, head)
                found += findings
                if len(head) == entry.size:
                    content = head
                    before = Known(hashlib.sha256(head).hexdigest(), not findings)
                    self.contents.put(str(source), entry.state, before)
                elif before is None:
                    states[path] = State(str(source), entry.state, not findings)
            if before is not None:
                known[path] = before.digest
            items.append(Item(path, entry.size, content, entry.executable))
        return Gathered(tuple(items), known, states, tuple(found))

    def layers(self, name: str, gathered: Gathered) -> tuple[tuple[Layer, ...], dict[str, str]]:
        """The layers that hold what was gathered: large files one each, then the others in one.

        Returns:
            The layers, and path inside the image -> hexadecimal SHA-256 of each file as it was packed.

        Raises:
            BuildError: a file cannot be read or changed while it was packed.
            RegistryError: the layout cannot be written to.
        """
        made: list[Layer] = []
        contents: dict[str, str] = {}
        for items in split(gathered.items):
            layer, packed = self._layer(name, items, gathered)
            made.append(layer)
            contents |= packed
        return tuple(made), contents

    def _layer(self, name: str, items: Sequence[Item], gathered: Gathered) -> tuple[Layer, Mapping[str, str]]:
        compress = items[0].size < LARGE
        files = [item.path for item in items if item.link is None]
        if all(path in gathered.known for path in files):
            contents = {path: gathered.known[path] for path in files}
            layer = self.index.find(layer_key(items, contents, compress), name)
            if layer is not None:
                return layer, contents
        with step(f"pack {name}", self.observer) as told:
            layer, packed = self.pack(name, items, compress, told)
        # What was packed counts, should a file have changed after it was looked at.
        for path in files:
            if path in gathered.states:
                state = gathered.states[path]
                self.contents.put(state.mark, state.stat, Known(packed.contents[path], state.clean))
        self.index.put(layer_key(items, packed.contents, compress), layer)
        return layer, packed.contents

    def pack(self, name: str, items: Sequence[Item], compress: bool, told: Step) -> tuple[Layer, Packed]:
        """Write one layer into the layout."""
        total = tar_size(items)
        with self.layout.new_blob() as blob:
            packed = pack(items, blob, compress=compress, progress=lambda done: told.progress(done, total))
        media_type = LAYER_GZIP if compress else LAYER
        told.detail = f"{blob.size} bytes"
        descriptor = Descriptor(media_type, blob.digest, blob.size)
        return Layer(name, descriptor, packed.diff_id or blob.digest), packed

    def keyed(self, name: str, key: str, gather: Callable[[], Sequence[Item]]) -> Layer | None:
        """The layer that a key stands for, so that what is in it need not be looked at; None for no files.

        Args:
            name: of the layer.
            key: equal for equal layers.
            gather: the files, where nobody of this user has packed them before.
        """
        full = layer_key([Item(key, 0, b"")], {key: ""}, True)
        layer = self.index.find(full, name) or self.store.fetch(full, name, self.layout)
        if layer is None:
            items = gather()
            if not items:
                return None
            with step(f"pack {name}", self.observer) as told:
                layer, _ = self.pack(name, items, True, told)
            with self.forgiving():
                self.store.offer(full, layer, self.layout)
        self.index.put(full, layer)
        return layer

    def save(self) -> None:
        """Write what was learned."""
        with self.forgiving():
            self.contents.save()
            self.index.save()

    @contextmanager
    def forgiving(self) -> Iterator[None]:
        """A cache that cannot be written costs time, not the build: it is told."""
        try:
            yield
        except OSError as error:
            self.observer(Noted(f"a cache cannot be written, the next build will be slower: {error}"))


@contextmanager
def workshop(root: Path, layout: Layout, cache: Path, observer: Observer) -> Iterator[Workshop]:
    """Open a project's workshop. Several builds may work in it at once.

    What was learned is kept also when the block fails: it is true in any case. When it leaves without an
    error and nobody else builds, what no image of the layout needs any more is dropped.

    Raises:
        BuildError: the project's folder may not be written to.
    """
    state = root / FOLDER
    try:
        clock = start_clock(state / "cache")
        if not (state / ".gitignore").exists():
            write_atomically(state / ".gitignore", b"*\n")
        handle = os.open(state / "cache/builders", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise BuildError(
            f"{state} cannot be written: {error.strerror or error}",
            "Build as a user who may write to the project's folder.",
        ) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
        contents = Contents(state / "cache/contents.json", clock)
        index = Layers(state / "cache/layers.json", layout)
        shop = Workshop(state, layout, contents, index, Store(cache / "layers"), observer)
        try:
            yield shop
        finally:
            shop.save()
        with suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            layout.collect(age=600.0)
    finally:
        os.close(handle)


def _head(file: Path) -> bytes:
    """The beginning of a file, as far as it is looked through for secrets; of most files, all of it."""
    try:
        with file.open("rb", buffering=0) as opened:
            return opened.read(secrets.LIMIT) or b""
    except OSError as error:
        raise BuildError(
            f"{file} cannot be read: {error.strerror or error}",
            "Make it readable for the user who builds, or name it in .serinusignore.",
        ) from None
