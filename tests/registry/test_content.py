"""Digests, descriptors, manifests, and the reader that verifies."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_images import digest_of

from serinus.errors import DigestMismatch, RegistryError
from serinus.registry import CONFIG, DOCKER_MANIFEST, INDEX, LAYER, MANIFEST, Descriptor, Platform
from serinus.registry.content import (
    media_type_of,
    parse_descriptor,
    parse_manifest,
    split_digest,
    verified,
    verify,
)

DIGEST = "sha256:" + "0" * 64
digests = st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True)
platforms = st.builds(Platform, st.sampled_from(["linux", "windows"]), st.text(), st.text())
descriptors = st.builds(
    Descriptor,
    st.text(min_size=1),
    digests,
    st.integers(0, 2**60),
    st.none() | platforms,
    st.dictionaries(st.text(), st.text(), max_size=3),
    st.text(),
)
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(descriptors)
def test_a_descriptor_is_read_back(descriptor: Descriptor) -> None:
    assert parse_descriptor(json.loads(json.dumps(descriptor.to_json())), "here") == descriptor


@given(documents)
def test_any_json_is_a_descriptor_or_a_clear_error(document: Any) -> None:
    told = ""
    try:
        parse_descriptor(document, "layers/0")
    except RegistryError as error:
        told = error.message
    assert "layers/0" in told or "digest" in told or isinstance(document, dict)


@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ("mediaType", "config", "layers", "manifests", "subject", "annotations"), documents
        ),
    )
)
def test_any_json_is_a_manifest_or_a_clear_error(document: dict[str, Any]) -> None:
    body = json.dumps(document).encode()
    for kind in (MANIFEST, INDEX):
        outcome = ""
        try:
            outcome = parse_manifest(body, Descriptor(kind, DIGEST, len(body))).media_type
        except RegistryError as error:
            outcome = error.todo
        assert outcome


@pytest.mark.parametrize(
    "digest", ["sha256:..", "sha256:" + "A" * 64, "../x", "sha1:" + "0" * 40, "sha256:" + "0" * 65]
)
def test_a_digest_cannot_lead_out_of_the_folder(digest: str) -> None:
    with pytest.raises(RegistryError, match="is not a digest"):
        split_digest(digest)


def test_what_a_manifest_needs() -> None:
    config, layer = Descriptor(CONFIG, DIGEST, 1), Descriptor(LAYER, "sha256:" + "1" * 64, 2)
    foreign = Descriptor("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", DIGEST, 3)
    document = {"config": config.to_json(), "layers": [layer.to_json(), foreign.to_json()]}
    parts = parse_manifest(json.dumps(document).encode(), Descriptor(DOCKER_MANIFEST, DIGEST, 0))
    assert parts.blobs == (config, layer)


def test_a_media_type_that_differs_inside_is_an_error() -> None:
    body = json.dumps({"mediaType": INDEX, "manifests": []}).encode()
    with pytest.raises(RegistryError, match=r"index.*inside, and .*manifest.* outside"):
        parse_manifest(body, Descriptor(MANIFEST, DIGEST, len(body)))


def test_the_old_docker_schema_is_named() -> None:
    old = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    with pytest.raises(RegistryError, match="schema 1"):
        parse_manifest(b"{}", Descriptor(old, DIGEST, 2))


def test_the_media_type_is_seen_by_the_members_where_it_is_not_written() -> None:
    assert media_type_of(b'{"layers": []}', "x") == MANIFEST
    assert media_type_of(b'{"manifests": []}', "x") == INDEX
    with pytest.raises(RegistryError, match="neither"):
        media_type_of(b"{}", "x")


@given(st.binary(max_size=300), st.integers(1, 50))
def test_the_right_bytes_come_through(data: bytes, step: int) -> None:
    descriptor = Descriptor(LAYER, digest_of(data), len(data))
    with verified(io.BytesIO(data).read, descriptor, "here") as reader:
        assert b"".join(iter(lambda: reader.read(step), b"")) == data


@given(st.binary(min_size=1, max_size=300), st.data())
def test_other_bytes_never_come_through_whole(data: bytes, choice: st.DataObject) -> None:
    other = choice.draw(st.binary(max_size=310).filter(lambda b: b != data))
    descriptor = Descriptor(LAYER, digest_of(data), len(data))
    with pytest.raises(DigestMismatch, match="here gave"):
        verify(other, descriptor, "here")


def test_the_read_of_the_last_byte_raises_before_the_end_of_file() -> None:
    descriptor = Descriptor(LAYER, digest_of(b"good"), 4)
    reader = verified(io.BytesIO(b"evil").read, descriptor, "here")
    with pytest.raises(DigestMismatch):
        reader.read(4)
