"""The digest of a model's content: one function for the registry, the images and the checks."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping


def model_digest(contents: Mapping[str, str]) -> str | None:
    """The digest of a model's content: that of its file, or over the files of its folder; None without one.

    Args:
        contents: path -> hexadecimal SHA-256. Of one file the path does not count; of several it does, so
            that an image, where paths begin with the place of the model, tells another digest than the
            registry, where they begin in the model's folder.
    """
    if len(contents) == 1:
        return "sha256:" + next(iter(contents.values()))
    lines = "".join(f"{digest}  {path}\n" for path, digest in sorted(contents.items()))
    return "sha256:" + hashlib.sha256(os.fsencode(lines)).hexdigest() if contents else None
