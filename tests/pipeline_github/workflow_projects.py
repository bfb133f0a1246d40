"""Projects to make workflows of, as values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from serinus.pipeline.github.plan import Plan, deliver
from serinus.pipeline.github.workflow import workflow
from serinus.project import Image, Model, Models, Project, Service
from serinus.project.ci import Ci

ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
GAR = "europe-docker.pkg.dev"


def project(
    repository: str | None = None, source: str | None = None, registry: str = "ghcr.io/acme/models", **ci: Any
) -> Project:
    return Project(
        root=Path("/nowhere"),
        service=Service(name="sentiment", entrypoint="service:predict"),
        model=Model(source=source, path="model.onnx" if source else None),
        models=Models(registry=registry),
        image=Image(repository=repository),
        ci=Ci(**ci),
    )


def parsed(plan: Plan) -> dict[str, Any]:
    """The workflow, as a reader of YAML has it."""
    document = yaml.safe_load(workflow(plan))
    assert isinstance(document, dict)
    return document


def steps(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The steps of a job by name, or by the action where there is none."""
    return {step.get("name") or step["uses"].partition("@")[0]: step for step in job["steps"]}


PROJECTS: dict[str, Project] = {
    "bare": project(),
    "ghcr": project("ghcr.io/acme/sentiment", "sentiment:3"),
    "hub": project("docker.io/acme/sentiment", "hf://acme/sentiment@main"),
    "azure": project("acme.azurecr.io/sentiment", "abfs://models@acme.dfs.core.windows.net/sentiment"),
    "azure with a secret": project(
        "acme.azurecr.io/sentiment", "azureml://resourcegroups/r/workspaces/w/models/m/versions/1", oidc=False
    ),
    "aws": project(f"{ECR}/sentiment", "s3://acme-models/sentiment/model.onnx"),
    "aws with keys": project(f"{ECR}/sentiment", "sagemaker://sentiment/3", oidc=False),
    "google": project(f"{GAR}/acme/images/sentiment", "gs://acme-models/sentiment"),
    "google with a key": project(f"{GAR}/acme/images/sentiment", oidc=False),
    "another": project("registry.example:5000/sentiment", "mlflow:models:/sentiment/3"),
    "a layout": project("oci:published", "https://models.example/m.onnx#sha256=" + "0" * 64),
    "behind people": project(
        "ghcr.io/acme/sentiment", environments={"deploy": "production", "publish": "it's: #1"}
    ),
    "otherwise": project(
        "ghcr.io/acme/sentiment",
        branch="lines/1.x",
        runner="self-hosted",
        requirements="ci requirements.txt",
    ),
}
PLANS: dict[str, Plan] = {name: deliver(each) for name, each in PROJECTS.items()}
PLANS["in a folder"] = deliver(PROJECTS["ghcr"], "services/senti ment")
PLANS["on another base"] = deliver(
    replace(
        PROJECTS["ghcr"],
        image=Image(repository="ghcr.io/acme/sentiment", base="docker.io/library/python:3.11-slim"),
    )
)
