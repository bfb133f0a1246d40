"""Serinus: continuous delivery for machine-learning models.

The flow, and the package that serves each stage::

    project       serinus.toml as a value
    models        where a model comes from, and its versions
    contract      what callers can rely on
    image         layers, manifest, SBOM: project -> image
    registry      push, pull, referrers
    runtimes      an image that runs: sandbox, docker, podman
    checks        every layer, in parallel
    rollout       how a version gets the traffic, decided from evidence
    environment   router, replicas, control API
    pipeline      all of it in steps

``serving`` is what runs inside the image. The names below are the public API; everything that the
command line does is a call of it. They are imported when first used, so that ``import serinus`` inside
a service costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serinus.checks import Finding as Finding
    from serinus.checks import NotApplicable as NotApplicable
    from serinus.checks import Result as Result
    from serinus.checks import check as check
    from serinus.checks.everything import run_checks as run_checks
    from serinus.checks.report import Report as Report
    from serinus.contract import Contract as Contract
    from serinus.contract import Example as Example
    from serinus.contract.compare import compare as compare
    from serinus.environment.client import Environment as Environment
    from serinus.environment.client import Rollout as Rollout
    from serinus.image.build import build as build
    from serinus.image.build import layout_of as layout_of
    from serinus.image.promises import contract_of as contract_of
    from serinus.image.publish import publish as publish
    from serinus.image.publish import pull as pull
    from serinus.models.registry import ModelRegistry as ModelRegistry
    from serinus.models.version import ModelVersion as ModelVersion
    from serinus.pipeline.approvals import approve as approve
    from serinus.pipeline.known import pipeline_of as pipeline_of
    from serinus.pipeline.run import run_pipeline as run_pipeline
    from serinus.project import Project as Project
    from serinus.registry.layout import Layout as Layout
    from serinus.serving.batching import batched as batched
    from serinus.serving.onnx_session import OnnxSession as OnnxSession

__version__ = "0.1.0"

_PUBLIC = {
    "Contract": "serinus.contract",
    "Environment": "serinus.environment.client",
    "Example": "serinus.contract",
    "Finding": "serinus.checks",
    "Layout": "serinus.registry.layout",
    "ModelRegistry": "serinus.models.registry",
    "ModelVersion": "serinus.models.version",
    "NotApplicable": "serinus.checks",
    "OnnxSession": "serinus.serving.onnx_session",
    "Project": "serinus.project",
    "Report": "serinus.checks.report",
    "Result": "serinus.checks",
    "Rollout": "serinus.environment.client",
    "approve": "serinus.pipeline.approvals",
    "batched": "serinus.serving.batching",
    "build": "serinus.image.build",
    "check": "serinus.checks",
    "compare": "serinus.contract.compare",
    "contract_of": "serinus.image.promises",
    "layout_of": "serinus.image.build",
    "pipeline_of": "serinus.pipeline.known",
    "publish": "serinus.image.publish",
    "pull": "serinus.image.publish",
    "run_checks": "serinus.checks.everything",
    "run_pipeline": "serinus.pipeline.run",
}

__all__ = ["__version__", *_PUBLIC]  # noqa: PLE0604  (the keys are strings)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'serinus' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return __all__
