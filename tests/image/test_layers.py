"""Layers: the same bytes whatever the folder looks like, readable by others' tar, nothing lost."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.errors import BuildError
from serinus.image import layers
from serinus.image.layers import Item, pack, split, tar_size


class Buffer:
    """A sink in memory that keeps what it is given."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes | memoryview) -> int:
        self.data += data
        return len(data)


def packed(items: list[Item], compress: bool = False) -> bytes:
    sink = Buffer()
    pack(items, sink, compress=compress)
    return bytes(sink.data)


def file(path: str, content: bytes = b"x", executable: bool = False) -> Item:
    return Item(path, len(content), content, executable)


_part = st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=120).filter(
    lambda part: part not in (".", "..") and len(part.encode()) < 250
)
_raw = st.binary(min_size=1, max_size=110).map(lambda b: b.replace(b"/", b"a").replace(b"\0", b"b"))
_any_part = _part | _raw.map(lambda raw: raw.decode("utf-8", "surrogateescape")).filter(
    lambda p: p not in (".", "..")
)
_paths = (
    st.lists(_any_part, min_size=1, max_size=5).map("/".join).filter(lambda path: not path.endswith(" /"))
)


@st.composite
def trees(draw: st.DrawFn) -> list[Item]:
    """Items that could lie in one folder: no path is also a folder above another."""
    chosen: dict[str, Item] = {}
    for path in draw(st.lists(_paths, min_size=1, max_size=8)):
        above = {path[:at] for at, c in enumerate(path) if c == "/"}
        if path in chosen or above & set(chosen) or any(other.startswith(path + "/") for other in chosen):
            continue
        if draw(st.booleans()):
            content = draw(st.binary(max_size=1500))
            chosen[path] = Item(path, len(content), content, draw(st.booleans()))
        else:
            chosen[path] = Item(path, 0, None, link=draw(_any_part))
    return list(chosen.values())


@given(trees(), st.randoms())
def test_python_reads_back_what_was_packed_in_any_order(items: list[Item], random: object) -> None:
    shuffled = list(items)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    data = packed(items)
    assert packed(shuffled) == data
    assert len(data) == tar_size(items)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = [member for member in tar.getmembers() if not member.isdir()]
        assert [m.name for m in members] == [i.path for i in sorted(items, key=lambda i: os.fsencode(i.path))]
        for member in tar.getmembers():
            assert (member.uid, member.gid, member.uname, member.gname, member.mtime) == (0, 0, "", "", 0)
        for item in items:
            member = tar.getmember(item.path)
            if item.link is not None:
                assert (member.issym(), member.linkname) == (True, item.link)
            else:
                assert member.mode == (0o755 if item.executable else 0o644)
                content = tar.extractfile(member)
                assert content is not None
                assert content.read() == item.source


def test_tar_itself_reads_every_kind_of_entry(tmp_path: Path) -> None:
    long = "folder/" + "n" * 180 + "/" + "m" * 120
    names = ["plain", long, "é" * 60, "line\nbreak", b"\xff\xfe".decode("utf-8", "surrogateescape")]
    items = [file(name, name.encode("utf-8", "surrogateescape")) for name in names]
    items.append(Item("link", 0, None, link="x" * 150))
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "-x", "-C", str(tmp_path / "out")], input=packed(items), check=True)
    for name in names:
        assert (tmp_path / "out" / name).read_bytes() == os.fsencode(name)
    assert (tmp_path / "out/link").readlink() == Path("x" * 150)


def test_folders_come_before_what_lies_in_them_and_once() -> None:
    data = packed([file("a/b/two"), file("a-b"), file("a/b/one"), file("a/c")])
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        listing = [(m.name, oct(m.mode)) for m in tar.getmembers()]
    assert listing == [
        ("a-b", "0o644"), ("a", "0o755"), ("a/b", "0o755"),
        ("a/b/one", "0o644"), ("a/b/two", "0o644"), ("a/c", "0o644"),
    ]  # fmt: skip


