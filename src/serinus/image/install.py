"""Installing a lock: a folder of packages for the target's Python and platform, whatever the builder's are.

uv installs wheels alone, each checked against its hashes. What is left is the packages and their metadata:
no programs, no bytecode (an image gets its own), no trace of where, when or by whom it was installed, so that
the same lock gives the same bytes everywhere. A tree is kept under its key in the cache, and is never changed
after.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from serinus.errors import LockError
from serinus.events import Observer, ignore, step
from serinus.files import cache_folder
from serinus.image.lock import Lock, normalised, render_pins
from serinus.image.uv import Uv, UvError, uv
from serinus.registry import Platform

_RECIPE = 1
"""Counts up when the same lock is to give another tree."""
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
_GLIBC = "2_28"
"""Newest glibc that a wheel may ask for: that of Debian 10 and RHEL 8, so that it runs on every base."""
_LEFT_BY_UV = (".lock", "uv_cache.json", "uv_build.json", "INSTALLER", "REQUESTED", "direct_url.json")
_TEMPORARY = ".new-"
_DAY = 86400.0


def key(lock: Lock, platform: Platform, python: str) -> str:
    """Name of the tree that a lock gives on a platform: hexadecimal, equal for equal trees."""
    text = f"{_RECIPE}\0{platform}\0{python}\0{_GLIBC}\0{render_pins(lock.pins)}"
    return hashlib.sha256(text.encode()).hexdigest()


def tree(
    lock: Lock,
    platform: Platform,
    python: str,
    *,
    cache: Path | None = None,
    folder: Path | None = None,
    index: Sequence[str] = (),
    observer: Observer = ignore,
    run: Uv = uv,
) -> Path:
    """The installed packages of a lock, from the cache where they were installed before.

    Two processes may do this at once; a killed one leaves nothing that is taken for a tree.

    Args:
        lock: what to install.
        platform: for which to install it.
        python: minor version of Python for which to install it, ``3.11``.
        cache: the cache's folder; None takes the usual one.
        folder: where uv runs, so that a project's settings are found; None is the current one.
        index: ``Inputs.index``.
        observer: told of the step ``dependencies``, when packages are installed.
        run: runs uv.

    Returns:
        The folder. It belongs to the cache: read it, and change nothing.

    Raises:
        LockError: as :func:`install`.
    """
    import shutil
    import tempfile

    trees = (cache or cache_folder()) / "trees"
    place = trees / key(lock, platform, python)
    if place.is_dir():
        return place
    with step("dependencies", observer) as told:
        trees.mkdir(parents=True, exist_ok=True)
        _sweep(trees)
        temporary = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=trees))
        try:
            install(lock, platform, python, temporary / "lib", folder=folder, index=index, run=run)
            _settle(temporary / "lib", place)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        told.detail = f"{len(lock.pins)} packages"
    return place


def install(
    lock: Lock,
    platform: Platform,
    python: str,
    destination: Path,
    *,
    folder: Path | None = None,
    index: Sequence[str] = (),
    run: Uv = uv,
) -> None:
    """Install a lock into a folder that is not there yet. Arguments as in :func:`tree`.

    Raises:
        LockError: the platform is not one that wheels are made for, a package has no wheel for it, a hash
            differs, or the index cannot be reached.
    """
    import tempfile

    machine = _MACHINES.get(platform.architecture)
    if platform.os != "linux" or machine is None:
        known = ", ".join(f"linux/{name}" for name in _MACHINES)
        raise LockError(
            f"there are no wheels for {platform}; Serinus installs for {known}", "Name one of them."
        )
    destination.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="serinus-") as name:
        pins = Path(name, "locked.txt")
        pins.write_text("".join(f"{line}\n" for line in index) + render_pins(lock.pins), encoding="utf-8")
        target = ("--python-version", python, "--python-platform", f"{machine}-manylinux_{_GLIBC}")
        try:
            run(
                (*_INSTALL, *target, "--target", str(destination), "--requirements", str(pins)),
                folder or Path(),
            )
        except UvError as failure:
            raise LockError(
                f"the locked packages cannot be installed for {platform}, Python {python}: {failure}",
                "Where a package has no wheel for it, ask for another version, or build a wheel (`uv build "
                "--wheel`) and name its folder by --find-links in the requirements file.",
            ) from None
    _clean(destination)


_INSTALL = (
    "pip", "install", "--quiet", "--require-hashes", "--no-deps", "--only-binary", ":all:",
    "--no-compile-bytecode", "--link-mode", "hardlink", "--python", sys.executable,
)  # fmt: skip


def _clean(tree: Path) -> None:
    """Take away what belongs to the installation and not to the packages."""
    import shutil

    for name in _LEFT_BY_UV:
        (tree / name).unlink(missing_ok=True)
    shutil.rmtree(tree / "bin", ignore_errors=True)
    for metadata in tree.glob("*.dist-info"):
        for name in _LEFT_BY_UV:
            (metadata / name).unlink(missing_ok=True)
        record = metadata / "RECORD"
        if record.is_file():
            text = cleaned_record(record.read_text(encoding="utf-8"))
            record.unlink()  # the file is a hard link into uv's cache: it gets a new one, not new content
            record.write_text(text, encoding="utf-8")


def cleaned_record(text: str) -> str:
    """A wheel's ``RECORD`` without the lines of what is not in the tree, sorted. Pure.

    Programs hold the path of the builder's Python, and so did their hashes.
    """
    import csv
    import io

    rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row and not _is_gone(row[0])]
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows(sorted(rows))
    return out.getvalue()


def _is_gone(path: str) -> bool:
    first, _, rest = path.partition("/")
    return first in ("bin", "..") or rest in _LEFT_BY_UV or path.endswith(".pyc")


def _settle(new: Path, place: Path) -> None:
    """Give a tree its name; where another process was first, its tree stays."""
    try:
        new.rename(place)
    except OSError:
        if not place.is_dir():
            raise


def _sweep(trees: Path) -> None:
    """Remove what killed processes left more than a day ago."""
    import shutil

    for left in trees.glob(f"{_TEMPORARY}*"):
        if left.stat().st_mtime < time.time() - _DAY:
            shutil.rmtree(left, ignore_errors=True)


def packages(tree: Path) -> tuple[tuple[str, str], ...]:
    """What is installed in a tree, as (normalised name, version), sorted: the pins whose markers held."""
    found = []
    for metadata in tree.glob("*.dist-info"):
        project, _, version = metadata.stem.rpartition("-")
        found.append((normalised(project), version))
    return tuple(sorted(found))
