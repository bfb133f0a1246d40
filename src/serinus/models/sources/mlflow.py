"""``mlflow:models:/NAME/VERSION``, ``mlflow:models:/NAME@ALIAS``: MLflow's model registry, by its client."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from serinus.errors import ModelError
from serinus.models import Found, Progress
from serinus.models.formats import safe_path
from serinus.models.forms import Mlflow
from serinus.models.sources.failures import explained, need

_LOGIN = (
    "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN; where the files "
    "lie in an object store, its own login is needed too."
)
_QUIET = {
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # The client's own seven tries take more than four minutes: too long to learn that a server is not there.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}


class MlflowModel:
    """A version of a model in MLflow's model registry."""

    def __init__(self, address: Mlflow) -> None:
        self._address = address
        self._what = f"the model {address}"

    def find(self) -> Found:
        """The version that is named, or that the alias points at."""
        with explained(self._what, _LOGIN):
            client = self._client()
            name, alias = self._address.name, self._address.alias
            version = (
                client.get_model_version_by_alias(name, alias)
                if alias
                else client.get_model_version(name, self._address.version)
            )
        # A model that was deleted and registered anew counts from 1 again: its time and its run tell.
        marks = (version.version, version.creation_timestamp, version.run_id, version.source)
        facts = {"run": str(version.run_id)} if version.run_id else {}
        return Found(str(Mlflow(name, str(version.version))), " ".join(map(str, marks)), facts=facts)

    def fetch(self, found: Found, folder: Path, progress: Progress) -> None:
        """Bring the version's files, as they lie in its artifact store."""
        number = found.uri.rpartition("/")[2]
        with explained(self._what, _LOGIN):
            client = self._client()
            place = client.get_model_version_download_uri(self._address.name, number)
            registry = need("mlflow.store.artifact.artifact_repository_registry", "mlflow", self._what)
            repository = registry.get_artifact_repository(place)
            files = tuple(_files(repository, None))
            total = sum(file.file_size or 0 for file in files)
            done = 0
            for file in files:
                path = safe_path(file.path, self._what)
                repository.download_artifacts(artifact_path=file.path, dst_path=str(folder))
                done += (folder / path).stat().st_size
                progress(done, total)

    def _client(self) -> Any:
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        mlflow = need("mlflow", "mlflow", self._what)
        if not (mlflow.tracking.is_tracking_uri_set() or os.environ.get("MLFLOW_REGISTRY_URI")):
            raise ModelError(
                f"it is not said which MLflow has {self._what.removeprefix('the ')}",
                "Set MLFLOW_TRACKING_URI, such as https://mlflow.example.",
            )
        return mlflow.MlflowClient()


def _files(repository: Any, folder: str | None) -> Iterator[Any]:
    for entry in repository.list_artifacts(folder):
        if entry.is_dir:
            yield from _files(repository, entry.path)
        else:
            yield entry
