"""Layers on top of each other: the same as a simple model, whatever is in them."""

from __future__ import annotations

import gzip
import io
import multiprocessing
import os
import stat
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from images import digest_of, layer_of, put

from serinus.errors import DigestMismatch, NotFound, RegistryError, RuntimeUnavailable
from serinus.image import Layer
from serinus.registry import LAYER, Descriptor
from serinus.registry.layout import Layout
from serinus.runtimes import rootfs


@dataclass(frozen=True)
class File:
    data: bytes
    mode: int


@dataclass(frozen=True)
class Link:
    aim: str


@dataclass(frozen=True)
class Folder:
    mode: int


Node = File | Link | Folder
Tree = dict[str, Node]


@dataclass(frozen=True)
class Change:
    """A layer: what it brings, what it takes away, and the folders it empties first."""

    brings: Mapping[str, Node]
    hides: frozenset[str] = frozenset()
    empties: frozenset[str] = frozenset()


NAMES = st.sampled_from(["a", "b", "cat", "d e", "ü", "\udcff"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
MODES = st.integers(0, 0o777)
NODES = st.one_of(
    st.builds(File, st.binary(max_size=20), MODES),
    st.builds(Link, st.sampled_from(["a", "../b", "/cat/a", "nowhere", "/etc/passwd"])),
    st.builds(Folder, MODES),
)


def whole(brings: Mapping[str, Node]) -> dict[str, Node]:
    """The same with a folder entry for each parent; what lies under something else than a folder goes."""
    nodes: dict[str, Node] = {}
    for path in sorted(brings):
        parents = [path.rsplit("/", n)[0] for n in range(path.count("/"), 0, -1)]
        if all(isinstance(nodes.get(p, Folder(0)), Folder) for p in parents):
            for parent in parents:
                nodes.setdefault(parent, Folder(0o755))
            nodes[path] = brings[path]
    return nodes


def changes() -> st.SearchStrategy[Change]:
    def build(brings: dict[str, Node], hides: frozenset[str], picks: frozenset[str]) -> Change:
        nodes = whole(brings)
        folders = {""} | {path for path, node in nodes.items() if isinstance(node, Folder)}
        hidden = frozenset(h for h in hides if h.rpartition("/")[0] in folders)
        return Change(nodes, hidden, picks & folders)

    picked = st.frozensets(st.one_of(st.just(""), PATHS), max_size=1)
    return st.builds(
        build, st.dictionaries(PATHS, NODES, max_size=6), st.frozensets(PATHS, max_size=3), picked
    )


def names(folder: Path | str) -> list[str]:
    return sorted(entry.name for entry in Path(folder).iterdir())


def drop(tree: Tree, path: str) -> None:
    for name in [n for n in tree if n == path or n.startswith(path + "/")]:
        del tree[name]


def applied(layers: Iterable[Change]) -> Tree:
    """The model: a dictionary, one layer after the other."""
    tree: Tree = {}
    for change in layers:
        for folder in change.empties:
            for name in [n for n in tree if not folder or n.startswith(folder + "/")]:
                del tree[name]
        for path in change.hides:
            drop(tree, path)
        for path in sorted(change.brings):
            node = change.brings[path]
            if not (isinstance(node, Folder) and isinstance(tree.get(path), Folder)):
                drop(tree, path)
            tree[path] = node
    return tree


def pack(change: Change) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", encoding="utf-8", errors="surrogateescape") as tar:
        for folder in sorted(change.empties):
            tar.addfile(tarfile.TarInfo(f"{folder}/.wh..wh..opq".lstrip("/")))
        for path in sorted(change.hides):
            parent, _, name = path.rpartition("/")
            tar.addfile(tarfile.TarInfo(f"{parent}/.wh.{name}".lstrip("/")))
        for path, node in sorted(change.brings.items()):
            member = tarfile.TarInfo(path)
            if isinstance(node, File):
                member.size, member.mode = len(node.data), node.mode
                tar.addfile(member, io.BytesIO(node.data))
            elif isinstance(node, Link):
                member.type, member.linkname = tarfile.SYMTYPE, node.aim
                tar.addfile(member)
            else:
                member.type, member.mode = tarfile.DIRTYPE, node.mode
                tar.addfile(member)
    return buffer.getvalue()


def found(tree: Path) -> Tree:
    nodes: Tree = {}
    for here, folders, files in os.walk(tree):
        for name in folders + files:
            path = Path(here, name)
            key, mode = path.relative_to(tree).as_posix(), stat.S_IMODE(path.lstat().st_mode)
            if path.is_symlink():
                nodes[key] = Link(str(path.readlink()))
            elif path.is_dir():
                nodes[key] = Folder(mode)
            else:
                nodes[key] = File(path.read_bytes(), mode)
    return nodes


def kept(tree: Tree) -> Tree:
    """With the owner's rights that the cache's owner always keeps."""
    more = {File: 0o400, Folder: 0o700}
    return {
        path: node
        if isinstance(node, Link)
        else type(node)(**(vars(node) | {"mode": node.mode | more[type(node)]}))
        for path, node in tree.items()
    }


def layer(layout: Layout, tar: bytes, stored: bytes | None = None) -> Layer:
    return Layer("some", put(layout, tar if stored is None else stored, LAYER), digest_of(tar))


def unpacked(place: Path, *tars: bytes) -> Path:
    layout = Layout(place / "layout")
    return rootfs.root(layout, [layer(layout, tar) for tar in tars], cache=place / "cache")


@settings(max_examples=60)
@given(st.lists(changes(), max_size=4))
def test_a_root_is_what_the_model_says(layers: list[Change]) -> None:
    with tempfile.TemporaryDirectory() as place:
        tree = unpacked(Path(place), *map(pack, layers))
        assert found(tree) == kept(applied(layers))
        assert names(Path(place) / "cache" / "tmp") == []


def test_compressed_layers_are_the_same_layers(tmp_path: Path) -> None:
    tar = layer_of({"a/b": b"x" * 3_000_000})
    layout = Layout(tmp_path / "layout")
    half = len(tar) // 2
    for number, stored in enumerate(
        [
            tar,
            gzip.compress(tar, mtime=0),
            gzip.compress(tar[:half]) + gzip.compress(tar[half:]),
            zstandard.ZstdCompressor().compress(tar),
        ]
    ):
        tree = rootfs.root(layout, [layer(layout, tar, stored)], cache=tmp_path / f"cache{number}")
        assert (tree / "a/b").read_bytes() == b"x" * 3_000_000


def test_a_layer_is_written_once_for_all_images(tmp_path: Path) -> None:
    model, old, new = layer_of({"model": b"w" * 1000}), layer_of({"code": b"1"}), layer_of({"code": b"2"})
    first, second = unpacked(tmp_path, model, old), unpacked(tmp_path, new, model)
    assert (first / "model").samefile(second / "model")
    assert [(first / "code").read_bytes(), (second / "code").read_bytes()] == [b"1", b"2"]


def member(
    name: str, kind: bytes = tarfile.REGTYPE, aim: str = "", data: bytes = b"x"
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, aim
    info.size = len(data) if kind == tarfile.REGTYPE else 0
    return info, data


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "members",
    [
        [member("../out")],
        [member("a/../../out")],
        [member("/../out")],
        [member("in", tarfile.LNKTYPE, "../../secret")],
        [member("in", tarfile.LNKTYPE, "/secret")],
        [member("a", tarfile.SYMTYPE, "/"), member("in", tarfile.LNKTYPE, "a/secret")],
        [member("a"), member("a/b")],
        [member("a", tarfile.SYMTYPE, "a"), member("a/b")],
        [member(".wh...")],
        [member("d/.wh...")],
    ],
    ids=lambda m: "+".join(info.name for info, _ in m),
)
def test_names_that_lead_out_are_refused(
    tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]]
) -> None:
    (tmp_path / "secret").write_text("mine")
    with pytest.raises(RegistryError):
        unpacked(tmp_path, tar_of(*members))
    assert {p.name for p in tmp_path.iterdir()} == {"secret", "layout", "cache"}
    assert names(tmp_path / "cache" / "tmp") == []
    assert not list((tmp_path / "cache").glob("layers/*"))


