"""A bench for builds without network: a base of one small layer, a uv that installs one small package."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from serinus.errors import BaseError
from serinus.events import Event
from serinus.image import Base, Built, Layer
from serinus.image.build import build
from serinus.image.layers import Item, pack
from serinus.project import ContractFiles, Image, Model, Project, Service
from serinus.registry import LAYER, Descriptor, Platform
from serinus.registry.layout import Layout

REQUEST = {"type": "array", "items": {"type": "string"}}
RESPONSE = {"type": "object", "properties": {"positive": {"type": "boolean"}}, "required": ["positive"]}


def write(folder: Path, files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


SERVICE: dict[str, str | bytes] = {
    "service.py": "def predict(texts):\n    return {'positive': True}\n",
    "helpers/words.py": "WORDS = 1\n",
    "request.json": json.dumps(REQUEST),
    "response.json": json.dumps(RESPONSE),
    "examples.jsonl": '{"request": ["good"], "response": {"positive": true}}\n',
    "weights/model.bin": b"weights" * 1000,
    "weights/vocabulary.txt": "good\nbad\n",
}


def project(folder: Path, files: dict[str, str | bytes] | None = None, **changes: Any) -> Project:
    """A project with schema files and a model folder, in a folder that is written anew."""
    write(folder, SERVICE | (files or {}))
    made = Project(
        root=folder,
        service=Service(name="sentiment", entrypoint="service:predict"),
        model=Model(path="weights"),
        contract=ContractFiles(request="request.json", response="response.json"),
        image=Image(),
    )
    return replace(made, **changes)


def fake_uv(arguments: Sequence[str], folder: Path) -> None:
    """Locks nothing, and installs one package."""
    if arguments[1] == "compile":
        Path(arguments[arguments.index("--output-file") + 1]).write_text("")
        return
    target = Path(arguments[arguments.index("--target") + 1])
    write(
        target,
        {
            "demo/__init__.py": "VALUE = 1\n",
            "demo-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n",
            "demo-1.0.dist-info/RECORD": "demo/__init__.py,,\ndemo-1.0.dist-info/RECORD,,\n",
        },
    )


def fake_base(
    reference: str, platform: Platform, layout: Layout, *, python: str | None, strict: bool, **_: Any
) -> Base:
    """A base of one file."""
    content = f"{platform}\n".encode()
    with layout.new_blob() as blob:
        pack([Item("etc/base", len(content), content)], blob, compress=False)
    layer = Layer("base", Descriptor(LAYER, blob.digest, blob.size), blob.digest)
    config = {"config": {"Env": ["PATH=/usr/bin", "BASE=1"], "Labels": {"vendor": "debian"}}}
    packages = (("libc6", "2.36-9+deb12u1", platform.architecture),)
    digest = "sha256:" + "ba5e" * 16
    return Base(reference, digest, platform, (layer,), config, python or "3.11", "/usr/bin/python3", packages)


def no_base(reference: str, platform: Platform, layout: Layout, **_: Any) -> Base:
    """A base that cannot be had."""
    raise BaseError(f"no base {reference}", "Find one.")


def in_child(work: Callable[[], object], user: int | None = None) -> int:
    """Do something in a process of its own, as another user if one is named; its exit code.

    0 when the work ended, 1 when it raised, negative the signal that ended it.
    """
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if user is not None:
                os.setgroups([])
                os.setgid(user)
                os.setuid(user)
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@dataclass
class Bench:
    """Builds projects in folders of their own, with one cache."""

    cache: Path
    events: list[Event] = field(default_factory=list)

    def build(self, made: Project, **options: Any) -> Built:
        options = {"resolve_base": fake_base, "run_uv": fake_uv, "cache": self.cache} | options
        return build(made, observer=self.events.append, **options)


def layout_of(made: Project) -> Layout:
    return Layout(made.root / ".serinus/layout")


def manifest_of(made: Project, built: Built) -> dict[str, Any]:
    return json.loads(layout_of(made).manifest(built.descriptor))  # type: ignore[no-any-return]


def config_of(made: Project, built: Built) -> dict[str, Any]:
    digest = manifest_of(made, built)["config"]["digest"]
    return json.loads(layout_of(made).path(digest).read_bytes())  # type: ignore[no-any-return]


def files_of(made: Project, built: Built) -> dict[str, bytes]:
    """Every file of the image by path, later layers over earlier ones."""
    found: dict[str, bytes] = {}
    for layer in built.layers:
        data = layout_of(made).path(layer.descriptor.digest).read_bytes()
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for member in tar.getmembers():
                with contextlib.suppress(KeyError):
                    file = tar.extractfile(member)
                    if file is not None:
                        found[member.name] = file.read()
    return found
