"""Configuration, manifest and index: what is inherited, what is ours, and that nothing else is in them."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from serinus.image import LABEL_CONTRACT, LABEL_MODEL, SBOM_TYPE, Base, Layer
from serinus.image.manifest import (
    CREATED,
    NOTHING,
    Facts,
    configuration,
    document,
    environment,
    index,
    manifest,
    referrer,
)
from serinus.registry import CONFIG, INDEX, LAYER_GZIP, MANIFEST, Descriptor, Platform
from serinus.registry.content import parse_manifest

AMD64 = Platform()
FACTS = Facts("sentiment", 5000, "{}", "sha256:" + "cc" * 32)


def layer(name: str, number: int, media_type: str = LAYER_GZIP) -> Layer:
    digest = f"sha256:{number:064x}"
    return Layer(name, Descriptor(media_type, digest, number), digest.replace("0", "f", 1))


def base(config: dict[str, Any], *layers: Layer, platform: Platform = AMD64) -> Base:
    return Base(
        "debian:bookworm", "sha256:" + "bb" * 32, platform, layers, config, "3.11", "/usr/bin/python3.11"
    )


def configured(config: dict[str, Any], **facts: Any) -> dict[str, Any]:
    stands_on = base(config, layer("base", 1))
    body = configuration(stands_on, [layer("code", 2)], Facts("sentiment", 5000, **facts)).body
    return json.loads(body)  # type: ignore[no-any-return]


def test_what_the_base_would_run_is_not_inherited_and_the_rest_is() -> None:
    inherited = {
        "Cmd": ["bash"],
        "Entrypoint": ["/entry"],
        "User": "root",
        "Env": ["PATH=/opt/bin", "PYTHONPATH=/elsewhere", "GPG_KEY=1"],
        "Labels": {"vendor": "x", "org.opencontainers.image.source": "y"},
        "ExposedPorts": {"80/tcp": {}},
        "Volumes": {"/data": {}},
        "Healthcheck": {"Test": ["NONE"]},
        "OnBuild": ["RUN x"],
    }  # fmt: skip
    runs = configured({"config": inherited})["config"]
    assert not {"Cmd", "Healthcheck", "OnBuild"} & set(runs)
    assert runs["Entrypoint"] == ["/usr/bin/python3.11", "-m", "serinus.serving"]
    assert runs["User"] == "65532:65532"
    assert runs["Volumes"] == {"/data": {}}
    assert runs["ExposedPorts"] == {"80/tcp": {}, "5000/tcp": {}}
    assert runs["Env"][:3] == [
        "PATH=/opt/bin",
        "PYTHONPATH=/opt/serinus/runtime:/opt/serinus/lib",
        "GPG_KEY=1",
    ]
    assert runs["Labels"] == {
        "vendor": "x",
        "org.opencontainers.image.title": "sentiment",
        "org.opencontainers.image.base.name": "debian:bookworm",
        "org.opencontainers.image.base.digest": "sha256:" + "bb" * 32,
    }


@given(st.lists(st.from_regex(r"[A-Z]{1,3}=[a-z]?", fullmatch=True)))
def test_every_variable_stands_once(lines: list[str]) -> None:
    names = [line.partition("=")[0] for line in environment(lines)]
    assert len(names) == len(set(names))
    assert {line.partition("=")[0] for line in lines} | {"PATH", "PYTHONPATH", "LANG"} <= set(names)


def test_contract_and_model_are_labels_and_what_is_told_is_too() -> None:
    labels = configured({}, contract="{}", model="sha256:m", told={"version": "1.2", "source": ""})["config"][
        "Labels"
    ]
    assert (labels[LABEL_CONTRACT], labels[LABEL_MODEL]) == ("{}", "sha256:m")
    assert labels["org.opencontainers.image.version"] == "1.2"
    assert "org.opencontainers.image.source" not in labels


def test_history_and_diff_ids_tell_of_every_layer() -> None:
    told = [{"created_by": "a"}, {"created_by": "ENV", "empty_layer": True}]
    with_history = configured({"history": told})
    assert with_history["history"] == [*told, {"created": CREATED, "created_by": "serinus build: code"}]
    without = configured({"history": [*told, {"created_by": "more than there are"}]})
    assert [entry["created_by"] for entry in without["history"]] == [
        "serinus build: base",
        "serinus build: code",
    ]
    assert len(without["rootfs"]["diff_ids"]) == 2
    assert without["created"] == CREATED


def test_the_manifest_is_what_the_specification_says() -> None:
    docker = "application/vnd.docker.image.rootfs.diff.tar.gzip"
    stands_on = base({}, layer("base", 1, docker), platform=Platform("linux", "arm64", "v8"))
    config = configuration(stands_on, [layer("code", 2)], FACTS)
    made = manifest(stands_on, [layer("code", 2)], config, FACTS)
    parts = parse_manifest(made.body, made.descriptor)
    assert [blob.media_type for blob in parts.blobs] == [CONFIG, LAYER_GZIP, LAYER_GZIP]
    assert [blob.size for blob in parts.blobs] == [len(config.body), 1, 2]
    assert made.descriptor.platform == Platform("linux", "arm64", "v8")
    assert json.loads(config.body)["variant"] == "v8"
    assert parts.annotations["org.opencontainers.image.title"] == "sentiment"


def test_an_index_keeps_its_order_and_platforms() -> None:
    platforms = [Platform("linux", "arm64"), Platform("linux", "amd64")]
    made = index([Descriptor(MANIFEST, f"sha256:{n:064x}", n, p) for n, p in enumerate(platforms)], FACTS)
    parts = parse_manifest(made.body, made.descriptor)
    assert made.descriptor.media_type == INDEX
    assert [child.platform for child in parts.manifests] == platforms


def test_a_referrer_names_its_subject_plainly() -> None:
    subject = Descriptor(MANIFEST, "sha256:" + "aa" * 32, 7, Platform())
    attached = referrer(subject, Descriptor(SBOM_TYPE, "sha256:" + "dd" * 32, 9))
    parts = parse_manifest(attached.body, attached.descriptor)
    assert (parts.artifact_type, parts.subject) == (SBOM_TYPE, Descriptor(MANIFEST, subject.digest, 7))
    # The empty descriptor as the specification spells it out.
    assert (
        NOTHING.descriptor.digest == "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    )
    assert NOTHING.body == b"{}"


_json = st.recursive(
    st.none() | st.text(max_size=5), lambda inner: st.dictionaries(st.text(max_size=3), inner), max_leaves=5
)


@given(st.dictionaries(st.text(max_size=4), _json))
def test_equal_documents_are_equal_bytes(value: dict[str, Any]) -> None:
    turned = dict(reversed(list(value.items())))
    made = document("x", value)
    assert made == document("x", turned)
    assert json.loads(made.body) == value
    assert made.descriptor.digest == "sha256:" + hashlib.sha256(made.body).hexdigest()
