"""Base images: from where they come, what they hold, and what the lock says about them."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from parts import RealRegistry
from serinus.errors import BaseError, Unavailable
from serinus.events import Event, Noted, Observer, ignore
from serinus.image import Base, base
from serinus.image.base import FALLBACK, FRESH, fits, parse, resolve
from serinus.image.debian import NotInstalledError
from serinus.image.scan import Holdings, holdings, open_layer, parse_status, python_of, scan
from serinus.registry import (
    CONFIG,
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    INDEX,
    LAYER,
    LAYER_GZIP,
    LAYER_ZSTD,
    MANIFEST,
    Descriptor,
    Platform,
    Source,
)
from serinus.registry.client import Repository
from serinus.registry.content import digest_of
from serinus.registry.layout import Layout

AMD64, ARM64 = Platform(), Platform(architecture="arm64")
STATUS = "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9\n"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"

Files = dict[str, str | None]
"""Path -> content; None is a folder."""

PYTHON: Files = {
    "usr/bin/python3.11": "elf",
    "lib64/ld-linux-x86-64.so.2": "elf",
    "var/lib/dpkg/status": STATUS,
}


def tar(files: Files) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for path, content in files.items():
            info = tarfile.TarInfo(path)
            info.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            info.size = len(content or "")
            archive.addfile(info, io.BytesIO((content or "").encode()))
    return out.getvalue()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    LAYER: bytes,
    LAYER_GZIP: partial(gzip.compress, mtime=0),
    LAYER_ZSTD: zstandard.ZstdCompressor().compress,
    DOCKER_LAYER: partial(gzip.compress, mtime=0),
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": gzip.compress,
}


def stored(layout: Layout, kind: str, body: bytes) -> Descriptor:
    with layout.new_blob() as blob:
        blob.write(body)
    return Descriptor(kind, blob.digest, blob.size)


def image(
    layout: Layout,
    *layers: Files,
    tag: str = "latest",
    kind: str = LAYER_GZIP,
    platform: Platform = AMD64,
    env: tuple[str, ...] = (),
    docker: bool = False,
) -> Descriptor:
    """Write an image into a layout."""
    tars = [tar(files) for files in layers]
    config = {
        "os": platform.os,
        "architecture": platform.architecture,
        "config": {"Env": list(env)},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(t) for t in tars]},
    }
    kinds = (DOCKER_MANIFEST, DOCKER_CONFIG) if docker else (MANIFEST, CONFIG)
    document = {
        "schemaVersion": 2,
        "mediaType": kinds[0],
        "config": stored(layout, kinds[1], json.dumps(config).encode()).to_json(),
        "layers": [stored(layout, kind, PACKERS[kind](t)).to_json() for t in tars],
    }
    body = json.dumps(document).encode()
    descriptor = Descriptor(kinds[0], digest_of(body), len(body), platform)
    layout.write_manifest(descriptor, body, [tag] if tag else [])
    return descriptor


def index(layout: Layout, *manifests: Descriptor, tag: str, docker: bool = False) -> Descriptor:
    kind = DOCKER_INDEX if docker else INDEX
    document = {"schemaVersion": 2, "mediaType": kind, "manifests": [m.to_json() for m in manifests]}
    body = json.dumps(document).encode()
    descriptor = Descriptor(kind, digest_of(body), len(body))
    layout.write_manifest(descriptor, body, [tag])
    return descriptor


class World:
    """A registry (a layout that counts who asks it), Debian, a clock, a cache, and a project's layout."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.remote = Layout(root / "remote")
        self.layout = Layout(root / "project")
        self.cache = root / "cache"
        self.events: list[Event] = []
        self.asked: list[str] = []
        self.now = 1e9
        self.debian: Files | None = PYTHON
        self.reachable = True

    @contextmanager
    def connect(self, reference: str) -> Iterator[tuple[Source, str]]:
        self.asked.append(reference)
        if not self.reachable:
            raise Unavailable("the registry could not be reached")
        yield self.remote, reference.rpartition("@")[2].rpartition("/")[2] if "@" in reference else "latest"

    def assemble(
        self, suite: str, platform: Platform, layout: Layout, *, observer: Observer = ignore
    ) -> Descriptor:
        self.asked.append(f"debian:{suite}")
        if self.debian is None:
            raise NotInstalledError("mmdebstrap is not installed", "apt-get install mmdebstrap")
        return image(layout, self.debian, tag=f"assembled-{platform.architecture}", platform=platform)

    def resolve(self, reference: str, platform: Platform = AMD64, **options: object) -> Base:
        return resolve(
            reference,
            platform,
            self.layout,
            cache=self.cache,
            root=self.root,
            observer=self.events.append,
            assemble=self.assemble,
            connect=self.connect,
            clock=lambda: self.now,
            **options,  # type: ignore[arg-type]
        )

    @property
    def noted(self) -> str:
        return "\n".join(e.message for e in self.events if isinstance(e, Noted))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


