"""A base from Debian packages: what is taken, what is made, and that it is the same for everybody."""

from __future__ import annotations

import gzip
import io
import json
import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.errors import BaseError
from serinus.events import Event, Finished
from serinus.image import Base, debian
from serinus.image.base import read, resolve
from serinus.image.debian import NOT_NEEDED, PACKAGES, Entry, Package, assemble, command, needed, status
from serinus.registry import Platform
from serinus.registry.layout import Layout

AMD64 = Platform()
CA = "usr/share/ca-certificates"


def package(name: str, depends: str = "", provides: str = "", files: Iterable[str] = ()) -> Package:
    control = f"Package: {name}\nVersion: 1.0-1\nArchitecture: amd64\n"
    control += f"Depends: {depends}\n" if depends else ""
    control += f"Provides: {provides}\n" if provides else ""
    return Package(name, control + "Description: some\n words\n", frozenset(files))


class Mmdebstrap:
    """Stands in for mmdebstrap: writes the archive that its hook and packages would give."""

    def __init__(self, packages: Sequence[Package], *, elsewhere: bool = False) -> None:
        self.packages = packages
        self.elsewhere = elsewhere

    def __call__(self, command: Sequence[str], scratch: Path) -> None:
        entries = list(self._entries())
        with tarfile.open(command[-1], "w") as out:
            for path, content, link in reversed(entries) if self.elsewhere else entries:
                info = tarfile.TarInfo(f"./{path}")
                info.mtime, info.uid, info.uname = 12345 + self.elsewhere, 1000 * self.elsewhere, "me"
                info.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
                if link:
                    info.type, info.linkname = tarfile.SYMTYPE, link
                usual, private = (0o4755, 0o700) if content in (None, b"program") else (0o644, 0o600)
                info.mode = private if self.elsewhere else usual
                info.size = len(content or b"")
                out.addfile(info, io.BytesIO(content or b""))

    def _entries(self) -> Iterable[tuple[str, bytes | None, str]]:
        for path in ("etc", "usr", "usr/bin", "dev", "var", "var/lib", "home/builder"):
            yield path, None, ""
        yield "bin", b"", "usr/bin"
        yield "etc/hostname", b"builder", ""
        yield "dev/shm/left", b"left", ""
        for p in self.packages:
            listed = "".join(f"./{f}\n" for f in ("", "etc/", *sorted(p.files)))
            yield f"var/lib/dpkg/serinus/{p.name}.control", p.control.encode(), ""
            yield f"var/lib/dpkg/serinus/{p.name}.list", listed.encode(), ""
            for file in sorted(p.files):
                yield file, b"program" if "bin/" in file else b"-- certificate --", ""


SOME = (
    package("python3-minimal", "python3.11-minimal, dpkg (>= 1.13)"),
    package("python3.11-minimal", "libc6 (>= 2.36)", files=["usr/bin/python3.11"]),
    package("libc6", files=["lib/libc.so.6"]),
    package("ca-certificates", "openssl, debconf (>= 0.5) | debconf-2.0", files=[f"{CA}/b/z.crt"]),
    package("openssl", files=[f"{CA}/a.crt"]),
    package("dpkg", "tar, libselinux1", files=["usr/bin/dpkg"]),
    package("debconf", provides="debconf-2.0", files=["usr/bin/debconf"]),
    package("libselinux1", files=["lib/libselinux.so.1"]),
)


def contents(layout: Layout, base: Base) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(layout.path(base.layers[0].descriptor.digest)) as tar:
        return {m.name: m for m in tar}


def text(layout: Layout, base: Base, path: str) -> str:
    with tarfile.open(layout.path(base.layers[0].descriptor.digest)) as tar:
        file = tar.extractfile(path)
        assert file is not None
        return file.read().decode()


def assembled(root: Path, run: debian.Command, platform: Platform = AMD64) -> tuple[Layout, Base]:
    layout = Layout(root)
    return layout, read(layout, assemble("bookworm", platform, layout, call=run), platform, "debian:bookworm")


# What is asked for


def test_mmdebstrap_is_asked_for_an_extracted_tree_without_privileges() -> None:
    asked = command("bookworm", "arm64", Path("out.tar"))
    assert asked[0] == "mmdebstrap"
    assert {"--variant=extract", "--mode=chrootless", "--architectures=arm64"} <= set(asked)
    assert asked[-2:] == ("bookworm", "out.tar")
    assert f"--include={','.join(PACKAGES)}" in asked
    assert "--dpkgopt=path-exclude=/usr/share/man/*" in asked
    assert not any("://" in word for word in asked)


def test_an_architecture_that_is_not_built_for_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BaseError, match="linux/s390x"):
        assemble("bookworm", Platform(architecture="s390x"), Layout(tmp_path), call=Mmdebstrap(SOME))


