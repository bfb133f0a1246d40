"""Models out of artifacts of every format, and what is refused in them."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest
from artifacts import (
    KIT,
    KIT_FILES,
    PACK,
    at,
    blob,
    manifest,
    model_kit,
    model_pack,
    plain,
    tar,
    titled,
)
from hypothesis import given
from hypothesis import strategies as st

from serinus.errors import DigestMismatch, ModelError
from serinus.models.formats import refuse_collisions, safe_path
from serinus.models.pack import bring, parts_in
from serinus.registry import CONFIG, INDEX, LAYER_GZIP, Descriptor
from serinus.registry.content import digest_of
from serinus.registry.layout import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "brought"
    made.mkdir()
    return made


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("old", [False, True], ids=["with digests", "of the first versions"])
def test_a_model_kit_becomes_its_files(layout: Layout, folder: Path, old: bool) -> None:
    kit = model_kit(layout, old=old)
    told: list[tuple[int, int | None]] = []
    bring(layout, kit, folder, lambda done, total: told.append((done, total)))
    assert files(folder) == KIT_FILES
    total = sum(p.descriptor.size for p in parts_in(layout, kit))
    assert told[-1] == (total, total)
    assert [p.kind for p in parts_in(layout, kit)] == ["weight", "weight.config", "code", "doc"]


def test_a_model_pack_becomes_its_files(layout: Layout, folder: Path) -> None:
    made = model_pack(
        layout,
        [
            at(layout, b"weights", f"{PACK}.weight.v1.raw", "onnx/model.onnx"),
            blob(layout, tar({"config.json": b"{}"}), f"{PACK}.weight.config.v1.tar"),
            blob(layout, tar({"docs/README.md": b"# x"}, compress=True), f"{PACK}.doc.v1.tar+gzip"),
            titled(layout, b"x = 1", "run.py", f"{PACK}.code.v1.raw"),
            blob(layout, b"{}", f"{KIT}.config.v1+json"),
        ],
    )
    bring(layout, made, folder)
    assert files(folder) == {
        "onnx/model.onnx": b"weights",
        "config.json": b"{}",
        "docs/README.md": b"# x",
        "run.py": b"x = 1",
    }


def test_a_model_pack_under_its_older_name_is_read(layout: Layout, folder: Path) -> None:
    layers = [at(layout, b"w", "application/vnd.cnai.model.weight.v1", "w.bin")]
    config = blob(layout, b"{}", "application/vnd.cnai.model.config.v1+json")
    made = manifest(layout, config, layers, artifactType="application/vnd.cnai.model.manifest.v1+json")
    bring(layout, made, folder)
    assert files(folder) == {"w.bin": b"w"}


def test_what_oras_pushes_becomes_its_files(layout: Layout, folder: Path) -> None:
    archive = blob(layout, tar({"conf": None, "conf/a.json": b"1"}, compress=True), LAYER_GZIP)
    told = {"org.opencontainers.image.title": "conf", "io.deis.oras.content.unpack": "true"}
    unpacked = Descriptor(LAYER_GZIP, archive.digest, archive.size, annotations=told)
    made = plain(layout, [titled(layout, b"weights", "sub/model.bin"), unpacked])
    bring(layout, made, folder)
    assert files(folder) == {"sub/model.bin": b"weights", "conf/a.json": b"1"}


def test_a_file_that_can_be_run_can_be_run(layout: Layout, folder: Path) -> None:
    raw = at(layout, b"#!", f"{PACK}.code.v1.raw", "raw.sh")
    told = {**raw.annotations, "org.cncf.model.file.metadata+json": '{"name": "raw.sh", "mode": 493}'}
    layers = [
        Descriptor(raw.media_type, raw.digest, raw.size, annotations=told),
        blob(layout, tar({"packed.sh": b"#!"}, mode=0o4755), f"{PACK}.code.v1.tar"),
        at(layout, b"x", f"{PACK}.weight.v1.raw", "w.bin"),
    ]
    bring(layout, model_pack(layout, layers), folder)
    modes = {p.name: p.stat().st_mode & 0o7777 for p in folder.iterdir()}
    assert {name: mode & 0o111 != 0 for name, mode in modes.items()} == {
        "raw.sh": True,
        "packed.sh": True,
        "w.bin": False,
    }
    assert not any(mode & 0o7000 for mode in modes.values())


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "", ".", "a\0b"])
def test_a_path_that_leads_out_is_refused(layout: Layout, path: str) -> None:
    with pytest.raises(ModelError, match="expected a relative one that stays inside"):
        safe_path(path, "the model")
    made = plain(layout, [titled(layout, b"x", path)])
    with pytest.raises(ModelError, match="expected a relative one"):
        parts_in(layout, made)


@given(st.text(max_size=30))
def test_a_path_stays_inside_or_is_refused(path: str) -> None:
    try:
        safe = safe_path(path, "x")
    except ModelError:
        return
    inside = Path("/models/x")
    assert Path(inside / safe).is_relative_to(inside)
    assert ".." not in Path(safe).parts
    assert safe_path(safe, "x") == safe


@given(st.lists(st.sampled_from(["a", "b", "a/b", "a/b/c", "b/c", "c"]), max_size=5))
def test_paths_collide_when_no_folder_can_hold_them(paths: list[str]) -> None:
    def fits() -> bool:
        twice = len(set(paths)) != len(paths)
        return not twice and not any(x != y and y.startswith(f"{x}/") for x in paths for y in paths)

    try:
        refuse_collisions(paths, "the model")
    except ModelError:
        assert not fits()
    else:
        assert fits()


@pytest.mark.parametrize("name", ["../evil", "/evil", "x/../../evil"])
def test_an_archive_that_leads_out_is_refused(layout: Layout, folder: Path, name: str) -> None:
    made = model_pack(layout, [blob(layout, tar({name: b"x"}), f"{PACK}.weight.v1.tar")])
    with pytest.raises(ModelError, match="expected a relative one"):
        bring(layout, made, folder)
    assert not list(folder.parent.rglob("evil"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_an_archive_are_refused(layout: Layout, folder: Path, kind: bytes) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    made = model_pack(layout, [blob(layout, out.getvalue(), f"{PACK}.weight.v1.tar")])
    with pytest.raises(ModelError, match="a link or a device"):
        bring(layout, made, folder)
    assert not list(folder.iterdir())


def test_a_path_that_stands_twice_is_refused(layout: Layout, folder: Path) -> None:
    raw = f"{PACK}.weight.v1.raw"
    with pytest.raises(ModelError, match="'w' twice"):
        parts_in(layout, model_pack(layout, [at(layout, b"1", raw, "w"), at(layout, b"2", raw, "w")]))
    with pytest.raises(ModelError, match="as a file"):
        parts_in(layout, model_pack(layout, [at(layout, b"1", raw, "w"), at(layout, b"2", raw, "w/x")]))
    archive = blob(layout, tar({"w": b"2"}), f"{PACK}.weight.v1.tar")
    with pytest.raises(ModelError, match="twice, or as a file and a folder"):
        bring(layout, model_pack(layout, [at(layout, b"1", raw, "w"), archive]), folder)


@pytest.mark.parametrize(
    ("data", "form"),
    [
        (b"no tar at all" * 100, "tar"),
        (tar({"x": b"y" * 2000})[:1000], "tar"),
        (b"no gzip", "tar+gzip"),
        (gzip.compress(tar({"x": b"y" * 100_000}))[:-20], "tar+gzip"),
    ],
    ids=["no tar", "cut off", "no gzip", "gzip cut off"],
)
def test_a_damaged_archive_is_told(layout: Layout, folder: Path, data: bytes, form: str) -> None:
    made = model_pack(layout, [blob(layout, data, f"{PACK}.weight.v1.{form}")])
    with pytest.raises(ModelError, match="the model sha256:"):
        bring(layout, made, folder)


def test_what_was_changed_where_it_is_stored_is_noticed(layout: Layout, folder: Path) -> None:
    raw = at(layout, b"weights", f"{PACK}.weight.v1.raw", "w.bin")
    archive = blob(layout, tar({"a": b"1"}) + bytes(1 << 16), f"{PACK}.weight.v1.tar")
    made = model_pack(layout, [raw, archive])
    layout.path(archive.digest).write_bytes(tar({"a": b"1"}) + bytes((1 << 16) - 1) + b"x")
    with pytest.raises(DigestMismatch):
        bring(layout, made, folder)


def test_an_image_is_no_model(layout: Layout) -> None:
    layer = blob(layout, b"x", LAYER_GZIP)
    with pytest.raises(ModelError, match=r"tar\+gzip without a file's name, expected a model"):
        parts_in(layout, manifest(layout, blob(layout, b"{}", CONFIG), [layer]))
    with pytest.raises(ModelError, match="holds no files"):
        parts_in(layout, model_pack(layout, []))


def test_an_index_is_no_model(layout: Layout) -> None:
    inner = model_kit(layout)
    body = b'{"schemaVersion": 2, "manifests": [%s]}' % (
        b'{"mediaType": "%s", "digest": "%s", "size": %d}'
        % (inner.media_type.encode(), inner.digest.encode(), inner.size)
    )
    descriptor = Descriptor(INDEX, digest_of(body), len(body))
    layout.write_manifest(descriptor, body, ["i"])
    with pytest.raises(ModelError, match="an index of 1 manifests, expected one model"):
        parts_in(layout, descriptor)


def test_a_kit_whose_model_is_elsewhere_is_told(layout: Layout) -> None:
    config = blob(layout, b'{"model": {"path": "ghcr.io/acme/base:1"}}', f"{KIT}.config.v1+json")
    layers = [blob(layout, tar({"x.py": b""}), f"{KIT}.code.v1.tar")]
    with pytest.raises(ModelError, match="in another one, ghcr.io/acme/base:1"):
        parts_in(layout, manifest(layout, config, layers))
    broken = blob(layout, b"[]", f"{KIT}.config.v1+json")
    with pytest.raises(ModelError, match="expected a Kitfile"):
        parts_in(layout, manifest(layout, broken, layers))


def test_zstd_is_read_where_this_python_can(layout: Layout, folder: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    data = zstandard.ZstdCompressor().compress(tar({"w.bin": b"weights"}))
    bring(layout, model_pack(layout, [blob(layout, data, f"{PACK}.weight.v1.tar+zstd")]), folder)
    assert files(folder) == {"w.bin": b"weights"}
