"""Addresses: what a person writes as ``model.source``, taken apart. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NoReturn
from urllib.parse import unquote, urlsplit

from serinus.errors import ModelError, RegistryError
from serinus.models import ids
from serinus.models.forms import (
    Address,
    Artifact,
    AzureMl,
    Bucket,
    Hub,
    Local,
    Mlflow,
    Package,
    Registered,
    Web,
)
from serinus.registry.reference import parse as parse_reference

EXAMPLES = {
    "oci": "oci://ghcr.io/acme/models/sentiment:3",
    "file": "file:/srv/models/sentiment.onnx",
    "https": "https://models.example/sentiment.onnx#sha256=<64 hexadecimal digits>",
    "s3": "s3://acme-models/sentiment/model.onnx",
    "gs": "gs://acme-models/sentiment/model.onnx",
    "abfs": "abfs://models@acme.dfs.core.windows.net/sentiment/model.onnx",
    "mlflow": "mlflow:models:/sentiment/3",
    "sagemaker": "sagemaker://sentiment/3",
    "azureml": "azureml://subscriptions/<id>/resourcegroups/ml/workspaces/nlp/models/sentiment/versions/3",
    "hf": "hf://acme/sentiment@main",
}
"""Scheme -> how it is written."""

_ID = re.compile(r"[a-z0-9][a-z0-9._-]*[:@][^/]*")
_HEX = r"[0-9a-f]{64}"
_PART = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
_PACKAGE = re.compile(
    r"(?:(?P<arn>arn:aws[a-z-]*:sagemaker:[a-z0-9-]+:[0-9]{12}:model-package)/)?"
    r"(?P<group>[A-Za-z0-9](?:-*[A-Za-z0-9]){0,62})/(?P<version>[1-9][0-9]{0,8})"
)
_AZUREML = re.compile(
    rf"(?:subscriptions/(?P<subscription>{_PART})/)?resourcegroups/(?P<group>[\w.()-]+)/workspaces/"
    rf"(?P<workspace>{_PART})/models/(?P<model>{_PART})/versions/(?P<version>{_PART})",
    re.IGNORECASE | re.ASCII,
)
_HUB = re.compile(rf"(?P<repository>{_PART}/{_PART})(?:@(?P<revision>[^/@]+))?(?:/(?P<file>.+))?")
_MLFLOW = re.compile(r"models:/(?P<name>[^/:@]+)(?:/(?P<version>[^/]+)|@(?P<alias>[^/@]+))")
_BUCKET = r"[A-Za-z0-9][A-Za-z0-9._-]+"


def parse(text: str) -> Address:
    """Read what a person wrote.

    Args:
        text: a path, ``NAME:VERSION``, ``NAME@ALIAS``, ``NAME@sha256:...``, or one of :data:`EXAMPLES`.

    Raises:
        ModelError: a scheme that is not known, or the rest of the text is not as its scheme wants it.
    """
    if not text or any(ord(sign) < 0x20 or ord(sign) == 0x7F for sign in text):
        raise ModelError(
            f"the model's source is {text!r}, expected a text without control characters", "Write it again."
        )
    scheme, colon, rest = text.partition(":")
    if colon and scheme in _PARSERS:
        return _PARSERS[scheme](text, rest)
    if rest.startswith("//"):
        raise ModelError(
            f"the model's source {text!r} has the scheme {scheme!r}, which is not known",
            f"Known are {', '.join(f'{name}:' for name in EXAMPLES)} and paths.",
        )
    if _ID.fullmatch(text):
        return Registered(ids.parse(text))
    return Local(text)


def wrong(text: str, found: str, expected: str, example: str) -> NoReturn:
    """Raise what is said of a source that is written wrongly.

    Raises:
        ModelError: always.
    """
    raise ModelError(
        f"the model's source {text!r} cannot be read: found {found}, expected {expected}",
        f"Write it like {example}.",
    )


def _file(text: str, rest: str) -> Local:
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if host not in {"", "localhost"} or not slash:
            wrong(text, f"the host {host!r}", "none, or localhost", EXAMPLES["file"])
        rest = f"/{path}"
    path = unquote(rest)
    if not path or "\0" in path:
        wrong(text, f"the path {path!r}", "a path behind 'file:'", EXAMPLES["file"])
    return Local(path)


def _oci(text: str, rest: str) -> Artifact:
    if not rest.startswith("//"):
        path = rest.partition(":")[0]
        if not path:
            wrong(text, "no folder", "oci:FOLDER[:TAG] or oci://HOST/REPOSITORY[:TAG]", EXAMPLES["oci"])
        return Artifact(None, rest)
    try:
        reference = parse_reference(rest[2:])
    except RegistryError as error:
        wrong(text, error.message, "the reference of an artifact", EXAMPLES["oci"])
    return Artifact(reference)


def _web(text: str, rest: str) -> Web:
    from serinus.registry.network import is_loopback  # not for every build: it loads TLS

    url, _, fragment = text.partition("#")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        wrong(text, str(error), "a URL", EXAMPLES["https"])
    if not rest.startswith("//") or not host:
        wrong(text, "no host", "a URL", EXAMPLES["https"])
    if parts.username is not None or parts.password is not None:
        # Without the text: it holds what must not be shown.
        raise ModelError(
            f"the model's source at {host} holds a user or a password, which would stand in files and logs",
            "Take them out of the URL, and put them into ~/.netrc.",
        )
    if parts.scheme == "http" and not is_loopback(parts.netloc):
        wrong(text.partition("?")[0], "plain http", "https, except on this machine", EXAMPLES["https"])
    digest = fragment.removeprefix("sha256=")
    if fragment and (digest == fragment or not re.fullmatch(_HEX, digest)):
        wrong(
            text.partition("?")[0],
            f"{fragment!r} behind '#'",
            "sha256=<64 hexadecimal digits>",
            EXAMPLES["https"],
        )
    return Web(url, digest)


def _bucket(text: str, rest: str) -> Bucket:
    scheme = {"abfss": "abfs"}.get(text.partition(":")[0], text.partition(":")[0])
    bucket, slash, key = rest.removeprefix("//").partition("/")
    version = ""
    if scheme == "s3" and "?" in key:
        key, _, query = key.rpartition("?")
        version = query.removeprefix("versionId=")
        if version == query or not version:
            wrong(text, f"{query!r} behind '?'", "versionId=<id of a version>", EXAMPLES[scheme])
    if scheme == "gs" and "#" in key:
        key, _, version = key.rpartition("#")
        if not re.fullmatch(r"[0-9]+", version):
            wrong(text, f"{version!r} behind '#'", "the number of a generation", EXAMPLES[scheme])
    form = rf"{_BUCKET}(?:@{_BUCKET})?" if scheme == "abfs" else _BUCKET
    if not rest.startswith("//") or not re.fullmatch(form, bucket):
        wrong(text, f"{bucket!r} as a bucket", "its name behind '//'", EXAMPLES[scheme])
    if not slash or not key.strip("/") or any(part in {".", ".."} for part in key.split("/")):
        wrong(text, f"the key {key!r}", "that of an object, or a prefix", EXAMPLES[scheme])
    return Bucket(scheme, bucket, key, version)


def _mlflow(text: str, rest: str) -> Mlflow:
    match = _MLFLOW.fullmatch(rest)
    if match is None:
        wrong(text, f"{rest!r}", "models:/NAME/VERSION or models:/NAME@ALIAS", EXAMPLES["mlflow"])
    version = match["version"] or ""
    if version and not re.fullmatch(r"[1-9][0-9]*", version):
        expected = "the number of a version, or an alias behind '@' (MLflow has no stages any more)"
        wrong(text, f"{version!r} as a version", expected, EXAMPLES["mlflow"])
    return Mlflow(match["name"], version, match["alias"] or "")


def _sagemaker(text: str, rest: str) -> Package:
    match = _PACKAGE.fullmatch(rest.removeprefix("//"))
    if match is None or not rest.startswith("//"):
        wrong(text, f"{rest!r}", "//GROUP/VERSION, or // and the package's ARN", EXAMPLES["sagemaker"])
    return Package(match["group"], match["version"], match["arn"] or "")


def _azureml(text: str, rest: str) -> AzureMl:
    match = _AZUREML.fullmatch(rest.removeprefix("//"))
    if match is None or not rest.startswith("//"):
        wrong(
            text, f"{rest!r}", "subscription, resource group, workspace, model, version", EXAMPLES["azureml"]
        )
    found = {name: value or "" for name, value in match.groupdict().items()}
    return AzureMl(
        found["group"], found["workspace"], found["model"], found["version"], found["subscription"]
    )


def _hub(text: str, rest: str) -> Hub:
    match = _HUB.fullmatch(rest.removeprefix("//"))
    if match is None or not rest.startswith("//"):
        wrong(text, f"{rest!r}", "//OWNER/NAME[@REVISION][/FILE]", EXAMPLES["hf"])
    file = unquote(match["file"] or "")
    if (any(part in {"", ".", ".."} for part in file.split("/")) and file) or "\0" in file:
        wrong(text, f"the file {file!r}", "a path inside the repository", EXAMPLES["hf"])
    return Hub(match["repository"], unquote(match["revision"] or "main"), file)


_PARSERS: dict[str, Callable[[str, str], Address]] = {
    "file": _file,
    "oci": _oci,
    "https": _web,
    "http": _web,
    "s3": _bucket,
    "gs": _bucket,
    "abfs": _bucket,
    "abfss": _bucket,
    "mlflow": _mlflow,
    "sagemaker": _sagemaker,
    "azureml": _azureml,
    "hf": _hub,
}
