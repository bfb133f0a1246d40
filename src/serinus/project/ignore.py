"""``.gitignore``: keeps models, and what Serinus makes, out of a project's repository."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from serinus.files import write_atomically

FILE = ".gitignore"
MARK = "# serinus: models are kept in a model registry"
"""Says that the lines were written once; who takes some out wants it so."""
LINES = (
    MARK,
    ".serinus/",
    "*.onnx",
    "*.onnx.data",
    "*.onnx_data",
    "*.pt",
    "*.pth",
    "*.ckpt",
    "*.safetensors",
    "*.gguf",
    "*.h5",
    "*.keras",
    "*.tflite",
    "*.pkl",
    "*.pickle",
    "*.joblib",
    "pytorch_model*.bin",
)


def extended(text: str) -> str | None:
    """A ``.gitignore`` with our lines behind what it has; None where they were written before. Pure."""
    if MARK in map(str.strip, text.splitlines()):
        return None
    before = text if not text or text.endswith("\n") else f"{text}\n"
    there = {line.strip() for line in text.splitlines()}
    added = "".join(f"{line}\n" for line in LINES if line not in there)
    return f"{before}\n{added}" if before else added


def ignores(path: str) -> str | None:
    """The pattern of ours that keeps a file out by its name; None where none does. Pure."""
    name = PurePosixPath(path).name
    return next((line for line in LINES[1:] if fnmatchcase(name, line)), None)


def ensure(folder: Path) -> Path | None:
    """Write or extend the ``.gitignore`` of a folder, once.

    Returns:
        The file, if something was written.

    Raises:
        OSError: as the file system says.
    """
    file = folder / FILE
    try:
        old = file.read_bytes().decode("utf-8", "surrogateescape")
        mode = file.stat().st_mode & 0o777
    except FileNotFoundError:
        old, mode = "", None
    new = extended(old)
    if new is None:
        return None
    write_atomically(file.resolve(), new.encode("utf-8", "surrogateescape"), mode=mode)
    return file