# References


@pytest.mark.parametrize(
    ("reference", "kind", "rest"),
    [
        ("debian:bookworm", "debian", "bookworm"),
        ("debian:trixie", "debian", "trixie"),
        ("debian:12-slim", "registry", "debian:12-slim"),
        ("debian:latest", "registry", "debian:latest"),
        ("debian", "registry", "debian"),
        ("docker.io/library/debian:bookworm", "registry", "docker.io/library/debian:bookworm"),
        ("oci:bases/mine:1", "oci", "bases/mine:1"),
        ("oci:/srv/bases", "oci", "/srv/bases"),
        ("127.0.0.1:5000/python", "registry", "127.0.0.1:5000/python"),
    ],
)
def test_the_three_kinds_of_base(reference: str, kind: str, rest: str) -> None:
    assert parse(reference) == (kind, rest)


# A registry


@pytest.mark.parametrize("kind", [LAYER, LAYER_GZIP, LAYER_ZSTD, DOCKER_LAYER])
def test_every_form_of_layer_is_accepted_and_named_as_oci_names_it(world: World, kind: str) -> None:
    pushed = image(world.remote, PYTHON, kind=kind, docker=kind == DOCKER_LAYER)
    found = world.resolve("acme/python")
    assert found.digest == pushed.digest
    assert (found.python, found.interpreter) == ("3.11", "/usr/bin/python3.11")
    assert found.packages == (("libc6", "2.36-9", "amd64"),)
    assert found.layers[0].diff_id == digest_of(tar(PYTHON))
    assert found.layers[0].descriptor.media_type == (LAYER_GZIP if kind == DOCKER_LAYER else kind)
    assert world.layout.has(found.layers[0].descriptor)


@pytest.mark.parametrize("docker", [False, True])
def test_of_an_index_the_platform_is_chosen(world: World, docker: bool) -> None:
    one = image(world.remote, PYTHON, tag="", docker=docker)
    two = image(world.remote, PYTHON, tag="", docker=docker, platform=ARM64)
    index(world.remote, one, two, tag="latest", docker=docker)
    assert world.resolve("acme/python", ARM64).digest == two.digest
    assert world.resolve("acme/python", AMD64).digest == one.digest


def test_a_platform_that_an_index_lacks_is_an_error_that_names_what_it_has(world: World) -> None:
    one = image(world.remote, PYTHON, tag="")
    index(world.remote, one, tag="latest")
    with pytest.raises(BaseError, match=r"no image for linux/arm64; it has linux/amd64"):
        world.resolve("acme/python", ARM64)


def test_an_image_for_another_platform_is_an_error(world: World) -> None:
    image(world.remote, PYTHON)
    with pytest.raises(BaseError, match=r"is for linux/amd64, not for linux/arm64"):
        world.resolve("acme/python", ARM64)


def test_a_locked_digest_is_taken_whatever_the_tag_says_now(world: World) -> None:
    first = image(world.remote, PYTHON)
    image(world.remote, PYTHON, {"etc/new": "x"})
    assert world.resolve("acme/python", locked=first.digest).digest == first.digest


def test_what_was_fetched_and_locked_needs_no_registry_any_more(world: World) -> None:
    pushed = image(world.remote, PYTHON)
    first = world.resolve("acme/python")
    world.reachable = False
    shutil.rmtree(world.root / "project")
    again = world.resolve("acme/python", locked=pushed.digest)
    assert again.digest == first.digest
    assert again.layers[0].cached
    assert not first.layers[0].cached
    assert world.asked == ["acme/python"]
    assert world.layout.has(again.layers[0].descriptor)


def test_without_a_lock_the_tag_is_resolved_every_time(world: World) -> None:
    image(world.remote, PYTHON)
    first = world.resolve("acme/python")
    second = image(world.remote, PYTHON, {"etc/new": "x"})
    assert world.resolve("acme/python").digest == second.digest != first.digest


