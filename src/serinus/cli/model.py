"""``serinus model``: the commands of the model registry."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from serinus.cli.output import Output, here, human_size, json_option, project_option, table

if TYPE_CHECKING:
    from serinus.models.compare import Difference
    from serinus.models.facts import Facts, Lineage
    from serinus.models.registry import ModelRegistry
    from serinus.models.version import ModelVersion


@click.group()
def model() -> None:
    """Register models, and get them back.

    Where they are kept says `models.registry` of the project: an OCI layout folder, or any OCI registry.
    """


@model.command()
@click.argument("name")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=Path))
@click.option("--metric", "metrics", multiple=True, metavar="K=V", help="A number measured; repeatable.")
@click.option(
    "--metrics",
    "metrics_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="A JSON object of numbers; those of --metric win.",
)
@click.option("--param", "params", multiple=True, metavar="K=V", help="What it was made with; repeatable.")
@click.option("--note", default="", metavar="TEXT", help="For people.")
@click.option("--alias", "aliases", multiple=True, metavar="ALIAS", help="Points at it; repeatable.")
@click.option(
    "--data",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="What it was trained on: its digest is kept; repeatable.",
)
@project_option
@json_option
@click.pass_obj
def register(
    output: Output,
    name: str,
    paths: tuple[Path, ...],
    metrics: tuple[str, ...],
    metrics_file: Path | None,
    params: tuple[str, ...],
    note: str,
    aliases: tuple[str, ...],
    data: tuple[Path, ...],
    folder: str,
) -> None:
    """Store files as the next version of a model.

    One folder alone is the model, with its structure; of several paths each keeps its name. The version keeps
    the git commit, the digests of its data, the pipeline's run, who and when. It never changes.
    """
    from serinus.models.facts import parse_metric, parse_param

    measured = _metrics(metrics_file) | dict(map(parse_metric, metrics))
    made = _registry(output, folder).register(
        name,
        paths,
        metrics=measured,
        params=dict(map(parse_param, params)),
        note=note,
        aliases=aliases,
        data=data,
    )
    output.result(made.to_json(), [f"{made.id}  {made.digest}", *_aliased(made)])


@model.command(name="list")
@click.argument("name", required=False)
@project_option
@json_option
@click.pass_obj
def list_(output: Output, name: str | None, folder: str) -> None:
    """List the models, or the versions of one.

    Without NAME the newest version of each model; a registry that does not list its repositories wants NAME.
    """
    registry = _registry(output, folder)
    found = registry.versions(name) if name else tuple(registry.show(n) for n in registry.names())
    rows = [
        (v.id, v.facts.created[:10], human_size(v.size), ", ".join(v.aliases), _numbers(v.facts.metrics))
        for v in found
    ]
    output.result([v.to_json() for v in found], table(rows) or ["no models are registered here"])


@model.command()
@click.argument("id_", metavar="ID")
@project_option
@json_option
@click.pass_obj
def show(output: Output, id_: str, folder: str) -> None:
    """Show a version: its files and all that is known about it.

    ID is NAME (the newest), NAME:VERSION, NAME@ALIAS or NAME@sha256:...
    """
    found = _registry(output, folder).show(id_)
    output.result(found.to_json(), _shown(found))


@model.command()
@click.argument("id_", metavar="ID")
@click.argument("to", required=False, metavar="[DIR]", type=click.Path(path_type=Path, file_okay=False))
@project_option
@json_option
@click.pass_obj
def pull(output: Output, id_: str, to: Path | None, folder: str) -> None:
    """Bring the files of a version into a folder.

    DIR is NAME by default; it appears whole, or not at all, and every byte is verified.
    ID is NAME (the newest), NAME:VERSION, NAME@ALIAS or NAME@sha256:...
    """
    from serinus.models.ids import parse

    target = to or Path(parse(id_).name)
    found = _registry(output, folder).pull(id_, target)
    document = {**found.to_json(), "folder": str(target)}
    output.result(document, [f"{found.id}  {found.digest}", f"in {here(target.absolute())}"])


@model.command()
@click.argument("id_", metavar="ID")
@click.argument("alias_", metavar="ALIAS")
@project_option
@json_option
@click.pass_obj
def alias(output: Output, id_: str, alias_: str, folder: str) -> None:
    """Let an alias (production, staging) point at a version.

    ID is NAME (the newest), NAME:VERSION, NAME@ALIAS or NAME@sha256:...
    """
    found = _registry(output, folder).alias(id_, alias_)
    output.result(found.to_json(), [f"{found.name}@{alias_} -> {found.id}  {found.digest}"])


@model.command()
@click.argument("old", metavar="ID")
@click.argument("new", metavar="ID")
@project_option
@json_option
@click.pass_obj
def diff(output: Output, old: str, new: str, folder: str) -> None:
    """Show what differs between two versions: files, metrics, parameters, interface.

    ID is NAME (the newest), NAME:VERSION, NAME@ALIAS or NAME@sha256:...
    """
    found = _registry(output, folder).diff(old, new)
    output.result(found.to_json(), _differences(found) or ["no difference"])


@model.command()
@click.argument("id_", metavar="ID")
@project_option
@json_option
@click.pass_obj
def lineage(output: Output, id_: str, folder: str) -> None:
    """Show where a version comes from: commit, data, run, parameters, who and when.

    ID is NAME (the newest), NAME:VERSION, NAME@ALIAS or NAME@sha256:...
    """
    found = _registry(output, folder).resolve(id_)
    facts = found.facts
    document = {
        "id": found.id,
        "digest": found.digest,
        "created": facts.created,
        "params": dict(facts.params),
        **facts.lineage.to_json(),
    }
    output.result(document, table([("model", found.id), *_origin(facts)]))


@model.command()
@click.argument("source", required=False)
@project_option
@json_option
@click.pass_obj
def fetch(output: Output, source: str | None, folder: str) -> None:
    """Bring the project's model to this machine.

    From where `model.source` says: the model registry, a bucket, another registry of models. It is verified,
    and kept in the cache, from which builds take it. With SOURCE that one is fetched instead.
    """
    from dataclasses import replace

    from serinus.checks.model.digest import digest_of
    from serinus.errors import ModelError
    from serinus.image.sources import fetched_digest, find_model, with_model
    from serinus.project import Model, Project

    project = Project.load(folder)
    if source is not None:
        project = replace(project, model=Model(source=source))
    project = with_model(project, output.observer)
    place = find_model(project)
    if place is None:
        raise ModelError("the project names no model", "Set model.source or model.path, or name a SOURCE.")
    document = {
        "path": str(place.source),
        "uri": place.uri or None,
        "digest": fetched_digest(project) or digest_of(place),
        "manifest": place.manifest or None,
    }
    shown = [f"{name:<9} {value}" for name, value in document.items() if value]
    output.result(document, shown)


def _registry(output: Output, folder: str) -> ModelRegistry:
    from serinus.models.registry import ModelRegistry
    from serinus.project import Project

    return ModelRegistry.of(Project.load(folder), observer=output.observer)


def _metrics(file: Path | None) -> dict[str, float]:
    if file is None:
        return {}
    import json

    from serinus.errors import ModelError
    from serinus.models.facts import check_metrics

    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{file} cannot be read as JSON: {error}", "Name a JSON object of numbers."
        ) from None
    return check_metrics(found, str(file))


def _aliased(version: ModelVersion) -> list[str]:
    return [f"{version.name}@{alias} -> {version.id}" for alias in version.aliases]


def _numbers(metrics: Mapping[str, float]) -> str:
    return " ".join(f"{name}={value:g}" for name, value in metrics.items())


def _shown(version: ModelVersion) -> list[str]:
    facts = version.facts
    rows = [
        ("model", version.id),
        ("digest", version.digest),
        ("content", facts.content),
        ("aliases", ", ".join(version.aliases)),
        ("note", facts.note),
        ("metrics", _numbers(facts.metrics)),
        *_origin(facts),
    ]
    lines = table([row for row in rows if row[1]])
    files = [(f.path or "...", human_size(f.size), f.kind, f.digest[:19]) for f in version.files]
    lines += ["files", *(f"  {line}" for line in table(files))]
    for file, about in facts.interface.items():
        sides = [(f"{side[:-1]} {n}", t) for side in ("inputs", "outputs") for n, t in about[side].items()]
        lines += [f"interface of {file}", *(f"  {line}" for line in table(sides))]
    return lines


def _origin(facts: Facts) -> list[tuple[str, str]]:
    told: Lineage = facts.lineage
    state = {True: "", False: ", with changes that were not committed", None: ""}[told.clean]
    rows = [
        ("commit", told.commit + state if told.commit else ""),
        ("repository", told.repository),
        *((f"data {path}", digest) for path, digest in told.data.items()),
        ("pipeline", told.pipeline),
        ("run", told.run),
        ("params", " ".join(f"{name}={_plain(value)}" for name, value in facts.params.items())),
        ("by", told.who),
        ("at", facts.created),
    ]
    return [row for row in rows if row[1]]


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _differences(found: Difference) -> list[str]:
    kinds = {
        "file": found.files,
        "metric": found.metrics,
        "param": found.params,
        "interface": found.interface,
    }
    return [
        f"{kind} {name}: {_told(old)} -> {_told(new)}"
        for kind, pairs in kinds.items()
        for name, (old, new) in pairs.items()
    ]


def _told(value: Any) -> str:
    if value is None:
        return "none"
    text = _plain(value)
    return text[:19] if text.startswith("sha256:") else text
