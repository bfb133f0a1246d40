"""The pipelines that are there without being declared: ``deliver``. Pure.

::

    retrieve -> check -> build -> verify -> publish -> deploy

``check`` looks at what needs no image, and takes seconds; ``build`` builds; ``verify`` runs every check, on
the image that was built and on the source it was built from, and attaches the report that ``publish`` and
``deploy`` may require. Publishing and deploying are left out where the project knows no place for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from serinus.models import forms
from serinus.models.address import parse as parse_address
from serinus.pipeline import Parameter, Pipeline, Step
from serinus.pipeline.access import model, registry
from serinus.project import Project
from serinus.project.file import MODEL_SOURCE
from serinus.registry.places import OCI
from serinus.registry.reference import parse as parse_reference
from serinus.rollout.policy import Strategy

DELIVER = "deliver"
STATIC = ("code", "dependencies", "model")
"""The layers of checks that look at the source tree alone."""
STRATEGIES = tuple(kind.value for kind in Strategy if kind is not Strategy.UNDO)
_MINUTE = 60.0


def deliver(
    project: Project, *, environment: bool = False, given: Mapping[str, str] | None = None
) -> Pipeline:
    """From a project to a version in production, step by step.

    Args:
        project: what is delivered.
        environment: whether an environment is known; ``deploy`` is asked for by default then.
        given: environment variables. Secrets that are not among them are not asked for: credentials may as
            well lie in the files of ``docker login`` and of clouds. None asks for all, as a workflow does.

    Raises:
        ModelError: the project names its model wrongly.
    """
    steps = [*checks(project), _build(project), _verify(project), _publish(project), _deploy(project)]
    if given is not None:
        steps = [replace(step, secrets=tuple(s for s in step.secrets if given.get(s))) for step in steps]
    names = tuple(step.name for step in steps)
    # Each needs all before it, and not the last alone: that one may be left out, and is over at once.
    ordered = tuple(replace(step, needs=names[:number]) for number, step in enumerate(steps))
    return Pipeline(
        DELIVER,
        ordered,
        _parameters(project, environment),
        "from a model and a predict function to a version in production",
    )


def checks(project: Project) -> tuple[Step, ...]:
    """The steps before anything is built: the model is brought, and the source is checked.

    A model that is a file of the project is there already, unless a parameter names another.
    """
    only = tuple(word for layer in STATIC for word in ("--only", layer))
    check = Step("check", ("serinus", "check", *only), timeout=15 * _MINUTE, cache=False)
    when = "" if comes_from_elsewhere(project) else "model"
    fetch = Step("retrieve", ("serinus", "model", "fetch"), retries=2, when=when, cache=False)
    steps = (replace(fetch, timeout=60 * _MINUTE), check) if _has_model(project) else (check,)
    return tuple(_with_model(step, project) for step in steps)


def _has_model(project: Project) -> bool:
    return project.model.source is not None or project.model.path is not None


def comes_from_elsewhere(project: Project) -> bool:
    """Whether the model has to be fetched: it is named, and not by a path."""
    source = project.model.source
    return source is not None and not isinstance(parse_address(source), forms.Local)


def _with_model(step: Step, project: Project) -> Step:
    """A step that looks at the model: which one, a parameter may say; and what is needed to fetch it."""
    if not _has_model(project):
        return step
    return replace(
        step, env={MODEL_SOURCE: "{model}"}, secrets=(*step.secrets, *model(project, oidc=False).secrets)
    )


def _build(project: Project) -> Step:
    command = ("serinus", "build", "--tag", "{tag}")
    return _with_model(Step("build", command, timeout=60 * _MINUTE, cache=False), project)


def _verify(project: Project) -> Step:
    command = ("serinus", "check", "--image", _built(project), "--source")
    return _with_model(Step("verify", command, timeout=60 * _MINUTE, cache=False), project)


def _built(project: Project) -> str:
    return f"{project.service.name}:{{tag}}"


def _publish(project: Project) -> Step:
    command = ("serinus", "publish", "--image", _built(project), "{repository}:{tag}")
    return Step(
        "publish",
        command,
        secrets=_publishing(project),
        timeout=60 * _MINUTE,
        when="publish",
        cache=False,
    )


def _publishing(project: Project) -> tuple[str, ...]:
    """The variables by which ``serinus publish`` finds its credentials."""
    repository = project.image.repository
    if repository is None or repository.startswith(OCI):
        return ()
    return registry(parse_reference(repository).registry, oidc=False, write=True).secrets


def _deploy(project: Project) -> Step:
    """What was published is deployed by its name in the registry; else, what was built, by its own."""
    published = project.image.repository is not None
    image = "{repository}:{tag}" if published else _built(project)
    return Step(
        "deploy",
        ("serinus", "deploy", image, "--strategy", "{strategy}", "--watch"),
        secrets=("SERINUS_CONTROL_TOKEN",),
        when="deploy and publish" if published else "deploy",
        cache=False,
    )


def _parameters(project: Project, environment: bool) -> tuple[Parameter, ...]:
    repository = project.image.repository
    told = (Parameter("model", "", about=_MODEL),) if _has_model(project) else ()
    return (
        *told,
        Parameter("tag", "latest", about="tag of the image, here and in its repository"),
        Parameter("publish", repository is not None, "bool", about="push the image"),
        Parameter("repository", repository or "", about="where the image is pushed to"),
        Parameter("deploy", environment, "bool", about="roll the image out in the environment"),
        Parameter("strategy", project.rollout.strategy, choices=STRATEGIES, about="how it is rolled out"),
    )


_MODEL = "where the model comes from; that of the project where this is empty"