def test_refresh_resolves_the_tag_again_and_tells(world: World) -> None:
    first = image(world.remote, PYTHON)
    world.resolve("acme/python")
    second = image(world.remote, PYTHON, {"etc/new": "x"})
    assert world.resolve("acme/python", locked=first.digest, refresh=True).digest == second.digest
    assert second.digest in world.noted


def test_a_damaged_cache_is_the_same_as_none(world: World) -> None:
    pushed = image(world.remote, PYTHON)
    world.resolve("acme/python")
    for facts in (world.cache / "bases/facts").iterdir():
        facts.write_text('{"version": 1, "layers": 3}')
    shutil.rmtree(world.root / "project")
    assert world.resolve("acme/python", locked=pushed.digest).digest == pushed.digest
    blob = Layout(world.cache / "bases/layout").path(world.resolve("acme/python").layers[0].descriptor.digest)
    blob.unlink()
    shutil.rmtree(world.root / "project")
    assert world.resolve("acme/python", locked=pushed.digest).digest == pushed.digest


def test_strict_needs_a_locked_digest(world: World) -> None:
    image(world.remote, PYTHON)
    with pytest.raises(BaseError, match="the lock has no base image"):
        world.resolve("acme/python", strict=True)


def test_layers_that_may_not_be_distributed_are_an_error(world: World) -> None:
    image(world.remote, PYTHON, kind="application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", docker=True)
    with pytest.raises(BaseError, match=r"foreign"):
        world.resolve("acme/python")


def test_what_is_not_an_image_is_an_error(world: World) -> None:
    layout = world.remote
    config = stored(layout, "application/vnd.oci.empty.v1+json", b"{}")
    body = json.dumps(
        {"schemaVersion": 2, "mediaType": MANIFEST, "config": config.to_json(), "layers": []}
    ).encode()
    layout.write_manifest(Descriptor(MANIFEST, digest_of(body), len(body)), body, ["latest"])
    with pytest.raises(BaseError, match="is not an image but"):
        world.resolve("acme/python")


# Another layout


def test_a_base_from_another_layout_is_relative_to_the_project(world: World) -> None:
    other = Layout(world.root / "bases" / "mine")
    one = image(other, PYTHON, tag="latest")
    two = image(other, PYTHON, {"etc/x": "y"}, tag="2")
    assert world.resolve("oci:bases/mine").digest == one.digest
    assert world.resolve("oci:bases/mine:2").digest == two.digest
    assert world.asked == []


# Debian


def test_a_debian_base_is_assembled_once(world: World) -> None:
    first = world.resolve("debian:bookworm")
    again = world.resolve("debian:bookworm")
    assert again.digest == first.digest
    assert again.layers[0].cached
    assert world.asked == ["debian:bookworm"]


def test_a_project_without_a_lock_takes_no_old_debian_base(world: World) -> None:
    world.resolve("debian:bookworm")
    world.now += FRESH + 1
    world.debian = {**PYTHON, "etc/new": "x"}
    newer = world.resolve("debian:bookworm")
    assert world.asked == ["debian:bookworm"] * 2
    assert not newer.layers[0].cached


def test_a_locked_debian_base_stays_as_long_as_the_cache_has_it(world: World) -> None:
    first = world.resolve("debian:bookworm")
    world.debian = {**PYTHON, "etc/new": "x"}
    second = world.resolve("debian:bookworm", refresh=True)
    world.now += 100 * FRESH
    assert world.resolve("debian:bookworm", locked=first.digest, strict=True).digest == first.digest
    assert world.resolve("debian:bookworm", locked=second.digest, strict=True).digest == second.digest
    assert len(world.asked) == 2


def test_a_locked_debian_base_that_is_gone_gives_way_and_that_is_told(world: World) -> None:
    gone = "sha256:" + "0" * 64
    found = world.resolve("debian:bookworm", locked=gone)
    assert found.digest != gone
    assert gone in world.noted
    assert found.digest in world.noted


def test_a_locked_debian_base_that_is_gone_is_an_error_when_the_lock_must_hold(world: World) -> None:
    with pytest.raises(BaseError, match="Debian keeps only current packages"):
        world.resolve("debian:bookworm", locked="sha256:" + "0" * 64, strict=True)


def test_each_platform_has_its_own(world: World) -> None:
    assert world.resolve("debian:bookworm").digest != world.resolve("debian:bookworm", ARM64).digest


