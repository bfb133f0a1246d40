"""Faults of the image."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faults import Fault, append, replace
from rewritten import _put, _tar, rewrite

from serinus.image import LABEL_CONTRACT
from serinus.registry.content import digest_of
from serinus.registry.layout import Layout

CHANGED = "changed:latest"
KEY = b"-----BEGIN PRIVATE KEY-----\n" + b"MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n" * 3


def changed(tag: str, **how: Any) -> Callable[[Path], object]:
    """Seeds a changed copy of the image that was built."""
    return lambda folder: rewrite(Layout(folder / ".serinus" / "layout"), tag, CHANGED, **how)


def root(config: dict[str, Any]) -> None:
    config["config"]["User"] = "0:0"


def unlabelled(config: dict[str, Any]) -> None:
    del config["config"]["Labels"][LABEL_CONTRACT]


def password(config: dict[str, Any]) -> None:
    config["config"]["Env"].append("DB_PASSWORD=hunter2")


def other_contract(config: dict[str, Any]) -> None:
    contract = json.loads(config["config"]["Labels"][LABEL_CONTRACT])
    contract["response"] = {"type": "string"}
    config["config"]["Labels"][LABEL_CONTRACT] = json.dumps(contract)


def env_file(folder: Path) -> None:
    (folder / ".env").write_text("PASSWORD=hunter2\n")
    append(folder / ".serinusignore", "!.env\n")


def stale_layer(folder: Path) -> None:
    """The cache takes another layer for that of the code, which the build then uses unseen."""
    body = _tar({"srv/left-over.py": b"", "srv/app.py": (folder / "app.py").read_bytes()}, 0o644, 0)
    layout, index = Layout(folder / ".serinus" / "layout"), folder / ".serinus" / "cache" / "layers.json"
    _put(layout, body)
    text = index.read_text()
    top = json.loads(layout.manifest(layout.resolve("glad:latest")))["layers"][-1]
    other = text.replace(top["digest"], digest_of(body)).replace(str(top["size"]), str(len(body)))
    assert other != text
    index.write_text(other)


FAULTS = (
    Fault("a .env in the image", "flask-app", "image.secrets", "/srv/.env", env_file),
    Fault(
        "a private key in a file of another name", "onnx", "image.secrets", "holds a private key",
        changed("breast-cancer:latest", files={"srv/data.txt": KEY}), image=CHANGED,
    ),
    Fault(
        "a secret that a later layer deletes", "onnx", "image.secrets", "id_ed25519",
        lambda folder: (
            changed("breast-cancer:latest", files={"root/.ssh/id_ed25519": b"x"})(folder),
            changed(CHANGED, files={"root/.ssh/.wh.id_ed25519": b""})(folder),
        ), image=CHANGED,
    ),
    Fault(
        "a password in the image's environment", "onnx", "image.secrets", "value of DB_PASSWORD",
        changed("breast-cancer:latest", config=password), image=CHANGED,
    ),
    Fault(
        "an image that runs as root", "onnx", "image.user", "runs as root",
        changed("breast-cancer:latest", config=root), image=CHANGED,
    ),
    Fault(
        "code that only root can read", "onnx", "image.user", "cannot read it",
        changed("breast-cancer:latest", files={"srv/own.py": b""}, mode=0o600), image=CHANGED,
    ),
    Fault(
        "a service that writes beside its code", "flask-app", "image.read-only", "seen.txt",
        lambda folder: replace(
            folder / "app.py", "    sentences = ", "    open('seen.txt', 'a').close()\n    sentences = "
        ),
    ),
    Fault(
        "code that the service can change", "onnx", "image.code", "can change its code",
        changed("breast-cancer:latest", files={"srv/own.py": b""}, owner=65532), image=CHANGED,
    ),
    Fault(
        "a set-uid program", "onnx", "image.code", "set-uid",
        changed("breast-cancer:latest", files={"usr/bin/helper": b""}, mode=0o4755), image=CHANGED,
    ),
    Fault(
        "a label of the contract that is missing", "flask-app", "image.labels", "no label dev.serinus.c",
        changed("glad:latest", config=unlabelled), image=CHANGED,
    ),
    Fault(
        "a label that tells another contract than the file", "flask-app", "image.labels", "differ",
        changed("glad:latest", config=other_contract), image=CHANGED,
    ),
    Fault(
        "an image without a bill of materials", "onnx", "image.sbom", "no bill of materials",
        changed("breast-cancer:latest", config=root, sbom=False), image=CHANGED,
    ),
    Fault(
        "a package that the bill of materials does not name", "onnx", "image.sbom", "does not name left-pad",
        changed("breast-cancer:latest", files={"opt/serinus/lib/left_pad-1.0.dist-info/METADATA": b""}),
        image=CHANGED,
    ),
    Fault(
        "a package for another Python", "onnx", "image.python", "for 3.12",
        changed("breast-cancer:latest", files={"opt/serinus/lib/x.cpython-312-x86_64-linux-gnu.so": b""}),
        image=CHANGED,
    ),
    Fault(
        "a stale layer in the cache",
        "flask-app",
        "image.reproducible",
        "built again the image is",
        stale_layer,
    ),
    Fault(
        "an image over its budget", "flask-app", "image.size", "expected at most 1048576",
        lambda folder: append(folder / "serinus.toml", '\n[checks.image]\nsize = "1MiB"\n'),
    ),
    Fault(
        "a Dockerfile that installs what is newest", "flask-app", "image.dockerfile", "DL3007",
        lambda folder: append(folder / "Dockerfile", "FROM python:latest\nUSER 65532\n"),
    ),
)  # fmt: skip
