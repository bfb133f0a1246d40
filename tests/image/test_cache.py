"""What a build remembers: never wrong, and never needed."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.image import Layer, secrets
from serinus.image.cache import (
    MARGIN,
    Clock,
    Contents,
    Known,
    Layers,
    Store,
    layer_key,
    settled,
    start_clock,
)
from serinus.image.layers import Item
from serinus.registry import LAYER_GZIP, Descriptor
from serinus.registry.layout import Layout

LATER = Clock(device=-1, there=0, here=1 << 62)
"""A clock that stands long after every file was written."""


def stat(changed: int, device: int = 7, modified: int | None = None) -> os.stat_result:
    times = {"st_ctime_ns": changed, "st_mtime_ns": changed if modified is None else modified}
    return cast(os.stat_result, SimpleNamespace(st_size=1, st_ino=1, st_dev=device, **times))


@given(st.integers(0, 10**10), st.integers(0, 10**10))
def test_a_file_is_settled_only_when_it_changed_in_an_earlier_tick(changed: int, now: int) -> None:
    assert settled(stat(changed), Clock(7, now, 0)) == (changed < now)
    assert settled(stat(changed), Clock(8, 0, now)) == (changed < now - MARGIN)


def test_a_file_that_says_it_is_from_tomorrow_is_never_settled() -> None:
    assert not settled(stat(5, modified=100), Clock(7, 50, 0))


def test_the_clock_is_that_of_the_file_system(tmp_path: Path) -> None:
    before = start_clock(tmp_path / "new")
    (tmp_path / "file").touch()
    state = (tmp_path / "file").stat()
    assert state.st_dev == before.device
    assert state.st_mtime_ns >= before.there
    assert not settled(state, before)


def remembered(folder: Path, clock: Clock = LATER) -> tuple[Contents, Path, os.stat_result]:
    file = folder / "file"
    file.write_bytes(b"content")
    return Contents(folder / "contents.json", clock), file, file.stat()


def test_what_was_put_is_found_again_until_the_file_changes(tmp_path: Path) -> None:
    contents, file, state = remembered(tmp_path)
    known = Known("ab" * 32, clean=True)
    contents.put("file", state, known)
    contents.save()
    again = Contents(tmp_path / "contents.json", LATER)
    assert again.find("file", state) == known
    assert again.find("other", state) is None
    file.write_bytes(b"another")
    assert again.find("file", file.stat()) is None
    file.rename(tmp_path / "moved")
    file.write_bytes(b"content")
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert again.find("file", file.stat()) is None


def test_what_may_change_unseen_is_not_remembered(tmp_path: Path) -> None:
    now = start_clock(tmp_path)
    contents, _, state = remembered(tmp_path, now)
    contents.put("file", state, Known("ab" * 32, clean=True))
    assert contents.find("file", state) is None


def test_patterns_that_are_newer_make_a_file_unclean(tmp_path: Path) -> None:
    contents, _, state = remembered(tmp_path)
    contents.put("file", state, Known("ab" * 32, clean=True))
    contents.save()
    file = tmp_path / "contents.json"
    document = json.loads(file.read_text())
    document["file"][2] = secrets.VERSION - 1
    file.write_text(json.dumps(document))
    assert Contents(file, LATER).find("file", state) == Known("ab" * 32, clean=False)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["file", "key", "layer"]), inner)
    ),
    max_leaves=8,
)


@given(st.binary(max_size=60) | _json.map(lambda value: json.dumps(value).encode()))
def test_a_damaged_cache_is_an_empty_one(tmp_path_factory: pytest.TempPathFactory, damage: bytes) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    for name in ("contents.json", "layers.json", "key.json"):
        (folder / name).write_bytes(damage)
    contents, _, state = remembered(folder)
    layout = Layout(folder / "layout")
    assert contents.find("file", state) is None
    assert Layers(folder / "layers.json", layout).find("key", "x") is None
    assert Store(folder).fetch("key", "x", layout) is None
    contents.save()
    Layers(folder / "layers.json", layout).save()


def stored(layout: Layout, data: bytes) -> Layer:
    with layout.new_blob() as blob:
        blob.write(data)
    return Layer("dependencies", Descriptor(LAYER_GZIP, blob.digest, blob.size), "sha256:" + "0" * 64)


def test_a_layer_is_found_only_while_its_blob_is_whole(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    layer = stored(layout, b"blob")
    index = Layers(tmp_path / "layers.json", layout)
    index.put("key", layer)
    index.save()
    found = Layers(tmp_path / "layers.json", layout).find("key", "dependencies")
    assert found is not None
    assert (found.descriptor, found.diff_id, found.cached) == (layer.descriptor, layer.diff_id, True)
    layout.path(layer.descriptor.digest).write_bytes(b"cut")
    assert Layers(tmp_path / "layers.json", layout).find("key", "dependencies") is None


def test_the_index_forgets_what_is_not_in_the_layout_any_more(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    index = Layers(tmp_path / "layers.json", layout)
    layers = [stored(layout, name) for name in (b"a", b"b")]
    for name, layer in zip("ab", layers, strict=True):
        index.put(name, layer)
    index.save()
    layout.path(layers[0].descriptor.digest).unlink()
    Layers(tmp_path / "layers.json", layout).save()
    assert list(json.loads((tmp_path / "layers.json").read_text())) == ["b"]


def test_a_found_layer_is_young_again(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    layer = stored(layout, b"blob")
    index = Layers(tmp_path / "layers.json", layout)
    index.put("key", layer)
    os.utime(layout.path(layer.descriptor.digest), (1, 1))
    assert index.find("key", "x")
    assert layout.collect(age=600) == 0
    assert layout.has(layer.descriptor)


def test_the_store_serves_another_layout(tmp_path: Path) -> None:
    first, second = Layout(tmp_path / "first"), Layout(tmp_path / "second")
    layer = stored(first, b"blob")
    store = Store(tmp_path / "store")
    store.offer("key", layer, first)
    found = store.fetch("key", "dependencies", second)
    assert found is not None
    assert found.descriptor == layer.descriptor
    assert second.path(layer.descriptor.digest).read_bytes() == b"blob"
    blob = tmp_path / "store/blobs" / layer.descriptor.digest.removeprefix("sha256:")
    blob.unlink()
    assert store.fetch("key", "dependencies", Layout(tmp_path / "third")) is None
    assert store.fetch("key", "dependencies", second) is not None
    assert not list((tmp_path / "store").rglob(".*"))


_items = st.lists(
    st.builds(
        lambda path, content, executable: Item(path, len(content), content, executable),
        st.text("ab/\n", min_size=1, max_size=4),
        st.binary(max_size=3),
        st.booleans(),
    )
    | st.builds(
        lambda path, link: Item(path, 0, None, link=link),
        st.text("ab", min_size=1),
        st.text("ab", min_size=1),
    ),
    unique_by=lambda item: item.path,
    max_size=5,
)


def _shown(items: list[Item]) -> set[tuple[Any, ...]]:
    return {(item.path, item.source, item.executable, item.link) for item in items}


@given(_items, _items, st.booleans(), st.booleans())
def test_keys_are_equal_exactly_when_layers_are(one: list[Item], other: list[Item], a: bool, b: bool) -> None:
    def key(items: list[Item], compress: bool) -> str:
        contents = {
            i.path: hashlib.sha256(i.source).hexdigest() for i in items if isinstance(i.source, bytes)
        }
        return layer_key(items, contents, compress)

    assert key(one, a) == key(list(reversed(one)), a)
    assert (key(one, a) == key(other, b)) == (_shown(one) == _shown(other) and a == b)