def test_where_mmdebstrap_is_missing_the_default_base_is_a_registrys(world: World) -> None:
    world.debian = None
    pushed = image(world.remote, PYTHON)
    found = world.resolve("debian:bookworm")
    assert (found.digest, found.reference) == (pushed.digest, FALLBACK)
    assert FALLBACK in world.noted
    again = world.resolve("debian:bookworm", locked=pushed.digest, strict=True)
    assert again.reference == FALLBACK
    shutil.rmtree(world.cache)
    image(world.remote, PYTHON, {"etc/new": "x"})
    assert world.resolve("debian:bookworm", locked=pushed.digest, strict=True).digest == pushed.digest


def test_where_neither_can_be_had_both_are_told(world: World) -> None:
    world.debian, world.reachable = None, False
    with pytest.raises(BaseError, match=r"mmdebstrap is not installed.*could not be reached") as caught:
        world.resolve("debian:bookworm")
    assert "apt-get install mmdebstrap" in caught.value.todo


def test_another_suite_has_no_stand_in(world: World) -> None:
    world.debian = None
    with pytest.raises(BaseError, match="mmdebstrap is not installed"):
        world.resolve("debian:trixie")
    assert world.asked == ["debian:trixie"]


# What a base holds


def test_a_python_that_is_not_the_locked_one_names_both(world: World) -> None:
    image(world.remote, PYTHON)
    with pytest.raises(
        BaseError, match=r"has Python 3\.11 \(/usr/bin/python3\.11\).*locked for Python 3\.12"
    ):
        world.resolve("acme/python", python="3.12")


def test_a_base_without_python_is_an_error(world: World) -> None:
    image(world.remote, {"usr/bin/perl": "elf", "opt/python3.11": "elf", "usr/bin/python3": "elf"})
    with pytest.raises(BaseError, match="has no Python"):
        world.resolve("acme/python")


def test_a_base_for_musl_is_an_error(world: World) -> None:
    image(world.remote, {"lib/ld-musl-x86_64.so.1": "elf", "usr/local/bin/python3.11": "elf"})
    with pytest.raises(BaseError, match="musl"):
        world.resolve("acme/python")


@pytest.mark.parametrize(
    "bad", [b"not a tar, and longer than a header" * 20, gzip.compress(b"x" * 600)[:-20]]
)
def test_a_layer_that_is_not_a_tar_is_an_error(bad: bytes, tmp_path: Path) -> None:
    (tmp_path / "layer").write_bytes(bad)
    with pytest.raises(BaseError, match="is not a tar"):
        scan([partial(open_layer, tmp_path / "layer")])


def test_path_and_python_version_of_the_image_decide(world: World) -> None:
    files: Files = {"usr/bin/python3.11": "", "usr/local/bin/python3.13": "", "opt/venv/bin/python3.12": ""}
    assert world_python(world, files) == ("3.13", "/usr/local/bin/python3.13")
    path = "PATH=/opt/venv/bin:/usr/bin"
    assert world_python(world, files, path) == ("3.12", "/opt/venv/bin/python3.12")
    assert world_python(world, files, "PYTHON_VERSION=3.11.9") == ("3.11", "/usr/bin/python3.11")


def world_python(world: World, files: Files, *env: str) -> tuple[str, str]:
    image(world.remote, files, env=env)
    found = world.resolve("acme/python")
    return found.python, found.interpreter


def opener(files: Files) -> Callable[[], io.BytesIO]:
    return lambda: io.BytesIO(tar(files))


def test_whiteouts_take_away_what_lower_layers_hold() -> None:
    lower: Files = {"usr/bin/python3.11": "", "usr/local/bin/python3.12": "", "var/lib/dpkg/status": STATUS}
    upper: Files = {
        "usr/local/bin/python3.13": "",
        "usr/local/bin/.wh..wh..opq": "",
        "usr/bin/.wh.python3.11": "",
        "var/lib/.wh.dpkg": "",
    }
    assert scan([opener(lower), opener(upper)]).pythons == {"/usr/local/bin/python3.13"}
    assert scan([opener(lower), opener(upper)]).packages == ()


layer_files = st.dictionaries(
    st.sampled_from(
        ["usr/bin/python3.9", "usr/bin/python3.11", "bin/python3.12", "usr/bin/sh", "etc/passwd"]
    ),
    st.just(""),
)


@given(
    st.lists(
        st.tuples(layer_files, st.sets(st.sampled_from(["usr/bin/python3.11", "usr/bin", "bin"]))), max_size=4
    )
)
def test_a_scan_sees_what_unpacking_would_leave(layers: list[tuple[Files, set[str]]]) -> None:
    left: set[str] = set()
    for files, gone in layers:
        left = {p for p in left if not any(p == g or p.startswith(f"{g}/") for g in gone)} | set(files)
    tars = [opener({**{_whiteout(g): "" for g in gone}, **files}) for files, gone in layers]
    pythons = {f"/{p}" for p in left if "python" in p}
    assert scan(tars).pythons == pythons
    found = python_of(scan(tars))
    assert (found is None) is (not pythons)
    assert found is None or found[1] in pythons