def test_links_are_followed_inside_the_layer_alone(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    tree = unpacked(
        tmp_path,
        tar_of(
            member("/absolute"),
            member("up", tarfile.SYMTYPE, "../../../../../.."),
            member("up/caught"),
            member("away", tarfile.SYMTYPE, str(outside)),
            member("away/caught"),
            member("replaced", tarfile.SYMTYPE, str(outside / "target")),
            member("replaced", data=b"file"),
        ),
    )
    assert names(outside) == []
    assert (tree / "absolute").read_bytes() == b"x"
    assert (tree / "caught").read_bytes() == b"x"
    assert (tree / str(outside).lstrip("/") / "caught").read_bytes() == b"x"
    assert (tree / "replaced").read_bytes() == b"file"


def test_a_layer_cannot_write_through_a_link_of_the_layer_below(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("mine")
    tree = unpacked(
        tmp_path,
        tar_of(member("a", tarfile.SYMTYPE, str(outside)), member("b", tarfile.SYMTYPE, str(outside))),
        tar_of(member("a/in"), member("b/.wh.precious"), member("b/.wh..wh..opq")),
    )
    assert names(outside) == ["precious"]
    assert (tree / "a/in").read_bytes() == b"x"
    assert not (tree / "a").is_symlink()


def test_devices_are_left_out_and_no_program_is_set_uid(tmp_path: Path) -> None:
    program = tarfile.TarInfo("sudo")
    program.mode = 0o6755
    tree = unpacked(
        tmp_path,
        tar_of(
            member("disk", tarfile.BLKTYPE),
            member("tty", tarfile.CHRTYPE),
            member("pipe", tarfile.FIFOTYPE),
            (program, b""),
        ),
    )
    assert names(tree) == ["sudo"]
    assert stat.S_IMODE((tree / "sudo").stat().st_mode) == 0o755


def test_in_one_layer_the_last_entry_counts(tmp_path: Path) -> None:
    top = tarfile.TarInfo("./")
    top.type, top.mode = tarfile.DIRTYPE, 0o711
    tree = unpacked(
        tmp_path,
        tar_of(member("below/kept"), member("below/gone")),
        tar_of(
            (top, b""),
            member("d/implied/.wh..wh..opq"),
            member("d/.wh.x"),
            member("d/.wh..wh.plnk"),
            member("d", data=b"a file now"),
            member("below/.wh.gone"),
            member("below/.wh."),
        ),
    )
    assert found(tree) == {
        "d": File(b"a file now", 0o644),
        "below": Folder(0o755),
        "below/kept": File(b"x", 0o644),
    }
    assert stat.S_IMODE(tree.stat().st_mode) == 0o711


def test_hard_links_are_one_file(tmp_path: Path) -> None:
    tree = unpacked(tmp_path, tar_of(member("bin/a"), member("bin/b", tarfile.LNKTYPE, "bin/a")))
    assert (tree / "bin/a").samefile(tree / "bin/b")


@pytest.mark.parametrize("cut", [0, 100, 700, 1500])
def test_a_layer_that_is_cut_off_leaves_nothing(tmp_path: Path, cut: int) -> None:
    tar = layer_of({"a": b"x" * 2000})
    layout = Layout(tmp_path / "layout")
    damaged = Layer("some", put(layout, tar[:cut], LAYER), digest_of(tar))
    with pytest.raises(RegistryError):
        rootfs.root(layout, [damaged], cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("layers/*"))
    assert names(tmp_path / "cache" / "tmp") == []


@pytest.mark.parametrize("start", [b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PK"])
def test_what_is_no_archive_is_refused(tmp_path: Path, start: bytes) -> None:
    layout = Layout(tmp_path / "layout")
    with pytest.raises(RegistryError, match="cannot be unpacked"):
        rootfs.root(layout, [layer(layout, b"", start + b"nonsense" * 100)], cache=tmp_path / "cache")


def test_a_layer_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = Layer("some", Descriptor(LAYER, "sha256:" + "0" * 64, 10), "sha256:" + "0" * 64)
    with pytest.raises(NotFound, match="0000"):
        rootfs.root(Layout(tmp_path / "layout"), [missing], cache=tmp_path / "cache")


def test_a_layer_is_held_to_its_diff_id(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    lie = Layer("some", put(layout, layer_of({"a": b"evil"}), LAYER), digest_of(layer_of({"a": b"good"})))
    with pytest.raises(DigestMismatch, match=lie.diff_id):
        rootfs.root(layout, [lie], cache=tmp_path / "cache")


def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path) -> None:
    left = tmp_path / "cache" / "tmp" / "left"
    (left / "tree").mkdir(parents=True)
    unpacked(tmp_path, layer_of({"a": b""}))
    assert not left.exists()


def _race(place: Path) -> None:
    unpacked(place, layer_of({str(n): b"x" for n in range(200)}))


def test_two_processes_at_once_make_one_root(tmp_path: Path) -> None:
    tar = layer_of({str(n): b"x" for n in range(200)})
    layout = Layout(tmp_path / "layout")
    put(layout, tar, LAYER)
    context = multiprocessing.get_context("spawn")
    racers = [context.Process(target=_race, args=(tmp_path,)) for _ in range(3)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(60)
    assert [racer.exitcode for racer in racers] == [0, 0, 0]
    assert len(names(unpacked(tmp_path, tar))) == 200


def test_old_roots_make_room_but_for_those_in_use(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    cache = tmp_path / "cache"

    def root(name: str, now: float) -> Path:
        layers = [layer(layout, layer_of({"shared": b""})), layer(layout, layer_of({name: b""}))]
        return rootfs.root(layout, layers, cache=cache, clock=lambda: now)

    idle, held, fresh = root("idle", 1000.0), root("held", 1000.0), root("fresh", 2000.0)
    with rootfs.used(held):
        rootfs.prune(cache, before=1500.0)
    assert [tree.exists() for tree in (idle, held, fresh)] == [False, True, True]
    # The layer of the idle root goes with it; the shared one and those of the others stay.
    assert len(list((cache / "layers").iterdir())) == 3


def test_a_cache_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    layout = Layout(tmp_path / "layout")
    with pytest.raises(RuntimeUnavailable, match="SERINUS_CACHE"):
        rootfs.root(layout, [layer(layout, layer_of({}))], cache=tmp_path / "file" / "cache")


@given(st.text(alphabet="ab./", max_size=12))
def test_mount_points_stay_inside(where: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        tree = Path(place) / "tree"
        tree.mkdir()
        (tree / "a").symlink_to("../../b")
        (tree / "b").symlink_to("/c")
        real = rootfs.mount_point(tree, "/" + where)
        assert (tree / real[1:]).is_dir()
        assert (tree / real[1:]).resolve().is_relative_to(tree.resolve())
        assert names(place) == ["tree"]
