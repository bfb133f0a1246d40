"""Publishing: what is asked of it, and from where a registry may take blobs over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from serinus.errors import NotFound, ProjectError, RegistryError
from serinus.image.publish import base_of, find, publish, pull
from serinus.project import Image, Project, Service
from serinus.registry import CONFIG, MANIFEST, Descriptor
from serinus.registry.content import digest_of
from serinus.registry.layout import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout")


def stored(layout: Layout, tag: str, base: str | None = None) -> Descriptor:
    """An image without layers, and with a base if one is named."""
    config = b"{}"
    with layout.new_blob() as blob:
        blob.write(config)
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": Descriptor(CONFIG, digest_of(config), len(config)).to_json(),
        "layers": [],
        "annotations": {"org.opencontainers.image.base.name": base} if base else {},
    }
    body = json.dumps(document).encode()
    descriptor = Descriptor(MANIFEST, digest_of(body), len(body))
    layout.write_manifest(descriptor, body, [tag])
    return descriptor


def project(root: Path, repository: str | None = None) -> Project:
    return Project(root=root, service=Service(name="x", entrypoint="a:b"), image=Image(repository=repository))


@pytest.mark.parametrize(
    ("base", "repositories"),
    [
        (None, []),
        ("debian:bookworm", []),
        ("oci:folder:1", []),
        ("ghcr.io/acme/base:1", ["ghcr.io/acme/base"]),
        ("docker.io/library/python:3.11-slim", ["docker.io/library/python"]),
    ],
)
def test_only_a_base_from_a_registry_can_be_mounted(
    layout: Layout, base: str | None, repositories: list[str]
) -> None:
    found = base_of(layout, stored(layout, "x:latest", base))
    assert [f"{r.registry}/{r.repository}" for r in found] == repositories


def test_an_image_goes_to_every_reference_and_comes_back(layout: Layout, tmp_path: Path) -> None:
    image = stored(layout, "x:latest")
    references = [f"oci:{tmp_path}/one:1", f"oci:{tmp_path}/two"]
    done = publish(project(tmp_path), layout, "x:latest", references)
    assert [(p.reference, p.digest, p.sent) for p in done] == [(r, image.digest, 0) for r in references]
    assert Layout(tmp_path / "two").resolve("latest").digest == image.digest
    assert pull(references[0], Layout(tmp_path / "back")).digest == image.digest
    assert list(Layout(tmp_path / "back").tags()) == [references[0]]


def test_the_project_says_where_to_when_nobody_else_does(layout: Layout, tmp_path: Path) -> None:
    stored(layout, "x:latest")
    assert publish(project(tmp_path, f"oci:{tmp_path}/own"), layout, "x:latest")[0].reference.endswith("/own")
    with pytest.raises(ProjectError, match=r"no image\.repository"):
        publish(project(tmp_path), layout, "x:latest")


def test_nothing_is_pushed_under_somebody_elses_digest(layout: Layout, tmp_path: Path) -> None:
    image = stored(layout, "x:latest")
    with pytest.raises(RegistryError, match="has a digest"):
        publish(project(tmp_path), layout, "x:latest", [f"ghcr.io/acme/x@{image.digest}"])


def test_an_image_is_found_by_tag_digest_or_folder(layout: Layout) -> None:
    image = stored(layout, "x:latest")
    for name in ("x:latest", image.digest, f"oci:{layout.root}:x:latest"):
        where, found = find(name, layout)
        assert (where.root, found.digest) == (layout.root, image.digest)
    with pytest.raises(NotFound, match="it has x:latest"):
        find("x:lates", layout)