def _whiteout(path: str) -> str:
    folder, _, name = path.rpartition("/")
    return os.path.join(folder, f".wh.{name}")  # noqa: PTH118 - a path inside a tar


def test_packages_are_those_installed_also_of_status_d() -> None:
    paths = {
        "var/lib/dpkg/status": (
            STATUS + "\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n"
        ).encode(),
        "var/lib/dpkg/status.d/tzdata": b"Package: tzdata\nVersion: 2024a\nArchitecture: all\n",
    }
    assert holdings(paths).packages == (("libc6", "2.36-9", "amd64"), ("tzdata", "2024a", "all"))


@given(st.text())
def test_any_status_file_can_be_read(text: str) -> None:
    assert all(name for name, _, _ in parse_status(text)) or text


@given(st.permutations(["amd64", "arm64", "arm"]), st.sampled_from(["", "v7", "v8"]))
def test_a_platform_fits_itself(machines: list[str], variant: str) -> None:
    one = Platform("linux", machines[0], variant)
    assert fits(one, one)
    assert not fits(one, Platform("linux", machines[1], variant))
    assert fits(one, Platform("linux", machines[0]))


def test_arm64_is_arm64_v8() -> None:
    assert fits(ARM64, Platform("linux", "arm64", "v8"))
    assert fits(Platform("linux", "arm64", "v8"), ARM64)
    assert not fits(Platform("linux", "arm"), Platform("linux", "arm", "v7"))


def test_nothing_holds_no_python() -> None:
    assert python_of(Holdings()) is None


def test_a_registry_is_asked_by_our_client() -> None:
    with base.connect("127.0.0.1:5000/acme/python:3") as (source, name):
        assert isinstance(source, Repository)
        assert name == "3"


# A real registry


@pytest.mark.registry
@pytest.mark.skopeo
@pytest.mark.parametrize(
    "options",
    [
        ["--format", "oci"],
        ["--format", "v2s2"],
        ["--format", "oci", "--dest-compress", "--dest-compress-format", "zstd"],
    ],
    ids=["oci", "docker", "zstd"],
)
def test_a_base_that_skopeo_pushed(
    world: World, registry: RealRegistry, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    image(world.remote, PYTHON, {"etc/x": "y"}, kind=LAYER)
    reference = f"{registry.host}/bases/python:3"
    push = ["skopeo", "copy", "-q", "--dest-tls-verify=false", "--authfile"]
    push.append(str(registry.auth_file(world.root)))
    source, target = f"oci:{world.remote.root}:latest", f"docker://{reference}"
    subprocess.run([*push, *options, source, target], check=True)
    hold(world, registry, reference, monkeypatch)


@pytest.mark.registry
@pytest.mark.podman
def test_a_base_that_podman_pushed(
    world: World, registry: RealRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    image(world.remote, PYTHON)
    reference = f"{registry.host}/bases/podman:3"
    name = subprocess.run(
        ["podman", "pull", "-q", f"oci:{world.remote.root}:latest"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()[-1]
    try:
        push = ["podman", "push", "-q", "--tls-verify=false", "--authfile"]
        push.append(str(registry.auth_file(world.root)))
        subprocess.run([*push, name, f"docker://{reference}"], check=True)
    finally:
        subprocess.run(["podman", "rmi", "-f", name], check=False, capture_output=True)
    hold(world, registry, reference, monkeypatch)


def hold(world: World, registry: RealRegistry, reference: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pushed base can be had by tag, by digest, and by the digest in the lock."""
    for name, value in registry.environment().items():
        monkeypatch.setenv(name, value)
    found = resolve(reference, AMD64, world.layout, cache=world.cache, python="3.11")
    assert found.packages == (("libc6", "2.36-9", "amd64"),)
    assert all(world.layout.has(layer.descriptor) for layer in found.layers)
    fixed = f"{reference.rpartition(':')[0]}@{found.digest}"
    again = resolve(fixed, AMD64, world.layout, cache=world.root / "new")
    locked = resolve(
        reference, AMD64, world.layout, cache=world.root / "newer", locked=found.digest, strict=True
    )
    assert again.digest == locked.digest == found.digest
    assert again.layers == found.layers
