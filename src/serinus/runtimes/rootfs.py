"""An image's root file system as a folder, made once and shared.

Under ``rootfs/`` in the user's cache folder (:func:`serinus.files.cache_folder`)::

    layers/<diff_id>/tree, marks.json   one layer as it came, see ``unpack``
    roots/<chain_id>/tree, layers.json  layers on top of each other: a farm of hard links to their files
    tmp/                                what is being made; it gets its name when it is whole

A layer is unpacked once for all images that hold it, at any place in their order: an image that differs
in its code alone costs links, and its 500 MB model is not written again. Layers lie on each other as under
overlayfs: a folder merges with a folder, anything else replaces what was there, whiteouts take away
(OCI image specification 1.1, "Applying Changesets").
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, flock
from pathlib import Path

from serinus.errors import RuntimeUnavailable
from serinus.files import cache_folder
from serinus.image import Layer
from serinus.registry.layout import Layout
from serinus.runtimes.unpack import Marks, inside, unpack

_UNUSED = 14 * 24 * 3600.0
"""Seconds after which a root that nobody has used makes room."""


def folder() -> Path:
    """Where root file systems are kept: ``rootfs`` in the user's cache folder."""
    return cache_folder() / "rootfs"


def chain_id(diff_ids: Sequence[str]) -> str:
    """The identity of layers on top of each other (OCI image specification 1.1, "Layer ChainID").

    >>> chain_id(["sha256:ab"])
    'sha256:ab'
    """
    chain = diff_ids[0] if diff_ids else "sha256:" + hashlib.sha256().hexdigest()
    for diff_id in diff_ids[1:]:
        chain = "sha256:" + hashlib.sha256(f"{chain} {diff_id}".encode()).hexdigest()
    return chain


def root(
    layout: Layout,
    layers: Sequence[Layer],
    *,
    cache: Path | None = None,
    clock: Callable[[], float] = time.time,
) -> Path:
    """The folder that holds the root file system of these layers, lowest first; made if it is not there.

    It is shared: nothing may be written into it but by :func:`mount_point`.

    Args:
        layout: where the layers' blobs lie.
        layers: of an image or of a part of one (a base and its dependencies, say).
        cache: where root file systems are kept; default :func:`folder`.
        clock: seconds since the epoch, for the last use.

    Raises:
        NotFound: the layout lacks a layer.
        DigestMismatch: a layer is not what its ``diff_id`` says.
        RegistryError: a layer cannot be unpacked, or holds names that lead outside.
        RuntimeUnavailable: the cache cannot be written; the message says why.
    """
    cache = (folder() if cache is None else cache).absolute()
    diff_ids = [layer.diff_id for layer in layers]
    place = cache / "roots" / _hex(chain_id(diff_ids))
    try:
        if not _touch(place, clock()):
            cache.mkdir(mode=0o700, parents=True, exist_ok=True)
            for layer in layers:
                _ensure_layer(cache, layout, layer, clock())
            _ensure_root(cache, place, diff_ids)
            _touch(place, clock())
            prune(cache, before=clock() - _UNUSED)
    except OSError as error:
        raise RuntimeUnavailable(
            f"the root file system cannot be written below {cache}: {error.strerror or error}",
            "Make room there, or set SERINUS_CACHE to a folder on another disk.",
        ) from error
    return place / "tree"


def mount_point(tree: Path, where: str, *, file: bool = False) -> str:
    """Make sure that something can be mounted at ``where`` in a root, and say where that truly is.

    Args:
        tree: from :func:`root`.
        where: an absolute path inside it; symbolic links are followed inside the root alone.
        file: whether it is to be a file; a folder otherwise.

    Returns:
        The absolute path inside the root, free of symbolic links.
    """
    real = inside(tree, where)
    path = tree / real
    if not path.exists():
        (path.parent if file else path).mkdir(parents=True, exist_ok=True)
        if file:
            path.touch()
    return "/" + real


