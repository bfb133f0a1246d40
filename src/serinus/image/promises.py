"""What a project, a contract file or an image promises: finding the contract of whatever a person names."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path

from serinus.contract import Contract, Example
from serinus.errors import ContractError, NotFound, ProjectError
from serinus.events import Observer, ignore
from serinus.files import cache_folder, write_atomically
from serinus.image import LABEL_CONTRACT, contracts, install, lock
from serinus.image.build import layout_of
from serinus.image.sources import find_model, is_elsewhere, with_model
from serinus.project import Project
from serinus.registry import INDEXES, Descriptor, Source, this_platform
from serinus.registry.content import parse_descriptor
from serinus.registry.layout import Layout
from serinus.registry.places import Connect, connect, opened, place


def packages(project: Project, observer: Observer = ignore, *, locked: bool = False) -> Path:
    """The project's locked packages, installed for this machine and the Python that runs us.

    Args:
        project: the project.
        observer: told of each step.
        locked: a missing or outdated lock is an error; otherwise it is made anew.

    Raises:
        LockError: they cannot be locked or installed.
    """
    pins, inputs = lock.ensure(project, locked=locked, observer=observer)
    here, python = this_platform(), contracts.own_python().version
    return install.tree(pins, here, python, folder=project.root, index=inputs.index, observer=observer)


def of_project(project: Project, observer: Observer = ignore) -> Contract | None:
    """The contract of a project, with its examples; None for an app that says nothing about itself.

    Raises:
        ContractError, LockError, ProjectError: as the parts of the project say.
    """
    # A module that is imported needs no model for that: one from elsewhere is not fetched for nothing.
    needless = project.service.entrypoint is not None and is_elsewhere(project)
    model = None if needless else find_model(with_model(project, observer))

    def importing() -> contracts.Importing:
        own = contracts.own_python()
        return contracts.Importing(lambda _: packages(project, observer), cache_folder(), lambda _: own)

    return contracts.contract_of(project, model.source if model else None, importing, observer).contract


def of_image(source: Source, image: Descriptor, name: str) -> Contract:
    """The contract that an image carries as a label; the examples are not among it.

    Raises:
        ContractError: it carries none.
    """
    document = json.loads(source.manifest(image))
    if image.media_type in INDEXES or "manifests" in document:
        return of_image(source, parse_descriptor(document["manifests"][0], name), name)
    with source.blob(parse_descriptor(document["config"], name)) as blob:
        labels = json.loads(blob.read()).get("config", {}).get("Labels") or {}
    if LABEL_CONTRACT not in labels:
        raise ContractError(
            f"the image {name} has no label {LABEL_CONTRACT}",
            "Name an image that Serinus built from a service with a contract.",
        )
    return Contract.from_json(labels[LABEL_CONTRACT])


def contract_of(
    what: str, *, here: str | Path = ".", observer: Observer = ignore, connect: Connect = connect
) -> Contract:
    """The contract of whatever a person names.

    Args:
        what: a project (its folder or file), a contract file, or an image (a tag of a project's layout,
            ``oci:PATH[:TAG]``, or a reference in a registry: its manifest and configuration are read).
        here: the project whose layout tags are looked for in.
        observer: told of each step.
        connect: opens a registry.

    Raises:
        ContractError: it has none, or there is nothing by that name.
    """
    path = Path(what)
    if path.is_dir() or path.suffix == ".toml":
        contract = of_project(Project.load(path), observer)
        if contract is None:
            raise ContractError(
                f"the project {path} has no contract: its app says nothing about itself",
                "Draw one from examples: `serinus contract write --from-examples`.",
            )
        return contract
    if path.is_file():
        from serinus.contract.files import read

        return read(path)
    if path.suffix == ".json":
        raise ContractError(f"there is no file {path}", "Name a project, a contract file or an image.")
    return _of_named_image(what, here, connect)


def _of_named_image(name: str, here: str | Path, connect: Connect) -> Contract:
    try:
        layout = layout_of(Project.load(here))
    except ProjectError:
        layout = Layout(Path(".serinus/layout"))
    try:
        if not name.startswith("oci:"):
            return of_image(layout, layout.resolve(name), name)
    except NotFound:
        if "/" not in name:
            raise
    where = place(name)
    with opened(where, connect) as source:
        return of_image(source, source.resolve(where.name), name)


REQUEST, RESPONSE = "request.json", "response.json"


def write(folder: Path, *, from_examples: bool = False, observer: Observer = ignore) -> tuple[Path, ...]:
    """Write the contract of a project to schema files, and name them in the project file if it names none.

    Args:
        folder: the project.
        from_examples: draw the schemas from the project's examples instead of inferring them.
        observer: told of each step.

    Returns:
        The files that were written.

    Raises:
        ContractError: there is no contract to be had, or no examples to draw it from.
    """
    project = Project.load(folder)
    contract = _drawn(project) if from_examples else contract_of(str(project.root), observer=observer)
    request = project.root / (project.contract.request or REQUEST)
    response = project.root / (project.contract.response or RESPONSE)
    from serinus.contract.files import write_files

    write_files(contract, request, response)
    if project.contract.request:
        return request, response
    file = _name(project.root, {"request": REQUEST, "response": RESPONSE})
    return request, response, file


def _drawn(project: Project) -> Contract:
    from serinus.contract.examples import from_examples
    from serinus.contract.files import read_examples

    file = contracts.examples_file(project)
    examples: Sequence[Example] = read_examples(file) if file else ()
    if not examples:
        raise ContractError(
            f"there are no examples in {file or project.root / contracts.EXAMPLES}",
            'Write one a line: {"request": ..., "response": ...}',
        )
    return from_examples(examples)


def _name(root: Path, keys: dict[str, str]) -> Path:
    """Add keys to the table ``[contract]`` of the project file, which has none of them."""
    from serinus.project.file import find as find_file

    file, prefix = find_file(root)
    text = file.read_text(encoding="utf-8")
    header = "[" + ".".join((*prefix, "contract")) + "]"
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
    tables = tomllib.loads(text)
    for name in prefix:
        tables = tables[name]
    if "contract" not in tables:
        text = f"{text.rstrip()}\n\n{header}\n{lines}"
    elif header in text.splitlines():
        text = text.replace(f"{header}\n", f"{header}\n{lines}", 1)
    else:
        raise ProjectError(
            f"{file} has its contract in another form than a table {header}", f"Add to it:\n{lines}"
        )
    write_atomically(file, text.encode())
    return file
