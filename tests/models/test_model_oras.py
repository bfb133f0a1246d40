"""Other programs pull what is registered here: oras from PyPI, from a real registry with a password."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from parts import RealRegistry
from parts import registry as registry
from serinus.models.registry import ModelRegistry
from serinus.registry.client import Repository

pytestmark = pytest.mark.registry


@pytest.fixture
def models(registry: RealRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelRegistry:
    for name, value in registry.environment().items():
        monkeypatch.setenv(name, value)
    return ModelRegistry(f"{registry.host}/oras/models", tmp_path, shelf={"settle": 0.5})


def oras_client(registry: RealRegistry) -> Any:
    import oras.client

    client = oras.client.OrasClient(hostname=registry.host, insecure=True, auth_backend="basic")
    client.auth.set_basic_auth(registry.username, registry.password)
    return client


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "onnx").mkdir(parents=True)
    (folder / "onnx/model.bin").write_bytes(bytes(range(256)) * 9000)
    (folder / "tokenizer.json").write_text('{"version": "1.0"}')
    return folder


def test_oras_pulls_a_registered_model(
    models: ModelRegistry, registry: RealRegistry, files: Path, tmp_path: Path
) -> None:
    models.register("sentiment", [files], aliases=["production"])
    client = oras_client(registry)
    for tag in ("1", "production"):
        out = tmp_path / tag
        client.pull(target=f"{registry.host}/oras/models/sentiment:{tag}", outdir=str(out))
        assert {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()} == {
            p.relative_to(files).as_posix(): p.read_bytes() for p in files.rglob("*") if p.is_file()
        }


def test_what_oras_pushes_is_pulled(
    models: ModelRegistry,
    registry: RealRegistry,
    files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(files)
    client = oras_client(registry)
    client.push(
        target=f"{registry.host}/oras/models/pushed:1",
        files=["onnx/model.bin", "tokenizer.json"],
        disable_path_validation=True,
    )
    found = models.pull("pushed:1", tmp_path / "pulled")
    assert {f.path for f in found.files} == {"model.bin", "tokenizer.json"}  # oras keeps the last name
    assert (tmp_path / "pulled/model.bin").read_bytes() == (files / "onnx/model.bin").read_bytes()


def test_the_whole_life_of_a_model_in_a_real_registry(
    models: ModelRegistry, files: Path, tmp_path: Path
) -> None:
    first = models.register("life", [files], metrics={"accuracy": 0.9})
    second = models.register("life", [files / "tokenizer.json"], metrics={"accuracy": 0.8}, aliases=["new"])
    assert [v.aliases for v in models.versions("life")] == [(), ("new",)]
    models.alias("life:1", "production")
    assert models.resolve("life@production").digest == first.digest
    assert "life" in models.names()
    assert models.diff("life:1", "life:2").metrics == {"accuracy": (0.9, 0.8)}
    models.pull("life@production", tmp_path / "pulled")
    with Repository(f"{models.where}/life") as repository:
        document = json.loads(repository.manifest(repository.resolve("2")))
        assert document["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
        # Only the newest version's claim is there: docker-registry deletes.
        assert [t for t in repository.tags() if t.startswith("_")] == [
            t for t in repository.tags() if t.startswith("_2-")
        ]
        repository.delete(second.digest)
    assert models.register("life", [files]).version == 3
