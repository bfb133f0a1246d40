"""The places a model can come from: one small adapter each, its library imported when it is asked.

:func:`open_source` chooses. Each adapter asks in its library's own way who we are (variables, files, logins);
what fails is told by ``failures`` as an error of ours.
"""

from __future__ import annotations

from pathlib import Path

from serinus.errors import ModelError
from serinus.models import Source
from serinus.models.forms import (
    Address,
    Artifact,
    AzureMl,
    Bucket,
    Hub,
    Local,
    Mlflow,
    Package,
    Registered,
    Web,
)


def open_source(address: Address, *, root: Path, registry: str) -> Source:
    """The source that an address names.

    Args:
        address: any but a local path.
        root: the project's folder, which the folders of layouts are relative to.
        registry: the model registry, as ``models.registry`` of the project says it.

    Raises:
        ModelError: it is a local path.
    """
    match address:
        case Registered():
            from serinus.models.sources.artifact import RegisteredModel

            source: Source = RegisteredModel(address, registry, root)
        case Artifact():
            from serinus.models.sources.artifact import artifact

            source = artifact(address, root)
        case Web():
            from serinus.models.sources.web import WebFile

            source = WebFile(address)
        case Bucket():
            from serinus.models.sources.bucket import Objects

            source = Objects(address)
        case Mlflow():
            from serinus.models.sources.mlflow import MlflowModel

            source = MlflowModel(address)
        case Package():
            from serinus.models.sources.sagemaker import ModelPackage

            source = ModelPackage(address)
        case AzureMl():
            from serinus.models.sources.azureml import WorkspaceModel

            source = WorkspaceModel(address)
        case Hub():
            from serinus.models.sources.hub import HubModel

            source = HubModel(address)
        case Local():
            raise ModelError(f"{address} is on this machine: there is nothing to fetch", "Use its path.")
    return source
