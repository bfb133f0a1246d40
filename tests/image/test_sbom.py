"""The bill of materials: valid CycloneDX, complete, and the same for the same image."""

from __future__ import annotations

import json
import string

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given
from hypothesis import strategies as st

from serinus.image import SBOM_TYPE, Base
from serinus.image.lock import normalised
from serinus.image.sbom import Contains, ModelFile, Package, sbom
from serinus.registry import Platform

IMAGE = "sha256:" + "ab" * 32
VALIDATOR = JsonStrictValidator(SchemaVersion.V1_6)


def contains(
    packages: tuple[Package, ...] = (),
    model: tuple[ModelFile, ...] = (),
    debian: tuple[tuple[str, str, str], ...] = (),
) -> Contains:
    base = Base(
        "debian:bookworm", "sha256:" + "00" * 32, Platform(), (), {}, "3.11", "/usr/bin/python3", debian
    )
    return Contains(base, packages, model)


_version = st.text(string.ascii_letters + string.digits + "+.~-:", min_size=1, max_size=8)
_name = st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=8).filter(
    lambda n: n.strip("._-")
)
_hash = st.sampled_from(["sha256:" + "cd" * 32, "sha256:" + "ef" * 32, "sha512:" + "01" * 64, "other:00"])


_packages = st.builds(Package, _name, _version, st.lists(_hash).map(tuple))
_files = st.builds(ModelFile, st.text(min_size=1, max_size=9), st.just("12" * 32))


@given(
    st.lists(_packages, max_size=4, unique_by=lambda p: normalised(p.name)),
    st.lists(_files, max_size=3, unique_by=lambda f: f.path),
    st.lists(st.tuples(_name.map(str.lower), _version, st.just("amd64")), max_size=3, unique=True),
)
def test_it_is_valid_whatever_is_in_the_image(
    packages: list[Package], model: list[ModelFile], debian: list[tuple[str, str, str]]
) -> None:
    inside = contains(tuple(packages), tuple(model), tuple(debian))
    document = sbom("sentiment", "0.1.0", inside)
    assert VALIDATOR.validate_str(document.body.decode()) is None
    components = json.loads(document.body)["components"]
    assert len({component["bom-ref"] for component in components}) == len(packages) + len(model) + len(debian)


def test_it_names_everything_by_its_package_url() -> None:
    inside = contains(
        (Package("Typing_Extensions", "4.1", ("sha256:" + "cd" * 32,)),),
        (ModelFile("model.onnx", "12" * 32),),
        (("libstdc++6", "12.2.0-14+deb12u1", "amd64"),),
    )
    bill = json.loads(sbom("sentiment", "0.1.0", inside).body)
    python, debian, model = bill["components"]
    assert python["purl"] == "pkg:pypi/typing-extensions@4.1"
    assert python["hashes"] == [{"alg": "SHA-256", "content": "cd" * 32}]
    assert debian["purl"] == "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1?arch=amd64&distro=bookworm"
    assert (model["type"], model["hashes"][0]["content"]) == ("machine-learning-model", "12" * 32)
    assert bill["metadata"]["component"]["name"] == "sentiment"
    assert bill["dependencies"][0]["dependsOn"] == [c["bom-ref"] for c in bill["components"]]


def test_the_same_parts_give_the_same_bytes_and_others_another_number() -> None:
    one, two = Package("b", "1"), Package("a", "1")
    first = sbom("s", "1", contains((one, two)))
    assert first == sbom("s", "1", contains((two, one)))
    assert first.descriptor.media_type == SBOM_TYPE
    other = sbom("s", "1", contains((one,)))
    assert json.loads(first.body)["serialNumber"] != json.loads(other.body)["serialNumber"]
    assert "timestamp" not in json.loads(first.body)["metadata"]
