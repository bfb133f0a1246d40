"""``hf://OWNER/NAME@REVISION``: a model of the Hugging Face Hub, or one file of it, by huggingface_hub."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

from serinus.errors import ModelError
from serinus.models import Found, Progress
from serinus.models.formats import safe_path
from serinus.models.forms import Hub
from serinus.models.sources.failures import explained, need

_LOGIN = "Set HF_TOKEN, or run `hf auth login`; a gated model must also be asked for on its page."
_NOT_OURS = (".gitattributes",)
"""Of git, not of the model."""


class HubModel:
    """A model of the Hub at a revision."""

    def __init__(self, address: Hub) -> None:
        self._address = address
        self._what = f"the model {address}"

    def find(self) -> Found:
        """The commit that the revision is now, and its files."""
        info, files = self._files()
        known = files[0].lfs.sha256 if len(files) == 1 and files[0].lfs else ""
        uri = str(Hub(self._address.repository, str(info.sha), self._address.file))
        digest = f"sha256:{known}" if known else ""
        return Found(uri, str(info.sha), digest, size=sum(file.size or 0 for file in files))

    def fetch(self, found: Found, folder: Path, progress: Progress) -> None:
        """Bring the files of that commit; large ones are verified by the digest that the Hub keeps."""
        _, files = self._files(found.identity)
        done = 0
        for file in files:
            path = safe_path(file.rfilename, self._what)
            with explained(self._what, _LOGIN):
                self._module().hf_hub_download(
                    self._address.repository,
                    file.rfilename,
                    revision=found.identity,
                    local_dir=str(folder),
                    endpoint=os.environ.get("HF_ENDPOINT"),
                    tqdm_class=_bar(progress, done, found.size),
                )
            self._verify(folder / path, file)
            done += (folder / path).stat().st_size
            progress(done, found.size)
        shutil.rmtree(folder / ".cache", ignore_errors=True)  # the library's notes

    def _files(self, commit: str = "") -> tuple[Any, Sequence[Any]]:
        with explained(self._what, _LOGIN):
            api = self._module().HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
            revision = commit or self._address.revision
            info = api.model_info(self._address.repository, revision=revision, files_metadata=True)
        files = sorted(
            (f for f in info.siblings or () if f.rfilename not in _NOT_OURS), key=lambda f: f.rfilename
        )
        if self._address.file:
            names = [file.rfilename for file in files]
            files = [file for file in files if file.rfilename == self._address.file]
            if not files:
                near = get_close_matches(self._address.file, names, 3, 0.3) or names[:5]
                raise ModelError(
                    f"{self._address.repository} has no file {self._address.file!r} at {info.sha}; it has "
                    f"{', '.join(near) or 'none'}",
                    "Name one of its files, or none for all.",
                )
        return info, files

    def _verify(self, file: Path, told: Any) -> None:
        if not told.lfs:
            return
        with file.open("rb") as stream:
            came = hashlib.file_digest(stream, "sha256").hexdigest()
        if came != told.lfs.sha256:
            raise ModelError(
                f"{told.rfilename} of {self._what} is sha256:{came}, expected sha256:{told.lfs.sha256}",
                "Run the command again; if it stays, do not use this model.",
            )

    def _module(self) -> Any:
        return need("huggingface_hub", "huggingface", self._what)


def _bar(progress: Progress, before: int, total: int | None) -> Any:
    """The library's progress bar, which tells us and draws nothing."""
    base: Any = import_module("huggingface_hub.utils").tqdm

    class Told(base):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            self._through = int(options.get("initial") or 0)
            super().__init__(*arguments, **{**options, "disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            self._through += int(n or 0)
            progress(before + self._through, total)
            return None

    return Told
