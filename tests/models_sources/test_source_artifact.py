"""Models from OCI registries and layouts, and from the model registry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from fetching import FILES, Machine, contents, project

from fakes.registry import Registry, serving
from serinus.errors import ModelError, NotFound, Unavailable
from serinus.models import Found
from serinus.models.digest import model_digest
from serinus.models.fetch import resolve
from serinus.models.forms import Address, Registered
from serinus.models.registry import ModelRegistry
from serinus.models.sources.artifact import RegisteredModel
from serinus.registry.client import Repository
from serinus.registry.reference import Reference


@pytest.fixture
def fake() -> Iterator[Registry]:
    with serving(Registry()) as running:
        yield running


def once(reference: Reference, *, mount_from: Sequence[str] = ()) -> Repository:
    """A repository that is asked once, without waiting for better times."""
    return Repository(reference, mount_from=mount_from, attempts=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder."""
    for path, data in FILES.items():
        file = tmp_path / "model" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return tmp_path / "model"


def test_a_version_of_the_model_registry_by_every_kind_of_id(machine: Machine, folder: Path) -> None:
    registry = ModelRegistry(root=machine.root)
    one = registry.register("mood", [folder], aliases=["production"])
    digest = registry.resolve("mood:1").digest
    assert one.id == "mood:1"
    found = [machine.fetch(f"mood{rest}") for rest in (":1", "@production", "@latest", f"@{digest}")]
    assert len(set(found)) == 1
    assert contents(found[0]) == FILES
    assert (found[0].name, found[0].uri, found[0].manifest) == ("mood", "mood:1", digest)
    assert found[0].digest == model_digest(found[0].files)


def test_an_alias_is_followed_when_it_moves(machine: Machine, folder: Path) -> None:
    registry = ModelRegistry(root=machine.root)
    registry.register("mood", [folder], aliases=["production"])
    machine.fetch("mood@production")
    (folder / "model.onnx").write_bytes(b"new")
    registry.register("mood", [folder / "model.onnx"], aliases=["production"])
    found = machine.fetch("mood@production")
    assert (contents(found), found.uri) == ({"model.onnx": b"new"}, "mood:2")
    assert contents(machine.fetch("mood:1")) == FILES


def test_a_registry_that_is_away_and_a_version_that_was_fetched(machine: Machine, folder: Path) -> None:
    with serving(Registry()) as fake:
        where = f"{fake.host}/acme/models"
        ModelRegistry(where, machine.root).register("mood", [folder], aliases=["production"])
        first = machine.fetch("mood:1", registry=where)
        digest = first.manifest
        assert first.uri == f"oci://{where}/mood:1@{digest}"
        assert contents(first) == FILES
        assert machine.fetch("mood@production", registry=where) == first
        by_reference = machine.fetch(f"oci://{where}/mood@{digest}")
        assert contents(by_reference) == FILES

    def quickly(address: Address, *, root: Path, registry: str) -> RegisteredModel:
        assert isinstance(address, Registered)
        return RegisteredModel(address, registry, root, connect=once)

    with pytest.raises(Unavailable):
        machine.fetch("mood@production", registry=where, opened=quickly)
    assert machine.fetch(f"oci://{where}/mood@{digest}") == by_reference
    assert machine.fetch("mood:1", registry=where, opened=quickly) == first
    (note,) = machine.notes
    assert note.endswith(f"using {first.uri}, which was fetched before")


def test_an_artifact_of_a_registry_by_tag(machine: Machine, folder: Path, fake: Registry) -> None:
    where = f"{fake.host}/acme/models"
    ModelRegistry(where, machine.root).register("mood", [folder], aliases=["production"])
    found = machine.fetch(f"oci://{where}/mood:production")
    assert contents(found) == FILES
    assert found.uri == f"oci://{where}/mood:production@{found.manifest}"
    with pytest.raises(NotFound):
        machine.fetch(f"oci://{where}/mood:none")


def test_an_artifact_of_a_layout(machine: Machine, folder: Path) -> None:
    ModelRegistry("oci:kept/models", machine.root).register("mood", [folder])
    found = machine.fetch("oci:kept/models:mood:1")
    assert (contents(found), found.name) == (FILES, "mood")
    with pytest.raises(NotFound):
        machine.fetch("oci:kept/models:mood:2")
    with pytest.raises(ModelError, match="it has the versions 1"):
        machine.fetch("mood:2", registry="oci:kept/models")


def test_what_there_is_is_told_before_anything_travels(machine: Machine, folder: Path) -> None:
    ModelRegistry(root=machine.root).register("mood", [folder])
    found = resolve(project(machine.root, "mood:1"))
    assert isinstance(found, Found)
    assert found.size == sum(map(len, FILES.values()))
    assert found.digest.startswith("sha256:")
