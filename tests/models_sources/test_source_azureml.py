"""Models from Azure Machine Learning, by a double of the calls that azure-ai-ml makes.

The real client speaks to the real host names, over TLS and a proxy that leads them here.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fetching import FILES, LARGE

from fakes.cloud import Answer, Authority, Double, Proxy
from fakes.stores import azure

SUBSCRIPTION, TENANT = "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/ml"
WORKSPACE = f"{GROUP}/providers/Microsoft.MachineLearningServices/workspaces/nlp"
STORE = f"azureml:/{GROUP}/workspaces/nlp/datastores/store/paths"
HOSTS = r"management\.azure\.com|login\.microsoftonline\.com|account\.blob\.core\.windows\.net"
SOURCE = f"azureml://subscriptions/{SUBSCRIPTION}/resourcegroups/ml/workspaces/nlp/models/mood/versions/"


def as_json(value: object, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode(), {"content-type": "application/json"})


@dataclass
class Workspace:
    """A workspace with versions of the model ``mood``, and a login for it."""

    double: Double
    root: Path
    environment: dict[str, str]

    def fetch(self, *sources: str) -> list[dict[str, str]]:
        """Fetch by the command line, in a process of its own: the library keeps logins and threads."""
        (self.root / "serinus.toml").write_text('[service]\nname = "mood"\nentrypoint = "service:predict"\n')
        program = (
            "import json, sys\nfrom serinus.cli import run\n"
            "for source in sys.argv[1:]: run(['model', 'fetch', '--json', source])\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, *sources],
            cwd=self.root, env=self.environment, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        decoder, text, found = json.JSONDecoder(), done.stdout.strip(), []
        while text:
            value, end = decoder.raw_decode(text)
            found.append(value)
            text = text[end:].strip()
        return found


@pytest.fixture
def workspace(double: Double, tmp_path: Path, authority: Authority) -> Iterator[Workspace]:
    login = f"https://login.microsoftonline.com/{TENANT}"
    double.on("GET", ".*/openid-configuration", lambda asked: as_json({
        "token_endpoint": f"{login}/oauth2/v2.0/token", "issuer": f"{login}/v2.0",
        "authorization_endpoint": f"{login}/oauth2/v2.0/authorize",
    }))  # fmt: skip
    double.on("POST", ".*/oauth2/v2.0/token", lambda asked: as_json(
        {"token_type": "Bearer", "expires_in": 3600, "access_token": "token"}
    ))  # fmt: skip
    for version, path in (("1", "up/1/model.onnx"), ("2", "up/2/mood/"), ("3", "up/3/mood/")):
        model = {
            "id": f"{WORKSPACE}/models/mood/versions/{version}", "name": version, "type": "version",
            "properties": {
                "modelUri": f"{STORE}/{path}", "modelType": "custom_model", "flavors": {},
                "properties": {}, "tags": {},
            },
            "systemData": {"createdAt": "2024-01-01T00:00:00Z"},
        }  # fmt: skip
        double.on(
            "GET", f"{WORKSPACE}/models/mood/versions/{version}", lambda asked, model=model: as_json(model)
        )
    double.on("GET", f"{WORKSPACE}/datastores/store", lambda asked: as_json({
        "id": f"{WORKSPACE}/datastores/store", "name": "store", "type": "datastore",
        "properties": {
            "datastoreType": "AzureBlob", "accountName": "account", "containerName": "models",
            "protocol": "https", "endpoint": "core.windows.net",
            "credentials": {"credentialsType": "AccountKey"},
        },
    }))  # fmt: skip
    key = base64.b64encode(b"no key of anybody").decode()
    double.on("POST", f"{WORKSPACE}/datastores/store/listSecrets", lambda asked: as_json(
        {"secretsType": "AccountKey", "key": key}
    ))  # fmt: skip
    stored = {"up/1/model.onnx": LARGE, "up/3/mood/model.onnx": b"three"}
    azure(double, stored | {f"up/2/mood/{path}": data for path, data in FILES.items()}, "/models")
    with Proxy(double, authority, HOSTS) as proxy:
        yield Workspace(double, tmp_path, {
            **os.environ, "HTTPS_PROXY": proxy.url, "REQUESTS_CA_BUNDLE": str(authority.file),
            "SERINUS_CACHE": str(tmp_path / "cache"), "AZURE_TENANT_ID": TENANT,
            "AZURE_CLIENT_ID": "00000000-0000-0000-0000-000000000003", "AZURE_CLIENT_SECRET": "secret",
        })  # fmt: skip
        assert not proxy.refused, "a host was asked that is no part of it: telemetry?"


def test_a_file_a_folder_and_a_version_that_is_not_there(workspace: Workspace) -> None:
    one, folder, again, missing, nowhere = workspace.fetch(
        f"{SOURCE}1", f"{SOURCE}2", f"{SOURCE}2", f"{SOURCE}9",
        SOURCE.replace(f"subscriptions/{SUBSCRIPTION}/", "") + "1",
    )  # fmt: skip
    assert "path" in one, one
    assert Path(one["path"]).read_bytes() == LARGE
    assert one["uri"] == f"{SOURCE}1"
    files = {
        p.relative_to(folder["path"]).as_posix(): p.read_bytes() for p in Path(folder["path"]).rglob("*.*")
    }
    assert files == FILES
    assert again == folder
    assert len(workspace.double.asked("/models/up/2/mood/model.onnx")) == 1
    assert "there is no model azureml://" in missing["error"]["message"]  # type: ignore[index]
    assert "AZURE_SUBSCRIPTION_ID" in nowhere["error"]["todo"]  # type: ignore[index]
    assert {asked.host for asked in workspace.double.seen} == {
        "management.azure.com", "login.microsoftonline.com", "account.blob.core.windows.net",
    }  # fmt: skip


def test_the_subscription_may_stand_in_a_variable_and_a_refusal_names_the_login(workspace: Workspace) -> None:
    workspace.environment["AZURE_SUBSCRIPTION_ID"] = SUBSCRIPTION
    short = SOURCE.replace(f"subscriptions/{SUBSCRIPTION}/", "")
    refusal = {"error": {"code": "AuthorizationFailed", "message": "the client has no authorization"}}
    workspace.double.on("GET", f"{WORKSPACE}/models/mood/versions/1", lambda asked: as_json(refusal, 403))
    found, refused = workspace.fetch(f"{short}3", f"{SOURCE}1")
    assert Path(found["path"]).read_bytes() == b"three"
    assert found["uri"] == f"{SOURCE}3"
    assert "may not be read" in refused["error"]["message"]  # type: ignore[index]
    assert "az login" in refused["error"]["todo"]  # type: ignore[index]
