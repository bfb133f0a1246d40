"""What may start in an environment, with real images in real layouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fakes.registry import Registry, serving
from serinus.checks import Status, Verdict
from serinus.checks.report import Report
from serinus.checks.statement import attach
from serinus.contract import Contract
from serinus.environment.admission import PIN, Admission
from serinus.errors import CheckError, ContractError, NotFound, RegistryError
from serinus.image import LABEL_CONTRACT
from serinus.image.build import layout_of
from serinus.project import Deploy, Project, Service
from serinus.registry import CONFIG, LAYER, MANIFEST, Descriptor, Platform
from serinus.registry.copy import copy
from serinus.registry.layout import Layout
from serinus.registry.places import connect, opened, place

CONTRACT = Contract({"type": "string"}, {"type": "boolean"})
SERINUS = ["/usr/bin/python3", "-m", "serinus.serving"]
HERE = Platform("linux", "amd64")


def put(layout: Layout, data: bytes, kind: str) -> Descriptor:
    with layout.new_blob() as blob:
        blob.write(data)
    return Descriptor(kind, blob.digest, len(data))


def image(
    layout: Layout, tag: str, *, config: dict[str, Any] | None = None, architecture: str = "amd64"
) -> Descriptor:
    inner = {"Entrypoint": SERINUS, "Labels": {LABEL_CONTRACT: CONTRACT.to_json()}} | (config or {})
    layer = put(layout, tag.encode(), LAYER)
    document = {"os": "linux", "architecture": architecture, "config": inner}
    document |= {"rootfs": {"type": "layers", "diff_ids": [layer.digest]}}
    described = put(layout, json.dumps(document).encode(), CONFIG)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": described.to_json(),
        "layers": [layer.to_json()],
    }
    body = json.dumps(manifest).encode()
    found = put(layout, body, MANIFEST)
    layout.write_manifest(found, body, [tag])
    return found


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(root=tmp_path, service=Service(name="mood", entrypoint="a:b"))


@pytest.fixture
def admission(project: Project) -> Admission:
    return Admission(project, platform=HERE)


def test_a_tag_of_the_layout_becomes_a_version(project: Project, admission: Admission) -> None:
    layout = layout_of(project)
    found = image(layout, "mood:latest")
    version = admission("mood:latest")
    assert (version.digest, version.name, version.records) == (found.digest, "mood:latest", True)
    assert version.contract == CONTRACT.to_json()
    assert Layout(version.layout).resolve(version.digest).digest == found.digest
    assert admission(found.digest).name == "mood:latest"


def test_an_image_of_somebody_else_has_no_contract_and_notes_no_answers(
    project: Project, admission: Admission
) -> None:
    image(layout_of(project), "other:1", config={"Entrypoint": ["/app"], "Labels": None})
    version = admission("other:1")
    assert (version.contract, version.records) == (None, False)


def test_what_is_not_there_is_not_found(admission: Admission, tmp_path: Path) -> None:
    for name in ("mood:latest", "sha256:" + "a" * 64, f"oci:{tmp_path}/none:1"):
        with pytest.raises(NotFound):
            admission(name)


def test_another_platform_is_refused(project: Project, admission: Admission) -> None:
    image(layout_of(project), "mood:arm", architecture="arm64")
    with pytest.raises(
        NotFound, match="mood:arm is for linux/arm64, and this machine is linux/amd64"
    ) as caught:
        admission("mood:arm")
    assert "--platform linux/amd64" in caught.value.todo


def test_a_report_must_show_what_is_required(project: Project) -> None:
    layout = layout_of(project)
    found = image(layout, "mood:latest")
    strict = Admission(
        Project(root=project.root, service=project.service, deploy=Deploy(require=("contract",))),
        platform=HERE,
    )
    with pytest.raises(CheckError):
        strict("mood:latest")
    for status in (Status.FAILED, Status.PASSED):
        verdicts = (Verdict("contract.examples", status, "said"),)
        attach(layout, Report("mood", found.digest, verdicts, 1.0))
        if status is Status.FAILED:
            with pytest.raises(CheckError, match="contract.examples: failed"):
                strict("mood:latest")
    assert strict("mood:latest").digest == found.digest


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ({"Labels": {LABEL_CONTRACT: "{"}}, ContractError),
        ({"Labels": {LABEL_CONTRACT: 1}}, (ContractError, RegistryError)),
        ({"Labels": ["x"]}, RegistryError),
        ({"Entrypoint": [], "Cmd": None}, RegistryError),
        ({"Env": 1}, RegistryError),
    ],
)
def test_what_is_malformed_is_an_error_and_no_fault(
    project: Project, admission: Admission, config: dict[str, Any], error: type[Exception]
) -> None:
    image(layout_of(project), "mood:bad", config=config)
    with pytest.raises(error):
        admission("mood:bad")


def test_an_image_of_another_layout_is_brought_here(project: Project, admission: Admission) -> None:
    other = Layout(project.root / "other")
    found = image(other, "1")
    assert admission("oci:other:1").digest == found.digest
    assert admission(f"oci:{project.root}/other:1").digest == found.digest
    assert layout_of(project).resolve(found.digest).digest == found.digest


def test_a_reference_is_asked_anew_each_time(project: Project, admission: Admission, tmp_path: Path) -> None:
    source = Layout(tmp_path / "source")
    with serving(Registry()) as registry:
        reference = f"{registry.host}/acme/mood:latest"
        for number in (1, 2):
            found = image(source, f"{number}")
            with opened(place(reference), connect) as target:
                copy(source, target, f"{number}", ["latest"])
            assert admission(reference).digest == found.digest


def test_a_build_does_not_take_away_what_runs(project: Project, admission: Admission) -> None:
    layout = Layout(layout_of(project).root, clock=lambda: 1e12)
    old, new = image(layout, "mood:latest"), image(layout, "other")
    admission.pin(old.digest)
    layout.write_manifest(new, layout.manifest(new), ["mood:latest"])
    layout.collect(age=0)
    assert layout.resolve(old.digest).digest == old.digest
    assert admission(old.digest).name == old.digest, "a pin is no name"
    admission.keep([new.digest, "sha256:" + "0" * 64])
    assert [tag for tag in layout.tags() if tag.startswith(PIN)] == [f"{PIN}{new.digest}"]
    layout.collect(age=0)
    with pytest.raises(NotFound):
        layout.resolve(old.digest)
    with pytest.raises(NotFound):
        admission.pin(old.digest)
