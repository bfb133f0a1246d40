"""Models from the Hugging Face Hub, by a double of the calls that its client makes."""

from __future__ import annotations

import hashlib
import json
from urllib.parse import unquote

import pytest
from fetching import FILES, LARGE, Machine, contents, sha256

from fakes.cloud import Answer, Asked, Double, ranged
from serinus.errors import ModelError
from serinus.events import Progress

COMMIT, OLDER = "a" * 40, "b" * 40


class Hub:
    """A repository ``acme/mood`` whose revisions are in the test's hands."""

    def __init__(self, double: Double) -> None:
        self.double = double
        self.revisions = {"main": COMMIT, COMMIT: COMMIT, "v1": OLDER, OLDER: OLDER, "refs/pr/1": OLDER}
        self.files = {
            COMMIT: {**FILES, ".gitattributes": b"*.onnx filter=lfs"},
            OLDER: {"model.onnx": b"o" * 2000},
        }
        self.served = {commit: dict(files) for commit, files in self.files.items()}
        double.on("GET", "/api/models/acme/mood/revision/(.+)", self._info)
        double.on("GET|HEAD", "/acme/mood/resolve/([^/]+)/(.+)", self._file)

    def _info(self, asked: Asked) -> Answer:
        commit = self.revisions.get(unquote(asked.match[1]))
        if commit is None:
            headers = {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"}
            return Answer(404, b'{"error": "Invalid rev id"}', headers)
        files = [
            {"rfilename": path, "size": len(data), **_lfs(data)} for path, data in self.files[commit].items()
        ]
        document = {"_id": "1", "id": "acme/mood", "modelId": "acme/mood", "sha": commit, "siblings": files}
        return Answer(200, json.dumps(document).encode(), {"content-type": "application/json"})

    def _file(self, asked: Asked) -> Answer:
        data = self.served[asked.match[1]][unquote(asked.match[2])]
        etag = f'"{hashlib.sha256(self.files[asked.match[1]][unquote(asked.match[2])]).hexdigest()}"'
        headers = {"x-repo-commit": asked.match[1], "x-linked-size": str(len(data)), "x-linked-etag": etag}
        if asked.method == "HEAD":
            return Answer(200, b"", {**headers, "etag": etag, "content-length": str(len(data))})
        return ranged(asked, data, etag, **headers)


def _lfs(data: bytes) -> dict[str, object]:
    if len(data) < 1000:
        return {}
    return {"lfs": {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}}


@pytest.fixture
def hub(double: Double, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Hub:
    monkeypatch.setenv("HF_ENDPOINT", double.url)
    monkeypatch.setenv("HF_HOME", str(machine.root / "hf"))
    return Hub(double)


def test_a_revision_is_resolved_to_its_commit(machine: Machine, hub: Hub) -> None:
    found = machine.fetch("hf://acme/mood")
    assert contents(found) == FILES  # without what belongs to git, and without the library's notes
    assert (found.name, found.uri) == ("mood", f"hf://acme/mood@{COMMIT}")
    assert any(
        isinstance(event, Progress) and event.total == sum(map(len, FILES.values()))
        for event in machine.events
    )
    hub.revisions["main"] = OLDER
    assert contents(machine.fetch("hf://acme/mood@main")) == {"model.onnx": b"o" * 2000}
    assert machine.fetch("hf://acme/mood@refs%2Fpr%2F1").uri == f"hf://acme/mood@{OLDER}"


def test_a_commit_is_asked_for_once(machine: Machine, hub: Hub) -> None:
    machine.fetch(f"hf://acme/mood@{COMMIT}")
    before = len(hub.double.seen)
    machine.fetch(f"hf://acme/mood@{COMMIT}")
    assert len(hub.double.seen) == before


def test_one_file_of_a_model(machine: Machine, hub: Hub) -> None:
    found = machine.fetch("hf://acme/mood@v1/model.onnx")
    assert contents(found) == {"model.onnx": b"o" * 2000}
    assert (found.uri, found.digest) == (f"hf://acme/mood@{OLDER}/model.onnx", sha256(b"o" * 2000))
    with pytest.raises(ModelError, match=r"has no file 'sub/model.onnx' at a+; it has .*model.onnx"):
        machine.fetch("hf://acme/mood/sub/model.onnx")


def test_a_file_that_is_not_what_the_hub_says_is_refused(machine: Machine, hub: Hub) -> None:
    hub.served[COMMIT]["model.onnx"] = LARGE[::-1]
    with pytest.raises(ModelError, match="expected sha256:"):
        machine.fetch("hf://acme/mood")
    assert not machine.left()


def test_what_is_not_there_or_not_ours_is_told(machine: Machine, hub: Hub) -> None:
    with pytest.raises(ModelError, match="there is no model hf://acme/mood@none"):
        machine.fetch("hf://acme/mood@none")
    gated = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"}
    hub.double.on("GET", "/api/models/.*", lambda asked: Answer(403, b"{}", gated))
    with pytest.raises(ModelError, match=r"(?s)may not be read.*HF_TOKEN"):
        machine.fetch("hf://acme/mood")
    hub.double.on("GET", "/api/models/.*", lambda asked: Answer(401, b"{}"))
    with pytest.raises(ModelError, match=r"(?s)may not be read.*HF_TOKEN"):
        machine.fetch("hf://acme/none")


def test_the_token_is_the_librarys(machine: Machine, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    machine.fetch("hf://acme/mood@v1")
    assert {asked.headers["authorization"] for asked in hub.double.seen} == {"Bearer hf_secret"}