@contextmanager
def used(tree: Path) -> Iterator[int]:
    """Hold a root, so that :func:`prune` leaves it alone: a descriptor that a child process may inherit."""
    handle = os.open(tree.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        flock(handle, LOCK_SH)
        yield handle
    finally:
        os.close(handle)


def prune(cache: Path | None = None, *, before: float) -> None:
    """Drop roots that nobody holds and that were last used ``before``, and the layers that only they had.

    Args:
        cache: where root file systems are kept; default :func:`folder`.
        before: seconds since the epoch.
    """
    cache = folder() if cache is None else cache
    with _alone(cache):
        for place in _folders(cache / "roots"):
            if place.stat().st_mtime < before:
                _drop_unless_held(place)
        kept = {
            _hex(diff_id)
            for place in _folders(cache / "roots")
            for diff_id in json.loads((place / "layers.json").read_text())
        }
        for place in _folders(cache / "layers"):
            if place.name not in kept and place.stat().st_mtime < before:
                shutil.rmtree(place)


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")


def _folders(place: Path) -> list[Path]:
    return sorted(place.iterdir()) if place.is_dir() else []


def _touch(place: Path, now: float) -> bool:
    """Note that a root or layer is used now; False if it is not there."""
    try:
        os.utime(place, (now, now))
    except FileNotFoundError:
        return False
    return True


def _ensure_layer(cache: Path, layout: Layout, layer: Layer, now: float) -> None:
    place = cache / "layers" / _hex(layer.diff_id)
    if _touch(place, now):
        return
    with _making(cache, place) as made:
        (made / "tree").mkdir()
        (made / "tree").chmod(0o755)
        marks = unpack(layout.path(layer.descriptor.digest), layer.diff_id, made / "tree")
        (made / "marks.json").write_text(
            json.dumps(
                {
                    "hidden": marks.hidden,
                    "opaque": sorted(marks.opaque),
                    "implied": sorted(marks.implied),
                }
            )
        )
    _touch(place, now)


def _marks(text: str) -> Marks:
    document = json.loads(text)
    hidden = {name: tuple(names) for name, names in document["hidden"].items()}
    return Marks(hidden, frozenset(document["opaque"]), frozenset(document["implied"]))


def _ensure_root(cache: Path, place: Path, diff_ids: Sequence[str]) -> None:
    with _making(cache, place) as made:
        tree = made / "tree"
        tree.mkdir()
        tree.chmod(0o755)
        for diff_id in diff_ids:
            layer = cache / "layers" / _hex(diff_id)
            _lay(layer / "tree", tree, _marks((layer / "marks.json").read_text()))
        (made / "layers.json").write_text(json.dumps(list(diff_ids)))


def _lay(layer: Path, tree: Path, marks: Marks, where: str = "") -> None:
    """Lay the folder ``where`` of a layer over the same folder of the tree, which is there."""
    below = tree / where
    if where in marks.opaque:
        for name in os.listdir(below):  # noqa: PTH208 (names are all we need)
            _remove(below / name)
    for name in marks.hidden.get(where, ()):
        _remove(below / name)
    with os.scandir(layer / where) as entries:
        for entry in entries:
            path = below / entry.name
            if not entry.is_dir(follow_symlinks=False):
                _remove(path)
                _link(entry.path, path)
                continue
            inner = f"{where}/{entry.name}" if where else entry.name
            fresh = path.is_symlink() or not path.is_dir()
            if fresh:
                _remove(path)
                path.mkdir(0o700)
            if fresh or inner not in marks.implied:
                path.chmod(entry.stat(follow_symlinks=False).st_mode & 0o1777)
            _lay(layer, tree, marks, inner)
    if not where and "" not in marks.implied:
        tree.chmod(layer.stat().st_mode & 0o1777)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _link(source: str, target: Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        # A file has only so many names (65,000 on ext4), and some file systems allow none but one.
        if error.errno not in (errno.EMLINK, errno.EPERM, errno.ENOTSUP):
            raise
        shutil.copy2(source, target, follow_symlinks=False)


@contextmanager
def _making(cache: Path, place: Path) -> Iterator[Path]:
    """A folder that becomes ``place`` when the block is through; what a killed process left is dropped."""
    with _alone(cache):
        for left in _folders(cache / "tmp"):
            _drop_unless_held(left)
        made = Path(tempfile.mkdtemp(dir=cache / "tmp"))
        handle = os.open(made, os.O_RDONLY | os.O_DIRECTORY)
        flock(handle, LOCK_EX)
    try:
        yield made
        place.parent.mkdir(exist_ok=True)
        try:
            made.rename(place)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise  # else another process was first, and made the same
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(handle)


@contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """One process at a time clears away."""
    (cache / "tmp").mkdir(parents=True, exist_ok=True)
    handle = os.open(cache / "tmp", os.O_RDONLY | os.O_DIRECTORY)
    try:
        flock(handle, LOCK_EX)
        yield
    finally:
        flock(handle, LOCK_UN)
        os.close(handle)


def _drop_unless_held(place: Path) -> None:
    handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        flock(handle, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        return
    else:
        shutil.rmtree(place)
    finally:
        os.close(handle)
