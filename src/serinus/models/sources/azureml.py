"""``azureml://...``: a model of an Azure Machine Learning workspace, by azure-ai-ml."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from serinus.errors import ModelError
from serinus.files import temporary
from serinus.models import Found, Progress
from serinus.models.forms import AzureMl
from serinus.models.sources.failures import explained, need

_LOGIN = (
    "Run `az login`, or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET (or "
    "AZURE_FEDERATED_TOKEN_FILE); the role needs to read the workspace and its storage."
)


class WorkspaceModel:
    """A version of a model in a workspace."""

    def __init__(self, address: AzureMl) -> None:
        self._address = address
        self._what = f"the model {address}"

    def find(self) -> Found:
        """The version, as the workspace describes it."""
        client, subscription = self._client()
        with explained(self._what, _LOGIN):
            model = client.models.get(self._address.name, version=self._address.version)
        made = getattr(model.creation_context, "created_at", "")
        known = AzureMl(
            self._address.group,
            self._address.workspace,
            self._address.name,
            self._address.version,
            subscription,
        )
        return Found(str(known), f"{model.version} {model.path} {made}")

    def fetch(self, found: Found, folder: Path, progress: Progress) -> None:
        """Bring the version's files; the library tells no progress."""
        client, _ = self._client()
        with explained(self._what, _LOGIN):
            beside = temporary(folder)
            client.models.download(self._address.name, self._address.version, download_path=str(beside))
            _settle(beside / self._address.name, folder)
            shutil.rmtree(beside)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        progress(size, size)

    def _client(self) -> tuple[Any, str]:
        subscription = self._address.subscription or os.environ.get("AZURE_SUBSCRIPTION_ID", "")
        if not subscription:
            raise ModelError(
                f"{self._what} names no subscription",
                "Write azureml://subscriptions/<id>/resourcegroups/..., or set AZURE_SUBSCRIPTION_ID.",
            )
        identity = need("azure.identity", "azureml", self._what)
        ml = need("azure.ai.ml", "azureml", self._what)
        with explained(self._what, _LOGIN):
            client = ml.MLClient(
                identity.DefaultAzureCredential(),
                subscription,
                self._address.group,
                self._address.workspace,
                show_progress=False,
                enable_telemetry=False,
            )
        return client, subscription


def _settle(came: Path, folder: Path) -> None:
    """The model's own files, out of the folders that the library puts around them.

    It writes a file to ``NAME/FILE``, and a folder to ``NAME/FOLDER/...``.
    """
    inside = sorted(came.iterdir())
    top = inside[0] if len(inside) == 1 and inside[0].is_dir() else came
    for entry in top.iterdir():
        entry.rename(folder / entry.name)
