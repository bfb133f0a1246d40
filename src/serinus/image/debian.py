"""A base image from Debian packages: only what Python needs, assembled by mmdebstrap.

mmdebstrap resolves, downloads, verifies and unpacks the packages (variant ``extract``: no maintainer script
is run, so another architecture needs no emulation; mode ``chrootless``: no privilege is needed, and root gets
the same bytes as anybody). A hook writes down which files each package owns. From that tree we take

- the files of the packages that the wanted ones really need: not those of dpkg, tar and debconf, on which
  they depend for being installed;
- what the scripts would have made: the bundle of certificates, accounts, the link ``python3``, the time zone;
- ``var/lib/dpkg/status`` of the packages taken, so that scanners know what is there.

Nothing else: no apt, no shell, no device nodes, no set-user-id programs, nothing of the builder's machine.
Entries are sorted, their times 0, owners 0:0, modes 0644 or 0755; the same packages give the same digest.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
import tarfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from serinus.errors import BaseError
from serinus.events import Observer, ignore, step
from serinus.registry import CONFIG, LAYER_GZIP, MANIFEST, Descriptor, Platform
from serinus.registry.content import digest_of
from serinus.registry.layout import Layout

RECIPE = 1
"""Counts up when the same packages are to give another image."""
PACKAGES = (
    "base-files", "netbase", "tzdata", "libc6", "libc-bin", "libgcc-s1", "libstdc++6", "libgomp1",
    "libpython3-stdlib", "python3-minimal", "ca-certificates",
)  # fmt: skip
"""What is asked for, by names that every suite has; which Python that is, the suite says."""
NOT_NEEDED = ("dpkg", "tar", "debconf", "debconf-2.0", "mawk", "perl-base")
"""What packages depend on only to be installed."""
EXCLUDED = (
    "/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*",
    "/usr/share/lintian/*", "/usr/share/bug/*", "/usr/share/gdb/*", "/usr/share/gcc/*",
    "/usr/share/bash-completion/*", "/usr/share/pixmaps/*",
    # Of libc-bin the locale C.UTF-8 is needed, and not its programs.
    "/sbin/ldconfig", "/usr/sbin/ldconfig", "/usr/sbin/iconvconfig", "/usr/sbin/zic", "/usr/bin/catchsegv",
    "/usr/bin/getconf", "/usr/bin/iconv", "/usr/bin/ld.so", "/usr/bin/ldd", "/usr/bin/locale",
    "/usr/bin/localedef", "/usr/bin/pldd", "/usr/bin/tzselect", "/usr/bin/zdump", "/usr/share/libc-bin/*",
)  # fmt: skip
INCLUDED = ("/usr/share/doc/*/copyright",)
ARCHITECTURES = ("amd64", "arm64")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_NOTES = "var/lib/dpkg/serinus"
_HOOK = f"""set -e; into="$1/{_NOTES}"; mkdir -p "$into"
for deb in "$1"/var/cache/apt/archives/*.deb; do
name=$(dpkg-deb --field "$deb" Package); dpkg-deb --field "$deb" >"$into/$name.control"
dpkg-deb --fsys-tarfile "$deb" | tar --list --quoting-style=literal >"$into/$name.list"; done"""
_FOLDERS = (
    "dev",
    "etc",
    "home",
    "opt",
    "proc",
    "root",
    "run",
    "srv",
    "sys",
    "tmp",
    "usr/local/bin",
    "var/tmp",
)
_OPEN = ("tmp", "var/tmp")
_ACCOUNTS = {
    "etc/passwd": "root:x:0:0:root:/root:/usr/sbin/nologin\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    "nonroot:x:65532:65532:nonroot:/tmp:/usr/sbin/nologin\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\nnonroot:x:65532:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n"
    "services: files\nprotocols: files\nnetworks: files\n",
    # Engines mount their own over these two; where they do not, localhost has its name.
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "etc/resolv.conf": "",
}

Command = Callable[[Sequence[str], Path], None]
"""Runs a program to its end, with a folder for its temporary files. Raises BaseError as :func:`run`."""


@dataclass(frozen=True, slots=True)
class Package:
    """One Debian package as it was unpacked."""

    name: str
    control: str
    """Its control stanza (deb822)."""
    files: frozenset[str]
    """What it owns, without a leading slash; folders too."""

    def fields(self, *names: str) -> str:
        """The values of some fields, joined by commas; absent ones are empty."""
        found = re.findall(rf"^(?:{'|'.join(names)}):[ \t]*(.*(?:\n[ \t].*)*)", self.control, re.MULTILINE)
        return ",".join(found)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the layer: content of a file, the target of a link, or neither: a folder."""

    mode: int = 0o755
    content: bytes | tarfile.TarInfo | None = None
    link: str = ""


class NotInstalledError(BaseError):
    """mmdebstrap is not installed."""


def run(command: Sequence[str], scratch: Path) -> None:
    """Run mmdebstrap. Times are those of the packages, none is of today.

    Args:
        command: the program and its arguments.
        scratch: its temporary files go there, so that nothing of them is left when it is killed.

    Raises:
        NotInstalledError: it is not installed.
        BaseError: it failed; the message is what it said.
    """
    import os
    import subprocess

    environment = {**os.environ, "SOURCE_DATE_EPOCH": "0", "LC_ALL": "C.UTF-8", "TMPDIR": str(scratch)}
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="replace", check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise NotInstalledError(
            "mmdebstrap, which assembles a Debian base, is not installed",
            "apt-get install mmdebstrap, or name a base image in [image] base.",
        ) from None
    if done.returncode:
        raise BaseError(
            f"mmdebstrap failed: {_complaint(done.stderr)}",
            "Check the suite's name, the network, and that the keys are there: apt-get install "
            "debian-archive-keyring. Or name a base image in [image] base.",
        )


def _complaint(stderr: str) -> str:
    said = [line[2:].strip() for line in stderr.splitlines() if line.startswith(("E:", "Err:"))]
    return "; ".join(said[:6]) or stderr.strip()[-500:] or "it said nothing"


def command(suite: str, architecture: str, output: Path) -> tuple[str, ...]:
    """How mmdebstrap is called; the mirror is the one it knows for the suite."""
    paths = [f"--dpkgopt=path-exclude={pattern}" for pattern in EXCLUDED]
    paths += [f"--dpkgopt=path-include={pattern}" for pattern in INCLUDED]
    return (
        "mmdebstrap", "--mode=chrootless", "--variant=extract", "--format=tar",
        f"--architectures={architecture}", f"--include={','.join(PACKAGES)}", *paths,
        f"--extract-hook={_HOOK}", suite, str(output),
    )  # fmt: skip


def assemble(
    suite: str, platform: Platform, layout: Layout, *, call: Command = run, observer: Observer = ignore
) -> Descriptor:
    """Assemble a base image into a layout.

    Args:
        suite: of Debian: ``bookworm``.
        platform: for which.
        layout: gets the image, tagged with the digest's hexadecimal part.
        call: runs mmdebstrap.
        observer: told of the step ``base``.

    Returns:
        The manifest's descriptor.

    Raises:
        BaseError: mmdebstrap is missing or failed, or Debian has no such architecture.
    """
    import tempfile

    if platform.os != "linux" or platform.architecture not in ARCHITECTURES:
        known = ", ".join(f"linux/{name}" for name in ARCHITECTURES)
        raise BaseError(f"a Debian base is assembled for {known}, not for {platform}", "Name a base image.")
    with tempfile.TemporaryDirectory(prefix="serinus-") as name, step("base", observer) as told:
        output = Path(name, "base.tar")
        Path(name).chmod(0o755)  # apt gives up root for its downloads, and must get through
        call(command(suite, platform.architecture, output), Path(name))
        with tarfile.open(output) as source:
            packages = noted(source)
            kept = needed(packages)
            entries = selected(source, kept) | made(source, kept)
            layer, diff_id = _write(layout, source, entries)
        told.detail = f"{len(kept)} packages, {layer.size / 1e6:.1f} MB"
    return _write_image(layout, platform, layer, diff_id, f"debian:{suite}")


def noted(source: tarfile.TarFile) -> tuple[Package, ...]:
    """The packages that the hook wrote down, by name.

    Raises:
        BaseError: there are none.
    """
    names = [n.removesuffix(".control") for n in map(_path, source.getmembers()) if n.startswith(_NOTES)]
    packages = []
    for name in sorted(n for n in names if f"{n}.list" in names):
        control, files = (_read(source, f"{name}.{kind}").decode() for kind in ("control", "list"))
        owned = frozenset(posixpath.normpath(line) for line in files.splitlines())
        packages.append(Package(posixpath.basename(name), control, owned))
    if not packages:
        raise BaseError("mmdebstrap unpacked no package that it told of", "Report this with its version.")
    return tuple(packages)


def needed(packages: Sequence[Package]) -> tuple[Package, ...]:
    """The packages that a running Python needs: what follows from the wanted ones, by their dependencies."""
    provided: dict[str, list[Package]] = {}
    for package in packages:
        for name in {package.name, *_names(package.fields("Provides"))} - set(NOT_NEEDED):
            provided.setdefault(name, []).append(package)
    found: dict[str, Package] = {}
    waiting = list(PACKAGES)
    while waiting:
        for package in provided.get(waiting.pop(), []):
            if package.name not in found and package.name not in NOT_NEEDED:
                found[package.name] = package
                waiting += _names(package.fields("Depends", "Pre-Depends"))
    return tuple(found[name] for name in sorted(found))


def _names(relations: str) -> list[str]:
    """The package names in a relationship field (Debian policy 7.1), alternatives included."""
    parts = re.split(r"[,|]", relations)
    return [m[0] for part in parts if (m := re.match(r"[a-z0-9][a-z0-9+.-]*", part.strip()))]


def selected(source: tarfile.TarFile, kept: Iterable[Package]) -> dict[str, Entry]:
    """The entries of the tree that packages own, and the links of a merged ``/usr``; modes made plain."""
    owned = frozenset().union(*(package.files for package in kept)) - {"."}
    entries = {}
    for member in source.getmembers():
        path = _path(member)
        if member.issym() and (path in owned or "/" not in path):
            entries[path] = Entry(0o777, None, member.linkname)
        elif member.isdir() and path in owned:
            entries[path] = Entry()
        elif (member.isreg() or member.islnk()) and path in owned:
            entries[path] = Entry(0o755 if member.mode & 0o100 else 0o644, member)
    return entries


def made(source: tarfile.TarFile, kept: Iterable[Package]) -> dict[str, Entry]:
    """What the packages' scripts would have made, and the packages' status.

    Raises:
        BaseError: there is no Python among the packages.
    """
    packages = tuple(kept)
    paths = {_path(m): m for m in source.getmembers()}
    pythons = [p for p in paths if re.fullmatch(r"usr/bin/python3\.\d+", p)]
    if len(pythons) != 1:
        raise BaseError(f"one Python was expected in the packages, found {pythons}", "Name another suite.")
    certificates = sorted(p for p in paths if re.fullmatch(r"usr/share/ca-certificates/.*\.crt", p))
    bundle = b"".join(_read(source, p).rstrip(b"\n") + b"\n" for p in certificates)
    entries = {path: Entry(0o1777 if path in _OPEN else 0o755) for path in _FOLDERS}
    entries |= {path: Entry(0o644, text.encode()) for path, text in _ACCOUNTS.items()}
    return entries | {
        "etc/localtime": Entry(0o777, None, "/usr/share/zoneinfo/Etc/UTC"),
        "etc/ssl/certs/ca-certificates.crt": Entry(0o644, bundle),
        # ONNX Runtime's StringNormalizer asks for this locale unless its model names another one, and wants
        # nothing of it but upper and lower case, which C.UTF-8 has for all of Unicode.
        "usr/lib/locale/en_US.utf8": Entry(0o777, None, "C.utf8"),
        "usr/bin/python3": Entry(0o777, None, posixpath.basename(pythons[0])),
        "var/lib/dpkg/status": Entry(0o644, status(packages).encode()),
        "var/run": Entry(0o777, None, "/run"),
    }


def status(packages: Iterable[Package]) -> str:
    """``var/lib/dpkg/status`` of packages: their stanzas, each said to be installed."""
    stanzas = []
    for package in packages:
        first, rest = package.control.strip().split("\n", 1)
        stanzas.append(f"{first}\nStatus: install ok installed\n{rest}\n")
    return "\n".join(stanzas)


def _path(member: tarfile.TarInfo) -> str:
    return posixpath.normpath(member.name)


def _read(source: tarfile.TarFile, path: str) -> bytes:
    for name in (f"./{path}", path):
        try:
            file = source.extractfile(name)
        except KeyError:
            continue
        if file:
            return file.read()
    raise BaseError(f"mmdebstrap's archive has no file {path}", "Report this with its version.")


class _Tee:
    """Hashes what goes on to a sink: the tar before compression."""

    def __init__(self, sink: Any) -> None:
        self._sink = sink
        self._hash = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self._sink.write(data)
        return len(data)

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


def _write(layout: Layout, source: tarfile.TarFile, entries: Mapping[str, Entry]) -> tuple[Descriptor, str]:
    from isal import igzip

    with layout.new_blob() as blob:
        gzip = cast(Any, igzip.GzipFile)(filename="", fileobj=blob, mode="wb", compresslevel=1, mtime=0)
        tee: Any = _Tee(gzip)
        with gzip, tarfile.open(fileobj=tee, mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 20) as out:
            for path in sorted(entries, key=str.encode):
                _add(out, source, path, entries[path])
    return Descriptor(LAYER_GZIP, blob.digest, blob.size), tee.digest


def _add(out: tarfile.TarFile, source: tarfile.TarFile, path: str, entry: Entry) -> None:
    import io

    info = tarfile.TarInfo(path)  # times 0, owner 0:0, no names: its defaults
    info.mode = entry.mode
    if entry.link:
        info.type, info.linkname = tarfile.SYMTYPE, entry.link
        out.addfile(info)
    elif entry.content is None:
        info.type = tarfile.DIRTYPE
        out.addfile(info)
    else:
        held = entry.content
        file = io.BytesIO(held) if isinstance(held, bytes) else source.extractfile(held)
        assert file is not None  # noqa: S101 - only regular files and links to them get here
        info.size = file.seek(0, 2)
        file.seek(0)
        out.addfile(info, file)


def _write_image(
    layout: Layout, platform: Platform, layer: Descriptor, diff_id: str, title: str
) -> Descriptor:
    """Configuration and manifest of the base (image-spec 1.1), so that it has a digest like any other."""
    config = _json(
        {
            "architecture": platform.architecture,
            "os": platform.os,
            "config": {"Env": [f"PATH={PATH}"], "Cmd": ["/usr/bin/python3"]},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": f"serinus: {title}"}],
        }
    )
    with layout.new_blob() as blob:
        blob.write(config)
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": Descriptor(CONFIG, digest_of(config), len(config)).to_json(),
            "layers": [layer.to_json()],
        }
    )
    descriptor = Descriptor(MANIFEST, digest_of(manifest), len(manifest), platform)
    layout.write_manifest(descriptor, manifest, [descriptor.digest.partition(":")[2]])
    return descriptor


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
