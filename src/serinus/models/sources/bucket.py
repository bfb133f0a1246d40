"""``s3://``, ``gs://``, ``abfs://``: an object, or all objects below a prefix, by fsspec.

The store is asked again when the files are here: what was replaced meanwhile is not a model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from serinus.errors import ModelError
from serinus.models import Found, Progress
from serinus.models.formats import refuse_collisions, safe_path
from serinus.models.forms import Bucket
from serinus.models.sources.failures import explained, need

_EXTRA = {"s3": "s3", "gs": "gs", "abfs": "azure"}
_SYSTEM = {
    "s3": ("s3fs", "S3FileSystem"),
    "gs": ("gcsfs.core", "GCSFileSystem"),
    "abfs": ("adlfs", "AzureBlobFileSystem"),
}
"""Module and class; of gcsfs the plain one: the other asks a second service what kind of bucket it is."""
_LOGIN = {
    "s3": "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE after `aws sso login`; the role "
    "needs s3:GetObject, and s3:ListBucket for a prefix.",
    "gs": "Name a key file in GOOGLE_APPLICATION_CREDENTIALS, or run "
    "`gcloud auth application-default login`.",
    "abfs": "Set AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN, or "
    "AZURE_STORAGE_CONNECTION_STRING, or run `az login`.",
}


@dataclass(frozen=True, slots=True)
class _Object:
    path: str
    """As the file system names it, with the version where one is asked for."""
    name: str
    """Below the prefix; the key's last part of a single object."""
    size: int
    mark: str
    """Changes with the content."""


class Objects:
    """An object or a prefix of an object store."""

    def __init__(self, address: Bucket) -> None:
        self._address = address
        self._what = f"the model {address}"
        self._login = _LOGIN[address.scheme]

    def find(self) -> Found:
        """What there is now."""
        with explained(self._what, self._login):
            found, version = self._objects()
        lines = "".join(f"{o.mark} {o.size} {o.name}\n" for o in found)
        uri = str(Bucket(self._address.scheme, self._address.bucket, self._address.key, version))
        identity = hashlib.sha256(lines.encode()).hexdigest()
        return Found(uri, identity, size=sum(o.size for o in found))

    def fetch(self, found: Found, folder: Path, progress: Progress) -> None:
        """Bring the objects, one after the other: each in parts beside each other where it is large."""
        with explained(self._what, self._login):
            fs = self._system()
            done = 0
            for one in self._objects()[0]:
                target = folder / one.name
                target.parent.mkdir(parents=True, exist_ok=True)
                fs.get_file(one.path, str(target), callback=_callback(progress, done, found.size))
                done += target.stat().st_size
                progress(done, found.size)
        if self.find().identity != found.identity:
            raise ModelError(
                f"{self._what} was replaced while it was fetched",
                "Run the command again, when nobody writes there.",
            )

    def _objects(self) -> tuple[Sequence[_Object], str]:
        """What the address names, sorted by name; and the version of a single object, where it has one."""
        fs, address = self._system(), self._address
        path = str(address).partition("://")[2]
        info = fs.info(path.rstrip("/"))
        if info["type"] == "file" and not address.key.endswith("/"):
            version = address.version or _version(address.scheme, info)
            return [
                _Object(path, safe_path(address.name, self._what), int(info["size"]), _mark(info))
            ], version
        prefix = fs._strip_protocol(path).rstrip("/") + "/"
        listed: Mapping[str, Any] = fs.find(prefix, detail=True)
        # A key that ends with a slash, or an empty blob of that name, stands for a folder in some consoles.
        files = {
            p.removeprefix(prefix): i
            for p, i in listed.items()
            if i["type"] == "file" and p.startswith(prefix)
        }
        kept = {name: info for name, info in files.items() if name and not name.endswith("/")}
        if not kept:
            raise FileNotFoundError(f"nothing is stored below {prefix}")
        refuse_collisions(sorted(kept), self._what)
        return [
            _Object(prefix + name, safe_path(name, self._what), int(info["size"]), _mark(info))
            for name, info in sorted(kept.items())
        ], ""

    def _system(self) -> Any:
        """The file system; without caches of its own, since what counts is what there is now."""
        import os

        scheme = self._address.scheme
        module, name = _SYSTEM[scheme]
        system = getattr(need(module, _EXTRA[scheme], self._what), name)
        options: dict[str, Any] = {"version_aware": bool(self._address.version)}
        _, at, host = self._address.bucket.partition("@")
        if scheme == "abfs" and at:
            options |= {
                "account_name": host.partition(".")[0],
                "account_host": host.replace(".dfs.", ".blob.", 1),
            }
        if scheme == "gs" and os.environ.get("STORAGE_EMULATOR_HOST"):
            options["token"] = "anon"  # noqa: S105  as Google's own libraries do it
        return system(skip_instance_cache=True, use_listings_cache=False, **options)


def _mark(info: Mapping[str, Any]) -> str:
    """What of an object's description changes with its content: the stores agree on no name for it."""
    names = ("ETag", "etag", "VersionId", "generation", "version_id")
    marks = [str(info[name]) for name in names if info.get(name) not in {None, "", "null"}]
    times = ("LastModified", "last_modified", "updated")  # of a store that has no better mark
    return " ".join(marks or [str(info.get(name)) for name in times])


def _version(scheme: str, info: Mapping[str, Any]) -> str:
    found = info.get({"s3": "VersionId", "gs": "generation"}.get(scheme, ""))
    return "" if found in {None, "null"} else str(found)


def _callback(progress: Progress, before: int, total: int | None) -> Any:
    callbacks: Any = import_module("fsspec.callbacks")
    return callbacks.Callback(hooks={"serinus": lambda size, value, **_: progress(before + value, total)})
