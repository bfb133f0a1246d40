"""What a step needs: the names of secrets are those that Serinus reads, and no step gets more."""

from __future__ import annotations

import pytest
from workflow_projects import ECR, GAR, project

from serinus.pipeline import Step
from serinus.pipeline.access import Access, Login, model, models, of_command, registry

AZURE = ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_SUBSCRIPTION_ID")


@pytest.mark.parametrize(
    ("host", "oidc", "secrets", "kept", "settings", "packages", "logins"),
    [
        ("docker.io", True, ("DOCKER_HUB_USERNAME", "DOCKER_HUB_ACCESS_TOKEN"), (), (), "", ()),
        ("ghcr.io", True, ("GITHUB_TOKEN",), (), (), "write", ()),
        ("acme.azurecr.io", True, (), (), AZURE, "", (Login("azure", "acme.azurecr.io"),)),
        ("acme.azurecr.io", False, ("AZURE_CREDENTIALS",), (), (), "", ()),
        (ECR, True, (), (), ("AWS_ROLE_ARN",), "", (Login("aws", ECR, "eu-west-1"),)),
        (
            ECR,
            False,
            (),
            ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
            (),
            "",
            (Login("aws", ECR, "eu-west-1"),),
        ),
        (
            GAR,
            True,
            (),
            (),
            ("GCP_WORKLOAD_IDENTITY_PROVIDER", "GCP_SERVICE_ACCOUNT"),
            "",
            (Login("google", GAR),),
        ),
        (GAR, False, (), ("GCP_CREDENTIALS",), (), "", (Login("google", GAR),)),
        (
            "quay.io",
            True,
            ("SERINUS_REGISTRY_QUAY_IO_USERNAME", "SERINUS_REGISTRY_QUAY_IO_PASSWORD"),
            (),
            (),
            "",
            (),
        ),
    ],
)
def test_what_a_registry_needs(
    host: str,
    oidc: bool,
    secrets: tuple[str, ...],
    kept: tuple[str, ...],
    settings: tuple[str, ...],
    packages: str,
    logins: tuple[Login, ...],
) -> None:
    found = registry(host, oidc=oidc, write=True)
    assert (found.secrets, found.kept, found.settings) == (secrets, kept, settings)
    assert (found.packages, found.logins) == (packages, logins)
    assert found.why == f"push to {host}"


@pytest.mark.parametrize(
    ("source", "secrets", "settings", "extra"),
    [
        (None, (), (), ""),
        ("model.onnx", (), (), ""),
        ("sentiment:3", ("GITHUB_TOKEN",), (), ""),
        ("oci://docker.io/acme/model:1", ("DOCKER_HUB_USERNAME", "DOCKER_HUB_ACCESS_TOKEN"), (), ""),
        ("s3://bucket-1/key", (), ("AWS_ROLE_ARN", "AWS_REGION"), "s3"),
        ("sagemaker://group/3", (), ("AWS_ROLE_ARN", "AWS_REGION"), "sagemaker"),
        ("gs://bucket-1/key", (), ("GCP_WORKLOAD_IDENTITY_PROVIDER", "GCP_SERVICE_ACCOUNT"), "gs"),
        ("abfs://models@a.dfs.core.windows.net/key", (), AZURE, "azure"),
        ("azureml://resourcegroups/r/workspaces/w/models/m/versions/1", (), AZURE, "azureml"),
        ("hf://acme/model", ("HF_TOKEN",), (), "huggingface"),
        ("mlflow:models:/m/1", ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"), (), "mlflow"),
    ],
)
def test_what_a_model_needs(
    source: str | None, secrets: tuple[str, ...], settings: tuple[str, ...], extra: str
) -> None:
    found = model(project(source=source), oidc=True)
    assert (found.secrets, found.settings, found.extra) == (secrets, settings, extra)
    assert found.packages == ("read" if "GITHUB_TOKEN" in secrets else "")


def test_a_registry_of_models_in_a_folder_needs_nothing() -> None:
    assert models(project(registry="oci:.serinus/models"), oidc=True) == Access()


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (("serinus", "publish", "x"), ["push to ghcr.io"]),
        (("serinus", "model", "fetch"), ["fetch the model sentiment:3"]),
        (("serinus", "check"), ["fetch the model sentiment:3"]),
        (("serinus", "build"), ["fetch the model sentiment:3"]),
        (("serinus", "model", "register", "x"), ["push to ghcr.io"]),
        (("serinus", "model", "list"), ["pull from ghcr.io"]),
        (("serinus", "deploy"), ["ask the environment"]),
        (("serinus", "config"), []),
        (("python", "serinus", "publish"), []),
        ((), []),
    ],
)
def test_what_a_command_needs(command: tuple[str, ...], why: list[str]) -> None:
    found = of_command(Step("s", command), project("ghcr.io/acme/x", "sentiment:3"), oidc=True)
    assert [access.why for access in found] == why
