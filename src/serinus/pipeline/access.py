"""What a step needs to get at registries, models and environments: secrets, variables, rights. Pure.

A place is reached in one of two ways: with secrets that are kept at GitHub, by the names below, or without
any (OpenID Connect): the cloud is told by GitHub which repository and branch asks, and gives credentials for
an hour (GitHub, "About security hardening with OpenID Connect").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from serinus.models import forms
from serinus.models.address import parse as parse_address
from serinus.pipeline import Step
from serinus.project import Project
from serinus.registry.credentials import AZURE, DOCKER_HUB, GHCR, GITHUB, PREFIX, variable_part
from serinus.registry.places import OCI
from serinus.registry.reference import HUB, Reference
from serinus.registry.reference import parse as parse_reference

_ECR = re.compile(r"[0-9]{12}\.dkr\.ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?")
_ACR = re.compile(r"(?P<name>[a-zA-Z0-9]+)\.azurecr\.io")
_GAR = re.compile(r"(?:[a-z0-9-]+-docker\.pkg\.dev|(?:[a-z]+\.)?gcr\.io)")


@dataclass(frozen=True, slots=True)
class Login:
    """A cloud that is logged in to before any step that needs it."""

    cloud: str
    """``azure``, ``aws`` or ``google``."""
    registry: str = ""
    """The registry that is to know us afterwards; empty where the cloud itself is meant."""
    region: str = ""
    """Of the registry, for AWS; empty where a variable of the repository says it."""


@dataclass(frozen=True, slots=True)
class Access:
    """What is needed to reach one place, or several together."""

    why: str = ""
    """What it is for."""
    secrets: tuple[str, ...] = ()
    """Secrets by name, that a step gets as environment variables of the same names."""
    kept: tuple[str, ...] = ()
    """Secrets that a login takes, and no step gets."""
    variables: tuple[str, ...] = ()
    """Variables of the repository, that are no secrets and a step gets."""
    settings: tuple[str, ...] = ()
    """Variables of the repository that a login takes."""
    packages: str = ""
    """``read`` or ``write``, where GitHub's own token must reach packages."""
    logins: tuple[Login, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Environment variables that a login fills: name -> expression."""
    extra: str = ""
    """Extra of Serinus with the library that is needed."""


def registry(host: str, *, oidc: bool, write: bool = False) -> Access:
    """What is needed to reach a registry.

    Args:
        host: as it stands in references.
        oidc: whether clouds are logged in to without secrets.
        write: whether something is pushed.
    """
    why = f"{'push to' if write else 'pull from'} {host}"
    if host == HUB:
        return Access(why, DOCKER_HUB)
    if host == GHCR:
        return Access(why, (GITHUB,), packages="write" if write else "read")
    if _ACR.fullmatch(host):
        return replace(_azure(host), why=why) if oidc else Access(why, (AZURE,))
    if match := _ECR.fullmatch(host):
        return replace(_aws(oidc, host, match["region"]), why=why)
    own = f"{PREFIX}{variable_part(host)}_"
    if _GAR.fullmatch(host):
        env = {
            f"{own}USERNAME": "oauth2accesstoken",
            f"{own}PASSWORD": "${{ steps.google.outputs.access_token }}",
        }
        return replace(_google(oidc, host), why=why, env=env)
    return Access(why, (f"{own}USERNAME", f"{own}PASSWORD"))


def _azure(host: str = "") -> Access:
    settings = ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_SUBSCRIPTION_ID")
    return Access(settings=settings, logins=(Login("azure", host),))


def _aws(oidc: bool, host: str = "", region: str = "") -> Access:
    where = () if region else ("AWS_REGION",)
    login = (Login("aws", host, region),)
    if oidc:
        return Access(settings=("AWS_ROLE_ARN", *where), logins=login)
    return Access(kept=("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), settings=where, logins=login)


def _google(oidc: bool, host: str = "") -> Access:
    login = (Login("google", host),)
    if oidc:
        return Access(settings=("GCP_WORKLOAD_IDENTITY_PROVIDER", "GCP_SERVICE_ACCOUNT"), logins=login)
    return Access(kept=("GCP_CREDENTIALS",), logins=login)


def model(project: Project, *, oidc: bool) -> Access:  # noqa: PLR0911  a form each
    """What is needed to fetch the model of a project, wherever it comes from.

    Raises:
        ModelError: the project names it wrongly.
    """
    if project.model.source is None:
        return Access()
    address = parse_address(project.model.source)
    why = f"fetch the model {address}"
    match address:
        case forms.Registered():
            return replace(models(project, oidc=oidc), why=why)
        case forms.Artifact(reference=Reference() as reference):
            return replace(registry(reference.registry, oidc=oidc), why=why)
        case forms.Bucket(scheme="s3") | forms.Package():
            extra = "s3" if isinstance(address, forms.Bucket) else "sagemaker"
            return replace(_aws(oidc), why=why, extra=extra)
        case forms.Bucket(scheme="gs"):
            return replace(_google(oidc), why=why, extra="gs")
        case forms.Bucket() | forms.AzureMl():
            extra = "azure" if isinstance(address, forms.Bucket) else "azureml"
            if oidc:
                return replace(_azure(), why=why, extra=extra)
            return Access(why, kept=(AZURE,), logins=(Login("azure"),), extra=extra)
        case forms.Hub():
            return Access(why, ("HF_TOKEN",), extra="huggingface")
        case forms.Mlflow():
            secrets = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
            return Access(why, secrets, variables=("MLFLOW_TRACKING_URI",), extra="mlflow")
        case _:
            return Access()


def models(project: Project, *, oidc: bool, write: bool = False) -> Access:
    """What is needed to reach the project's model registry."""
    place = project.models.registry
    if place.startswith(OCI):
        return Access()
    return registry(parse_reference(f"{place}/any").registry, oidc=oidc, write=write)


def environment() -> Access:
    """What is needed to ask an environment."""
    return Access("ask the environment", ("SERINUS_CONTROL_TOKEN",), variables=("SERINUS_CONTROL_URL",))


def of_command(step: Step, project: Project, *, oidc: bool) -> tuple[Access, ...]:  # noqa: PLR0911
    """What a step's command needs, where it is one of Serinus, beside the secrets that the step names."""
    match step.command:
        case ("serinus", "publish", *_) if project.image.repository is not None:
            repository = project.image.repository
            if repository.startswith(OCI):
                return ()
            return (registry(parse_reference(repository).registry, oidc=oidc, write=True),)
        case ("serinus", "model", "fetch", *_) | ("serinus", "check" | "build", *_):
            return (model(project, oidc=oidc),)
        case ("serinus", "model", "register" | "alias" | "import", *_):
            return (models(project, oidc=oidc, write=True),)
        case ("serinus", "model", *_):
            return (models(project, oidc=oidc),)
        case ("serinus", "deploy" | "status" | "promote" | "abort" | "undo", *_):
            return (environment(),)
    return ()