def test_compressed_layers_unpack_to_the_tar_and_say_its_digest() -> None:
    items = [file(f"f{number}", os.urandom(40_000) + bytes(40_000)) for number in range(60)]
    plain, sink = packed(items), Buffer()
    result = pack(items, sink, compress=True)
    assert gzip.decompress(bytes(sink.data)) == plain
    assert result.diff_id == "sha256:" + hashlib.sha256(plain).hexdigest()
    assert result.contents == {
        i.path: hashlib.sha256(i.source).hexdigest() for i in items if isinstance(i.source, bytes)
    }
    # RFC 1952: no flags (no name), no time.
    assert sink.data[:8] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00"


@given(st.lists(st.integers(0, 3 * layers.CHUNK), min_size=1, max_size=4))
def test_compression_does_not_see_how_the_content_was_cut(cuts: list[int]) -> None:
    """One tar, cut at other places: as one file, and as the file read from the disk."""
    content = (b"serinus" * 1000 + bytes(range(256))) * (2 + len(cuts))
    content = (content * (1 + max(cuts) // len(content)))[: max(cuts)]
    with tempfile.NamedTemporaryFile() as on_disk:
        on_disk.write(content)
        on_disk.flush()
        from_disk = packed([Item("f", len(content), Path(on_disk.name))], compress=True)
    assert from_disk == packed([file("f", content)], compress=True)


def test_the_disk_gives_the_same_as_memory_and_modes_follow_the_owner(tmp_path: Path) -> None:
    big = os.urandom(3 * layers.CHUNK + 17)
    (tmp_path / "big").write_bytes(big)
    (tmp_path / "small").write_bytes(b"small")
    from_disk = [Item("big", len(big), tmp_path / "big"), Item("small", 5, tmp_path / "small", True)]
    in_memory = [file("small", b"small", True), file("big", big)]
    assert packed(from_disk) == packed(in_memory)
    assert packed(from_disk, compress=True) == packed(in_memory, compress=True)


@pytest.mark.parametrize("size", [1, 3 * layers.CHUNK])
@pytest.mark.parametrize("off", [-1, 1])
@pytest.mark.parametrize("compress", [False, True])
def test_a_file_that_changes_while_it_is_packed_is_an_error(
    tmp_path: Path, size: int, off: int, compress: bool
) -> None:
    (tmp_path / "f").write_bytes(bytes(size + off))
    with pytest.raises(BuildError, match="was changed while it was packed"):
        pack([Item("f", size, tmp_path / "f")], Buffer(), compress=compress)


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"gone cannot be read: No such file"):
        pack([Item("f", 1, tmp_path / "gone")], Buffer(), compress=True)


class Full:
    """A sink on a full disk."""

    def __init__(self, room: int) -> None:
        self.room = room

    def write(self, data: bytes | memoryview) -> int:
        self.room -= len(data)
        if self.room < 0:
            raise OSError(28, "No space left on device")
        return len(data)


@pytest.mark.parametrize("compress", [False, True])
def test_a_full_disk_is_passed_on(compress: bool) -> None:
    items = [file(f"f{number}", os.urandom(layers.CHUNK)) for number in range(20)]
    with pytest.raises(OSError, match="No space left"):
        pack(items, Full(2 * layers.CHUNK), compress=compress)


def test_large_files_are_layers_of_their_own() -> None:
    large = [Item(f"{name}", layers.LARGE, Path("nowhere")) for name in "zb"]
    small = [file("y"), file("a")]
    assert [[item.path for item in layer] for layer in split([*large, *small])] == [["b"], ["z"], ["a", "y"]]
    assert split([]) == ()


def test_a_size_beyond_ustar_is_said_by_pax() -> None:
    item = Item("huge", 9 << 30, Path("nowhere"))
    assert tar_size([item]) == 3 * 512 + (9 << 30) + 1024
    with tarfile.open(fileobj=io.BytesIO(layers._head(item) + bytes(1024))) as tar:
        member = tar.next()
    assert member is not None
    assert (member.name, member.size) == ("huge", 9 << 30)
