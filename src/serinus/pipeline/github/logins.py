"""The steps that log in to a cloud, and the rights that a job gets. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from serinus.pipeline.access import Access, Login
from serinus.pipeline.github.pins import Pin, used


def rights(accesses: Iterable[Access], *, oidc: bool) -> dict[str, str]:
    """The least ``permissions`` of a job: what is not named, its token may not do.

    Args:
        accesses: what its steps need.
        oidc: whether clouds are logged in to without secrets.
    """
    found = {"contents": "read"}
    for access in accesses:
        if access.packages and found.get("packages") != "write":
            found["packages"] = access.packages
        if access.logins and oidc:
            found["id-token"] = "write"
    return found


def logins(accesses: Iterable[Access], pins: Mapping[str, Pin], *, oidc: bool) -> list[dict[str, Any]]:
    """The steps that log in to all clouds of a job, each once.

    Args:
        accesses: what its steps need.
        pins: of actions.
        oidc: whether clouds are logged in to without secrets.
    """
    wanted = [login for access in accesses for login in access.logins]
    made = {"azure": _azure, "aws": _aws, "google": _google}
    steps: list[dict[str, Any]] = []
    for login in dict.fromkeys(wanted):
        steps += [step for step in made[login.cloud](login, pins, oidc) if step not in steps]
    return steps


def _azure(login: Login, pins: Mapping[str, Pin], oidc: bool) -> list[dict[str, Any]]:
    given = (
        {
            "client-id": "${{ vars.AZURE_CLIENT_ID }}",
            "tenant-id": "${{ vars.AZURE_TENANT_ID }}",
            "subscription-id": "${{ vars.AZURE_SUBSCRIPTION_ID }}",
        }
        if oidc
        else {"creds": "${{ secrets.AZURE_CREDENTIALS }}"}
    )
    steps: list[dict[str, Any]] = [
        {"name": "log in to Azure", "uses": used("azure/login", pins), "with": given}
    ]
    if login.registry:
        name = login.registry.partition(".")[0]
        steps.append({"name": f"log in to {login.registry}", "run": f"az acr login --name {name}"})
    return steps


def _aws(login: Login, pins: Mapping[str, Pin], oidc: bool) -> list[dict[str, Any]]:
    region = {"aws-region": login.region or "${{ vars.AWS_REGION }}"}
    given = (
        {"role-to-assume": "${{ vars.AWS_ROLE_ARN }}"}
        if oidc
        else {
            "aws-access-key-id": "${{ secrets.AWS_ACCESS_KEY_ID }}",
            "aws-secret-access-key": "${{ secrets.AWS_SECRET_ACCESS_KEY }}",
        }
    )
    action = "aws-actions/configure-aws-credentials"
    steps: list[dict[str, Any]] = [
        {"name": "log in to AWS", "uses": used(action, pins), "with": {**given, **region}}
    ]
    if login.registry:
        known = login.registry.partition(".")[0]
        steps.append(
            {
                "name": f"log in to {login.registry}",
                "uses": used("aws-actions/amazon-ecr-login", pins),
                "with": {"registries": known},
            }
        )
    return steps


def _google(login: Login, pins: Mapping[str, Pin], oidc: bool) -> list[dict[str, Any]]:
    given = (
        {
            "workload_identity_provider": "${{ vars.GCP_WORKLOAD_IDENTITY_PROVIDER }}",
            "service_account": "${{ vars.GCP_SERVICE_ACCOUNT }}",
        }
        if oidc
        else {"credentials_json": "${{ secrets.GCP_CREDENTIALS }}"}
    )
    # The token is what a registry takes as a password; libraries of the cloud find its file by themselves.
    return [
        {
            "name": "log in to Google Cloud",
            "id": "google",
            "uses": used("google-github-actions/auth", pins),
            "with": {"token_format": "access_token", **given},
        }
    ]