def test_a_missing_mmdebstrap_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(debian.NotInstalledError) as caught:
        debian.run(["mmdebstrap"], tmp_path)
    assert "apt-get install mmdebstrap" in caught.value.todo


def test_a_failing_mmdebstrap_is_told_in_its_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "mmdebstrap"
    program.write_text("#!/bin/sh\necho 'I: doing' >&2; echo 'E: Unable to locate package x' >&2; exit 25\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(BaseError, match="mmdebstrap failed: Unable to locate package x") as caught:
        debian.run(["mmdebstrap"], tmp_path)
    assert caught.value.message.endswith("package x")


# What is taken


def test_what_packages_need_only_to_be_installed_is_left_out() -> None:
    assert [p.name for p in needed(SOME)] == [
        "ca-certificates",
        "libc6",
        "openssl",
        "python3-minimal",
        "python3.11-minimal",
    ]


def test_a_dependency_may_be_provided_by_another_name() -> None:
    found = needed((package("base-files", "awk | other"), package("gawk", provides="awk (= 1), x")))
    assert [p.name for p in found] == ["base-files", "gawk"]


names = st.sampled_from([*PACKAGES[:3], *NOT_NEEDED[:2], "liba", "libb", "libc"])


@given(st.dictionaries(names, st.lists(names, max_size=3), max_size=8))
def test_what_is_needed_is_closed_and_holds_nothing_else(graph: dict[str, list[str]]) -> None:
    packages = [package(name, ", ".join(f"{d} (>= 1)" for d in depends)) for name, depends in graph.items()]
    kept = {p.name for p in needed(packages)}
    assert not kept & set(NOT_NEEDED)
    assert kept >= (set(PACKAGES) & set(graph)) - set(NOT_NEEDED)
    for name in kept:
        assert set(graph[name]) & set(graph) - set(NOT_NEEDED) <= kept
        others = {d for other in kept - {name} for d in graph[other]}
        assert name in PACKAGES or name in others


def test_the_layer_holds_what_packages_own_and_what_is_made(tmp_path: Path) -> None:
    layout, base = assembled(tmp_path, Mmdebstrap(SOME))
    found = contents(layout, base)
    assert {"usr/bin/python3.11", "lib/libc.so.6", "bin", "tmp", "proc", "srv"} <= set(found)
    assert not {"usr/bin/dpkg", "lib/libselinux.so.1", "etc/hostname", "dev/shm/left", "home/builder"} & set(
        found
    )
    assert not any("serinus" in path for path in found)
    assert found["usr/bin/python3"].linkname == "python3.11"
    assert found["bin"].linkname == "usr/bin"
    assert found["usr/lib/locale/en_US.utf8"].linkname == "C.utf8"
    assert text(layout, base, "etc/ssl/certs/ca-certificates.crt") == "-- certificate --\n" * 2
    assert "nonroot:x:65532:65532:" in text(layout, base, "etc/passwd")
    assert "nonroot:x:65532:" in text(layout, base, "etc/group")
    assert (base.python, base.interpreter) == ("3.11", "/usr/bin/python3.11")


def test_nothing_of_the_builder_is_in_the_layer(tmp_path: Path) -> None:
    layout, base = assembled(tmp_path, Mmdebstrap(SOME))
    for path, member in contents(layout, base).items():
        assert (member.uid, member.gid, member.uname, member.gname, member.mtime) == (0, 0, "", "", 0)
        assert not member.mode & (stat.S_ISUID | stat.S_ISGID)
        assert member.mode in ({0o1777} if path in ("tmp", "var/tmp") else {0o644, 0o755, 0o777})
    paths = list(contents(layout, base))
    assert paths == sorted(paths, key=str.encode)


def test_order_owners_modes_and_times_of_the_tree_do_not_matter(tmp_path: Path) -> None:
    _, one = assembled(tmp_path / "one", Mmdebstrap(SOME))
    _, two = assembled(tmp_path / "two", Mmdebstrap(SOME, elsewhere=True))
    assert one.digest == two.digest
    assert one.layers == two.layers


def test_the_status_is_that_of_the_packages_taken(tmp_path: Path) -> None:
    layout, base = assembled(tmp_path, Mmdebstrap(SOME))
    assert base.packages == tuple((p.name, "1.0-1", "amd64") for p in needed(SOME))
    assert text(layout, base, "var/lib/dpkg/status") == status(needed(SOME))
    assert status(needed(SOME)[:1]).startswith(
        "Package: ca-certificates\nStatus: install ok installed\nVersion: "
    )


def test_the_image_is_whole_and_its_facts_are_told(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    seen: list[Event] = []
    descriptor = assemble("bookworm", AMD64, layout, call=Mmdebstrap(SOME), observer=seen.append)
    manifest = json.loads(layout.manifest(descriptor))
    layer = manifest["layers"][0]
    packed = layout.path(layer["digest"]).read_bytes()
    assert packed[4:8] == bytes(4)  # RFC 1952: no time
    assert gzip.decompress(packed)
    assert list(layout.tags()) == [descriptor.digest[7:]]
    assert next(e.detail for e in seen if isinstance(e, Finished)).startswith("5 packages")


@pytest.mark.parametrize("packages", [(), SOME[2:], (*SOME, package("libc6", files=["usr/bin/python3.12"]))])
def test_a_tree_without_its_one_python_is_an_error(tmp_path: Path, packages: Sequence[Package]) -> None:
    with pytest.raises(BaseError, match="no package|one Python was expected"):
        assemble("bookworm", AMD64, Layout(tmp_path), call=Mmdebstrap(packages))


def test_an_entry_is_a_folder_by_default() -> None:
    assert Entry() == Entry(0o755, None, "")


# The real thing


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Layout, Base]:
    root = tmp_path_factory.mktemp("real")
    layout = Layout(root / "layout")
    return layout, resolve("debian:bookworm", AMD64, layout, cache=root / "cache", python="3.11")


@pytest.mark.mmdebstrap
@pytest.mark.network
def test_a_real_base_holds_what_python_needs_and_no_more(real: tuple[Layout, Base]) -> None:
    layout, base = real
    found = contents(layout, base)
    assert base.interpreter == "/usr/bin/python3.11"
    assert {"libc6", "libpython3.11-stdlib", "ca-certificates", "tzdata"} <= {
        name for name, _, _ in base.packages
    }
    assert not {"dpkg", "apt", "tar", "perl-base", "dash", "bash"} & {name for name, _, _ in base.packages}
    assert not any(m.ischr() or m.isblk() or m.mode & 0o6000 for m in found.values())
    assert [p for p in found if p.startswith("var/lib/dpkg/")] == ["var/lib/dpkg/status"]
    assert not {"etc/apt", "var/cache/apt", "bin/sh", "usr/bin/dpkg", "usr/bin/apt", "usr/bin/pip"} & set(
        found
    )
    assert text(layout, base, "etc/ssl/certs/ca-certificates.crt").count("BEGIN CERTIFICATE") > 100
    assert "usr/lib/locale/C.utf8/LC_CTYPE" in found
    assert base.layers[0].descriptor.size < 30_000_000


AS_SOMEBODY = """
import os, sys, pathlib
sys.path[:0] = sys.argv[1].split(os.pathsep)
os.umask(0o077)
from serinus.image.debian import assemble
from serinus.registry import Platform
from serinus.registry.layout import Layout
folder = pathlib.Path("a folder with blanks")
folder.mkdir()
print(assemble("bookworm", Platform(), Layout(folder)).digest)
"""


@pytest.mark.mmdebstrap
@pytest.mark.network
def test_a_real_base_is_the_same_in_another_folder_with_another_umask_as_another_user(
    real: tuple[Layout, Base], tmp_path: Path
) -> None:
    place = tmp_path / "there"
    if os.getuid() == 0:
        place = Path("/var/tmp") / f"serinus-test-{os.getpid()}"
    place.mkdir(mode=0o755)
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.getuid() == 0 else []
    environment = {"PATH": os.environ["PATH"], "HOME": str(place), "TMPDIR": str(place), **_proxies()}
    command = [_python_for_everybody(), "-B", "-c", AS_SOMEBODY, os.pathsep.join(sys.path[1:])]
    try:
        if nobody:
            os.chown(place, 65534, 65534)
        done = subprocess.run(
            [*nobody, *command], cwd=place, env=environment, capture_output=True, text=True, check=False
        )
    finally:
        subprocess.run(["rm", "-rf", str(place)], check=True)
    assert done.stdout.strip() == real[1].digest, done.stderr


def _proxies() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}


def _python_for_everybody() -> str:
    """A Python of our version that another user may run."""
    system = Path(f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}")
    return str(system) if os.getuid() == 0 and system.exists() else sys.executable


@pytest.mark.mmdebstrap
@pytest.mark.network
def test_a_real_base_for_another_processor_and_suite_needs_no_emulation(tmp_path: Path) -> None:
    arm64 = Platform(architecture="arm64")
    base = resolve("debian:trixie", arm64, Layout(tmp_path / "layout"), cache=tmp_path / "cache")
    assert (base.python, base.interpreter) == ("3.13", "/usr/bin/python3.13")
    assert "arm64" in {architecture for _, _, architecture in base.packages}
    layer = contents(Layout(tmp_path / "layout"), base)
    assert layer["bin"].linkname == "usr/bin"
    assert "usr/lib/aarch64-linux-gnu/libc.so.6" in layer


@pytest.mark.mmdebstrap
@pytest.mark.network
def test_a_suite_that_there_is_not_says_what_mmdebstrap_said(tmp_path: Path) -> None:
    with pytest.raises(BaseError, match="mmdebstrap failed"):
        resolve("debian:nosuchsuite", AMD64, Layout(tmp_path / "layout"), cache=tmp_path / "cache")
