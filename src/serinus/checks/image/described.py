"""What an image says about itself, held against what is in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from serinus.checks import Finding, NotApplicable, Result, check
from serinus.checks.subjects import Given, Subject
from serinus.contract import Contract
from serinus.image import CONTRACT, LABEL_CONTRACT, LABEL_MODEL, LIBRARY, SBOM_TYPE, SETTINGS
from serinus.runtimes.unpack import inside

_BUILD = "Build the image again with `serinus build`, and change nothing in it afterwards."
_STANDARD = tuple(f"org.opencontainers.image.{name}" for name in ("title", "base.name", "base.digest"))


def _settings(rootfs: Path) -> Mapping[str, Any]:
    """What the server is told in the image."""
    file = rootfs / SETTINGS.lstrip("/")
    if not file.is_file():
        raise NotApplicable("the image was not made by `serinus build`", "Build it with `serinus build`.")
    found: Mapping[str, Any] = json.loads(file.read_bytes())
    return found


@check("image.labels", why="A rollout holds a candidate to the contract that the label of its image tells.")
def labels(image: Subject, rootfs: Path) -> Result:
    """The labels and annotations of the image are there, and its label and its file tell one contract."""
    faults = tuple(_label_faults(image, rootfs, _settings(rootfs)))
    return Result(f"{len(image.labels)} labels", faults)


def _label_faults(image: Subject, rootfs: Path, settings: Mapping[str, Any]) -> Iterator[Finding]:
    annotations = json.loads(image.layout.manifest(image.manifest)).get("annotations") or {}
    for name in _STANDARD:
        if name not in image.labels:
            yield Finding(f"the image has no label {name}", _BUILD, pointer="/config/Labels")
        elif annotations.get(name) != image.labels[name]:
            told = f"the annotation {name} is {annotations.get(name)!r}, and the label {image.labels[name]!r}"
            yield Finding(told, _BUILD, pointer=f"/annotations/{name}")
    title = image.labels.get(_STANDARD[0])
    if title not in (None, settings.get("name")):
        told = f"the label {_STANDARD[0]} is {title!r}, and the service is {settings.get('name')!r}"
        yield Finding(told, _BUILD, pointer="/config/Labels")
    if settings.get("model") and LABEL_MODEL not in image.labels:
        yield Finding(f"the image has a model and no label {LABEL_MODEL}", _BUILD, pointer="/config/Labels")
    label, file = image.labels.get(LABEL_CONTRACT), rootfs / CONTRACT.lstrip("/")
    held = None
    if file.is_file():
        full = Contract.from_json(file.read_bytes())
        held = Contract(full.request, full.response).to_json()
    if label is None and held is not None:
        told = f"the image has the contract {CONTRACT} and no label {LABEL_CONTRACT}"
        yield Finding(told, _BUILD, pointer="/config/Labels")
    elif label != held:
        told = f"the label {LABEL_CONTRACT} and the file {CONTRACT} differ"
        yield Finding(told, _BUILD, pointer=f"/config/Labels/{LABEL_CONTRACT}")


@check("image.sbom", why="When a package has a hole, somebody must be able to say which images hold it.")
def sbom(image: Subject, rootfs: Path) -> Result:
    """A bill of materials (CycloneDX) is attached to the image and names every installed package."""
    _settings(rootfs)
    attached = image.layout.referrers(image.manifest.digest, SBOM_TYPE)
    if not attached:
        told = f"no bill of materials refers to {image.manifest.digest}"
        return Result(findings=(Finding(told, "Build the image again, or pull it with its referrers."),))
    manifest = json.loads(image.layout.manifest(attached[-1]))
    from serinus.registry.content import parse_descriptor

    with image.layout.blob(parse_descriptor(manifest["layers"][0], "the bill of materials")) as blob:
        bill = json.loads(blob.read())
    installed = _installed(rootfs)
    return Result(f"{len(bill.get('components', ()))} components", tuple(bill_faults(bill, installed)))


def _installed(rootfs: Path) -> frozenset[tuple[str, str]]:
    """The packages in the image, Python's and Debian's, as (name, version)."""
    from serinus.image.install import packages
    from serinus.image.scan import parse_status

    found = set(packages(rootfs / LIBRARY.lstrip("/")))
    status = rootfs / "var/lib/dpkg/status"
    texts = [status] if status.is_file() else sorted((rootfs / "var/lib/dpkg/status.d").glob("*"))
    for file in texts:
        found |= {(name, version) for name, version, _ in parse_status(file.read_text("utf-8", "replace"))}
    return frozenset(found)


def bill_faults(bill: Any, installed: frozenset[tuple[str, str]]) -> Iterator[Finding]:
    """What is wrong with a bill of materials. Pure.

    Args:
        bill: the decoded document.
        installed: (name, version) of each package that it must name.
    """
    if not isinstance(bill, dict) or bill.get("bomFormat") != "CycloneDX" or "specVersion" not in bill:
        yield Finding("the bill of materials is no CycloneDX document", _BUILD, pointer="")
        return
    components = [one for one in bill.get("components") or () if isinstance(one, dict)]
    for number, one in enumerate(components):
        if not one.get("type") or not one.get("name"):
            yield Finding("this component has no type or no name", _BUILD, pointer=f"/components/{number}")
    known = [one.get("bom-ref") for one in components]
    if len(set(known)) < len(known):
        yield Finding("two components have the same bom-ref", _BUILD, pointer="/components")
    named = {(one.get("name"), one.get("version")) for one in components}
    for name, version in sorted(installed - named):
        told = f"the bill of materials does not name {name} {version}, which is installed"
        yield Finding(told, _BUILD, pointer="/components")


@check("image.python", why="Packages locked for one Python and run by another fail when they are imported.")
def python(given: Given, image: Subject, rootfs: Path) -> Result:
    """The interpreter in the image is the Python that the dependencies were locked for."""
    argv = (image.config.get("config") or {}).get("Entrypoint") or ()
    if not argv or not Path(argv[0]).name.startswith("python"):
        raise NotApplicable("the entry point of the image is no Python", "Build it with `serinus build`.")
    real = inside(rootfs, argv[0])
    found = Path(real).name.removeprefix("python")
    if not (rootfs / real).is_file():
        told = f"the image has no {argv[0]}, which it would run"
        return Result(findings=(Finding(told, _BUILD, pointer="/config/Entrypoint/0"),))
    wanted = {f"3.{name.split('.cpython-3')[1].split('-')[0]}": name for name in _extensions(rootfs)}
    if given.project is not None and given.image is None:
        wanted[given.project.image.python] = "image.python of the project"
    faults = tuple(
        Finding(f"the image's Python is {found}, and {name} is for {version}", _BUILD)
        for version, name in sorted(wanted.items())
        if version != found
    )
    return Result(f"Python {found}", faults)


def _extensions(rootfs: Path) -> list[str]:
    """The compiled modules of the dependencies that are for one version of CPython."""
    folder = rootfs / LIBRARY.lstrip("/")
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*.cpython-3*-*.so"))
