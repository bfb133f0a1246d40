"""The workflow's file in its repository: read, written again, compared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from serinus.errors import PipelineError
from serinus.files import write_atomically
from serinus.models import forms
from serinus.models.address import parse as parse_address
from serinus.pipeline import builtin
from serinus.pipeline.github import pins as pinned
from serinus.pipeline.github.places import difference, pins_for, renewed
from serinus.pipeline.github.plan import Plan, deliver, filename
from serinus.pipeline.github.workflow import workflow
from serinus.pipeline.known import pipeline_of
from serinus.project import Project, ignore
from serinus.registry.places import OCI

FOLDER = Path(".github") / "workflows"


@dataclass(frozen=True, slots=True)
class Made:
    """A workflow as it is to be, beside the file as it is."""

    path: Path
    name: str
    """Of the file, from the repository's root on."""
    text: str
    old: str | None
    """What the file holds; None where there is none."""

    @property
    def changed(self) -> bool:
        """Whether writing it changes anything."""
        return self.old is None or self.old.replace("\r\n", "\n") != self.text

    @property
    def difference(self) -> str:
        """What writing it changes, as a unified diff."""
        return difference(self.old or "", self.text, self.name)


def repository_of(folder: Path) -> Path:
    """The root of the git repository that a folder lies in; the folder itself where there is none."""
    return next((above for above in (folder, *folder.parents) if (above / ".git").exists()), folder)


def plan_for(project: Project, name: str = builtin.DELIVER) -> Plan:
    """The plan of a pipeline, before the file is looked at.

    Args:
        project: the project.
        name: of a pipeline that the project declares, or of a built-in one.

    Raises:
        PipelineError: there is no such pipeline, or one is declared wrongly.
    """
    root = project.root.resolve()
    inside = root.relative_to(repository_of(root))
    folder = "" if inside == Path() else inside.as_posix()
    standard = deliver(project, folder)
    if name == builtin.DELIVER and name not in project.pipeline:
        return standard
    pipeline = pipeline_of(project, name)
    if name != builtin.DELIVER:
        return Plan(pipeline, project, folder)
    given = all(parameter.default is not None for parameter in pipeline.parameters)
    return Plan(pipeline, project, folder, checks=standard.checks, automatic=given)


def make(plan: Plan, *, force: bool = False) -> Made:
    """The workflow's file as it is to be.

    Args:
        plan: what it is made from; its pins give way to those of the project and of the file.
        force: over what was changed outside of marked places.

    Raises:
        PipelineError: the file was changed outside of its marked places, or GitHub cannot do something.
    """
    path = repository_of(plan.project.root.resolve()) / FOLDER / filename(plan)
    name = (FOLDER / filename(plan)).as_posix()
    old = _read(path, name)
    pins = pins_for(old, _own_pins(plan.project), name)
    return Made(path, name, renewed(old, workflow(replace(plan, pins=pins)), name, force=force), old)


def _read(path: Path, name: str) -> str | None:
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise PipelineError(f"{name} is not UTF-8 at byte {error.start}", "Save it as UTF-8.") from None


def _own_pins(project: Project) -> dict[str, pinned.Pin]:
    file = project.ci.pins
    if file is None:
        return {}
    try:
        return pinned.read((project.root / file).read_text(encoding="utf-8"), file)
    except OSError as error:
        raise PipelineError(
            f"the file of pins {file}, which ci.pins names, cannot be read: {error.strerror}",
            "Correct its name in the project file.",
        ) from None


def not_there(project: Project) -> str:
    """What to tell a person whose model is on this machine alone, since no workflow can then find it."""
    source = project.model.source or project.model.path
    if source is None:
        return ""
    if not builtin.comes_from_elsewhere(project):
        if ignore.ignores(source) is None:
            return ""
        return (
            f"{ignore.FILE} keeps {source} out of the repository, so the workflow will not find it: register "
            f"it (`serinus model register`), and name it so in model.source"
        )
    place = project.models.registry
    if isinstance(parse_address(source), forms.Registered) and place.startswith(OCI):
        return (
            f"models.registry is {place}, a folder of this machine, so the workflow will not find {source}: "
            f"keep models in a registry, such as ghcr.io/acme/models"
        )
    return ""


def write(made: Made, project: Project) -> tuple[Path, ...]:
    """Write what has changed, and keep models out of the repository.

    Args:
        made: the workflow.
        project: gets the ``.gitignore``.

    Returns:
        The files that were written.

    Raises:
        PipelineError: a file cannot be written.
    """
    written = []
    try:
        if made.changed:
            write_atomically(made.path, made.text.encode())
            written.append(made.path)
        if (ignored := ignore.ensure(project.root)) is not None:
            written.append(ignored)
    except OSError as error:
        raise PipelineError(
            f"{error.filename or made.path} cannot be written: {error.strerror or error}",
            "Check the rights of its folder.",
        ) from None
    return tuple(written)
