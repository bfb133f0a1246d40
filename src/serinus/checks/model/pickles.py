"""Files that run code when they are loaded."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickletools
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from serinus.checks import Finding, NotApplicable, Result, check
from serinus.image import select
from serinus.image.sources import find_model
from serinus.project import Checks, Project

NAMES = (".pkl", ".pickle", ".joblib")
HEAD = 4096
_NPY = b"\x93NUMPY"
_OPENERS: tuple[tuple[bytes, Callable[[bytes], bytes]], ...] = (
    (b"\x1f\x8b", lambda head: gzip.GzipFile(fileobj=io.BytesIO(head)).read(64)),
    (b"BZh", lambda head: bz2.BZ2Decompressor().decompress(head, 64)),
    (b"\xfd7zXZ", lambda head: lzma.LZMADecompressor().decompress(head, 64)),
    (b"x", lambda head: zlib.decompressobj().decompress(head, 64)),
)


@check(
    "model.pickle",
    why="A model from the internet was a pickle, and loading it ran its author's code.",
    seconds=0.1,
)
def pickle(source: Project, fetched: Project | None, settings: Checks) -> Result:
    """No file of the model or beside the code is a pickle or holds one, where the project forbids that."""
    files = dict(_files(fetched or source))
    if not files:
        raise NotApplicable("no file goes into the image")
    found = {name: what for name, file in files.items() if (what := kind(file))}
    if not found:
        return Result(f"no pickle among {len(files)} files")
    if not settings.model.forbid_pickle:
        told = ", ".join(f"{name} is {what}" for name, what in found.items())
        return Result(f"{told}; checks.model.forbid_pickle does not forbid it")
    return Result(
        findings=tuple(
            Finding(
                f"{name} is {what}, which runs whatever code it holds when it is loaded",
                "Export the model as ONNX or safetensors, or unset checks.model.forbid_pickle.",
                name,
            )
            for name, what in found.items()
        )
    )


def _files(project: Project) -> Iterator[tuple[str, Path]]:
    patterns = (*select.DEFAULTS, *select.read_patterns(project.root), *project.image.ignore)
    for entry in select.walk(project.root, select.rules(patterns)):
        if entry.link is None:
            yield entry.path, project.root / entry.path
    model = find_model(project)
    if model is not None and model.source.is_dir():
        for entry in select.walk(model.source, select.rules(select.NEVER), follow=True):
            yield f"{model.path}/{entry.path}", model.source / entry.path
    elif model is not None:
        yield model.path, model.source


def kind(file: Path) -> str:
    """What kind of pickle a file is, told by its bytes, then by its name; empty for none."""
    with file.open("rb") as stream:
        head = stream.read(HEAD)
    if is_pickle(head):
        return "a pickle"
    if head.startswith(b"PK\x03\x04"):
        return _in_archive(file)
    if is_object_array(head):
        return "a numpy array of objects, a pickle"
    for magic, opened in _OPENERS:
        if head.startswith(magic):
            with suppress(OSError, EOFError, ValueError, zlib.error, lzma.LZMAError):
                if is_pickle(opened(head)):
                    return "a compressed pickle"
    return "by its name a pickle" if head and file.suffix.lower() in NAMES else ""


def is_pickle(head: bytes) -> bool:
    """Whether bytes begin as a pickle of protocol 2 or later does (PEP 307, PEP 3154, PEP 574). Pure."""
    if len(head) < 3 or head[0] != 0x80 or not 2 <= head[1] <= 5:
        return False
    seen = 0
    try:
        for _ in pickletools.genops(io.BytesIO(head)):
            seen += 1
            if seen >= 4:
                return True
    except Exception:  # noqa: BLE001 - any error: the bytes end or are none of its instructions
        return seen >= 3
    return seen >= 2


def is_object_array(head: bytes) -> bool:
    """Whether bytes begin a ``.npy`` file of objects (numpy.lib.format, "Format Version 1.0"). Pure."""
    return head.startswith(_NPY) and (b"'|O'" in head[:256] or b"'O'" in head[:256])


def _in_archive(file: Path) -> str:
    try:
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                if name.endswith(NAMES):
                    return f"an archive with the pickle {name}"
                if name.endswith(".npy"):
                    with archive.open(name) as member:
                        if is_object_array(member.read(HEAD)):
                            return f"an archive with the array of objects {name}, a pickle"
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError):
        return ""
    return ""
