"""An image in a layout -> one file that an engine loads, or straight into an engine.

The archive is two things at once: the format of ``docker load`` (``manifest.json`` and ``repositories``, as
``docker save`` writes them; Docker 20.10 and Podman 4.3 read it) and an OCI image layout in a tar (image-spec
1.1, "Image Layout"), so that an engine which knows the latter keeps the image's digest. Layers are stored
once, as they are in the layout: the loaders take compressed ones too.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal, NoReturn, cast

from serinus.errors import BuildError, RuntimeUnavailable
from serinus.events import Observer, Step, ignore, step
from serinus.registry import INDEX, INDEXES, Descriptor, Platform, this_platform
from serinus.registry.layout import Layout

Engine = Literal["docker", "podman"]

_INSTALL = {
    "docker": "apt-get install docker.io, and start dockerd; or name another engine.",
    "podman": "apt-get install podman; or name another engine.",
}


@dataclass(frozen=True, slots=True)
class Output:
    """Where an image is to be written to."""

    kind: Literal["docker-archive", "oci-archive", "oci"]
    path: Path
    tag: str = ""
    """Of an OCI layout; empty takes the reference of the image."""


def parse_output(text: str) -> Output:
    """Read ``docker-archive:FILE``, ``oci-archive:FILE`` or ``oci:DIR[:TAG]``.

    Raises:
        BuildError: it is none of these; the message says what was found.
    """
    kind, _, rest = text.partition(":")
    if kind in ("docker-archive", "oci-archive") and rest:
        return Output("docker-archive" if kind == "docker-archive" else "oci-archive", Path(rest))
    if kind == "oci" and rest:
        from serinus.registry.places import split_tag

        path, tag = split_tag(rest, default="")
        if path and not rest.endswith(":"):
            return Output("oci", Path(path), tag)
    raise BuildError(
        f"the output is {text!r}, expected docker-archive:FILE, oci-archive:FILE or oci:DIR[:TAG]",
        "Name one of them, like docker-archive:image.tar.",
    )


def write(
    layout: Layout, descriptor: Descriptor, reference: str, output: Output, *, observer: Observer = ignore
) -> None:
    """Write an image out.

    Args:
        layout: where it is.
        descriptor: of its manifest, or of an index.
        reference: its name and tag.
        output: where to; a file is there whole or not at all.
        observer: told of the step.

    Raises:
        BuildError: the file cannot be written, or an index is to become a Docker archive and has no image for
            this machine.
    """
    if output.kind == "oci":
        from serinus.registry.copy import copy

        copy(
            layout, Layout(output.path), descriptor.digest, [output.tag or reference],
            referrers=True, observer=observer,
        )  # fmt: skip
        return
    temporary = output.path.with_name(f".{output.path.name}.{os.urandom(6).hex()}")
    try:
        with temporary.open("xb") as file, step(f"write {output.path.name}", observer) as told:
            if output.kind == "docker-archive":
                docker_archive(layout, descriptor, [reference], file, told)
            else:
                oci_archive(layout, descriptor, [reference], file, told)
        temporary.replace(output.path)
    except OSError as error:
        raise BuildError(
            f"{output.path} cannot be written: {error.strerror or error}",
            "Name a file in a folder that exists and has room.",
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


def docker_archive(
    layout: Layout,
    descriptor: Descriptor,
    references: Sequence[str],
    file: BinaryIO | IO[bytes],
    told: Step | None = None,
) -> None:
    """Write an image as ``docker load`` reads it, which is an OCI layout at the same time.

    Args:
        layout: where it is.
        descriptor: of its manifest; of an index the manifest for this machine is taken.
        references: names with tags that it is to get.
        file: is written from beginning to end, so it may be a pipe.
        told: is told how many bytes are through.

    Raises:
        BuildError: an index has no image for this machine.
    """
    chosen = for_this_machine(layout, descriptor)
    manifest = json.loads(layout.manifest(chosen))
    config, layers = manifest["config"]["digest"], [layer["digest"] for layer in manifest["layers"]]
    described = [
        {
            "Config": _blob_path(config),
            "RepoTags": [_named(reference) for reference in references],
            "Layers": [_blob_path(digest) for digest in layers],
        }
    ]
    repositories: dict[str, dict[str, str]] = {}
    for reference in references:
        name, _, tag = _named(reference).rpartition(":")
        repositories.setdefault(name, {})[tag] = config.partition(":")[2]
    documents = {
        "manifest.json": described,
        "repositories": repositories,
        **_layout_documents([chosen], references),
    }
    # A base may hold one layer twice; Docker wants each name in the archive once.
    _write(file, layout, documents, list(dict.fromkeys([chosen.digest, config, *layers])), told)


def oci_archive(
    layout: Layout,
    descriptor: Descriptor,
    references: Sequence[str],
    file: BinaryIO | IO[bytes],
    told: Step | None = None,
) -> None:
    """Write an image, or an index with all its images, as a tar of an OCI layout. Arguments as above."""
    digests = list(dict.fromkeys(_reachable(layout, descriptor)))
    _write(file, layout, _layout_documents([descriptor], references), digests, told)


def for_this_machine(layout: Layout, descriptor: Descriptor) -> Descriptor:
    """The manifest itself, or the one of an index that fits this machine.

    Raises:
        BuildError: the index has none.
    """
    if descriptor.media_type not in INDEXES:
        return descriptor
    from serinus.image.base import fits
    from serinus.registry.content import parse_manifest

    manifests = parse_manifest(layout.manifest(descriptor), descriptor).manifests
    for each in manifests:
        if each.platform and fits(each.platform, this_platform()):
            return each
    there = ", ".join(str(each.platform) for each in manifests if each.platform)
    raise BuildError(
        f"the image {descriptor.digest} is for {there}, and not for this machine, {this_platform()}",
        f"Build it for {this_platform()} too, or write an oci-archive, which holds them all.",
    )


def load(
    engine: Engine,
    layout: Layout,
    descriptor: Descriptor,
    reference: str,
    *,
    observer: Observer = ignore,
    program: str | None = None,
    arguments: Sequence[str] = (),
) -> str:
    """Give an image to an engine, streamed: there is no temporary file.

    Args:
        engine: ``docker`` or ``podman``.
        layout: where the image is.
        descriptor: of its manifest or index.
        reference: the name and tag that it gets.
        observer: told of the step.
        program: the engine's command; default its name, found on the ``PATH``.
        arguments: of the engine, before ``load``.

    Returns:
        The image's id in the engine: the digest of its configuration.

    Raises:
        RuntimeUnavailable: the engine is not there or refused; the message is what it said.
    """
    import subprocess
    import tempfile

    command = [program or engine, *arguments, "load"]
    chosen = for_this_machine(layout, descriptor)
    with step(f"load {engine}", observer) as told, tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, stderr=said)
        except OSError as error:
            raise RuntimeUnavailable(
                f"{command[0]} cannot be run: {error.strerror or error}", _INSTALL[engine]
            ) from None
        broken = _feed(process, lambda file: docker_archive(layout, chosen, [reference], file, told))
        if process.returncode or broken:
            said.seek(0)
            _refused(engine, said.read().decode(errors="replace"))
    config: str = json.loads(layout.manifest(chosen))["config"]["digest"]
    return config


def _feed(process: Any, write_to: Callable[[BinaryIO], None]) -> bool:
    """Write into a process and wait for its end; whether it stopped reading before."""
    broken = False
    try:
        with process.stdin as pipe:
            write_to(cast(BinaryIO, pipe))
    except BrokenPipeError:
        broken = True
    except BaseException:
        process.kill()
        raise
    finally:
        process.wait()
    return broken


def _refused(engine: Engine, said: str) -> NoReturn:
    message = said.strip()[-1000:] or "it said nothing"
    raise RuntimeUnavailable(f"{engine} did not load the image: {message}", _INSTALL[engine])


def _named(reference: str) -> str:
    """A reference with its tag: engines take only those."""
    return reference if ":" in reference.rpartition("/")[2] else f"{reference}:latest"


def _layout_documents(tops: Sequence[Descriptor], references: Sequence[str]) -> dict[str, Any]:
    """``oci-layout`` and ``index.json``: each image under each of its names."""
    entries = []
    for top in tops:
        for reference in references or [""]:
            names = {"org.opencontainers.image.ref.name": reference} if reference else {}
            plain = Descriptor(top.media_type, top.digest, top.size, top.platform, names)
            entries.append(plain.to_json())
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
    return {"oci-layout": {"imageLayoutVersion": "1.0.0"}, "index.json": index}


def _reachable(layout: Layout, descriptor: Descriptor) -> Iterator[str]:
    yield descriptor.digest
    document = json.loads(layout.manifest(descriptor))
    for child in document.get("manifests", ()):
        platform = child.get("platform", {})
        known = Platform(platform.get("os", ""), platform.get("architecture", ""))
        yield from _reachable(layout, Descriptor(child["mediaType"], child["digest"], child["size"], known))
    if "config" in document:
        yield document["config"]["digest"]
        yield from (layer["digest"] for layer in document["layers"])


def _write(
    file: BinaryIO | IO[bytes],
    layout: Layout,
    documents: dict[str, Any],
    digests: Sequence[str],
    told: Step | None,
) -> None:
    """The tar: blobs first, then what says how they belong together."""
    sizes = {digest: layout.path(digest).stat().st_size for digest in digests}
    total, done = sum(sizes.values()), 0
    with tarfile.open(fileobj=file, mode="w|", bufsize=1 << 20) as tar:
        for folder in ("blobs", "blobs/sha256"):
            info = tarfile.TarInfo(folder)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(info)
        for digest in digests:
            info = tarfile.TarInfo(_blob_path(digest))
            info.size, info.mode = sizes[digest], 0o644
            with layout.path(digest).open("rb") as blob:
                tar.addfile(info, blob)
            done += info.size
            if told is not None:
                told.progress(done, total)
        for name, document in documents.items():
            body = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(body), 0o644
            tar.addfile(info, io.BytesIO(body))


def _blob_path(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")
