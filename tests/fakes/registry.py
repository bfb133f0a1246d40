"""An OCI registry in this process, on a free loopback port, that can be told to misbehave.

Obeys the distribution specification 1.1: blobs (whole, in chunks, mounted, by ranges), manifests, tags,
referrers; Basic authentication, or Bearer with its own token server. :class:`Fault` says what goes wrong, and
how often.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit


@dataclass
class Fault:
    """What goes wrong with requests that match, for the first ``times`` of them."""

    method: str
    path: str
    """Regular expression, searched for in the path and query."""
    times: int = 1
    status: int = 0
    """Answer this and nothing else."""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: int = -1
    """Of an upload take so many bytes, of a download give so many, and close the connection."""
    corrupt: bool = False
    """Of a download, change the first byte."""
    keep: bool = True
    """Whether a cut upload keeps the bytes that came."""


class Seen(NamedTuple):
    """A request that was answered, for the tests."""

    method: str
    path: str
    authorization: str
    length: int
    """Bytes of the body."""
    range: str


@dataclass
class Repo:
    """What a repository holds."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    """Digest -> media type and bytes."""
    tags: dict[str, str] = field(default_factory=dict)


@dataclass
class Registry:
    """The state of the registry, and what it can do."""

    auth: str = ""
    """``""``, ``"basic"`` or ``"bearer"``."""
    username: str = "canary"
    password: str = "tweet-tweet"
    identity_token: str = "an-identity-token"
    token_uses: int = 1_000_000
    """Requests that one bearer token is good for."""
    token_seconds: float = 300
    referrers_api: bool = True
    mounts: bool = True
    redirect_blobs_to: str = ""
    """Base address of another host that blobs are downloaded from."""
    blob_headers: bool = True
    """Whether HEAD of a manifest tells its digest."""
    ranges: bool = True
    deletes: bool = True
    """Whether manifests can be deleted."""
    catalog: bool = True
    """Whether it lists its repositories."""
    page: int = 100
    """Tags in one page."""
    smallest_chunk: int = 0
    repos: dict[str, Repo] = field(default_factory=dict)
    uploads: dict[str, bytearray] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    tokens: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Token -> scopes, uses left."""
    asked_scopes: list[list[str]] = field(default_factory=list)
    host: str = ""
    lock: threading.RLock = field(default_factory=threading.RLock)

    def repo(self, name: str) -> Repo:
        """The repository of that name, made when it is not there."""
        return self.repos.setdefault(name, Repo())

    def count(self, method: str, path: str) -> int:
        """How many requests matched."""
        return sum(1 for s in self.seen if s.method == method and re.search(path, s.path))

    def methods(self) -> Counter[str]:
        """How many requests of each method there were."""
        return Counter(s.method for s in self.seen)

    def fault(self, method: str, path: str) -> Fault | None:
        """The fault that is due for a request; it is used up."""
        with self.lock:
            for fault in self.faults:
                if fault.times and fault.method == method and re.search(fault.path, path):
                    fault.times -= 1
                    return fault
        return None


class CutError(Exception):
    """The connection is to be closed now."""


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, CutError):
            self.close_connection = True

    def do(self) -> None:
        split = urlsplit(self.path)
        self.query = {k: v[0] for k, v in parse_qs(split.query, keep_blank_values=True).items()}
        self.reg = self.server.registry
        self.fault = self.reg.fault(self.command, self.path)
        self.seen()
        if self.fault and self.fault.status:
            self.body()
            self.answer(self.fault.status, self.fault.body, **self.fault.headers)
            return
        if split.path == "/token":
            self.token(parse_qs(split.query))
            return
        if not self.allowed(split.path):
            self.body()
            self.refuse()
            return
        for pattern, name in ROUTES:
            if match := re.fullmatch(pattern, split.path):
                getattr(self, name)(*match.groups())
                return
        self.answer(404, b"404 page not found")

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = do

    def seen(self) -> None:
        headers = self.headers
        length = int(headers.get("content-length") or 0)
        authorization = headers.get("authorization") or ""
        one = Seen(self.command, self.path, authorization, length, headers.get("range") or "")
        with self.reg.lock:
            self.reg.seen.append(one)

    # Reading and answering

    def body(self) -> bytes:
        length = int(self.headers.get("content-length") or 0)
        if self.fault and self.fault.cut >= 0:
            data = self.rfile.read(min(length, self.fault.cut))
            self.cut_data = data if self.fault.keep else b""
            return data
        return self.rfile.read(length)

    def answer(self, status: int, data: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if status not in {204, 304}:
            self.send_header("content-length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD" and status not in {204, 304}:
            self.wfile.write(data)

    def error(self, status: int, code: str, message: str = "") -> None:
        document = {"errors": [{"code": code, "message": message or code.lower(), "detail": None}]}
        self.answer(status, json.dumps(document).encode(), content_type="application/json")

    # Authentication

    def allowed(self, path: str) -> bool:
        given = self.headers.get("authorization") or ""
        if self.reg.auth == "basic":
            pair = f"{self.reg.username}:{self.reg.password}"
            return given == f"Basic {base64.b64encode(pair.encode()).decode()}"
        if self.reg.auth == "bearer":
            with self.reg.lock:
                token = given.removeprefix("Bearer ")
                scopes, uses = self.reg.tokens.get(token, ("", 0))
                self.reg.tokens[token] = (scopes, uses - 1)
                return uses > 0 and self.needed(path) in self.granted(scopes)
        return True

    def needed(self, path: str) -> str:
        match = re.match(r"/v2/(.+)/(?:blobs|manifests|tags|referrers)/", path)
        verb = "pull" if self.command in {"GET", "HEAD"} else "push"
        return f"{match[1] if match else ''}:{verb}"

    @staticmethod
    def granted(scopes: str) -> set[str]:
        found = set()
        for scope in scopes.split():
            _, name, verbs = scope.split(":")
            found |= {f"{name}:{verb}" for verb in verbs.split(",")}
        return found

    def refuse(self) -> None:
        challenge = 'Basic realm="fake"'
        if self.reg.auth == "bearer":
            name, _, verb = self.needed(urlsplit(self.path).path).rpartition(":")
            scope = f"repository:{name}:{verb}"
            challenge = (
                f'Bearer realm="http://{self.reg.host}/token",service="fake, registry",scope="{scope}"'
            )
        document = {"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}
        self.answer(401, json.dumps(document).encode(), www_authenticate=challenge)

    def token(self, query: dict[str, list[str]]) -> None:
        form = parse_qs(self.body().decode()) if self.command == "POST" else query
        pair = f"{self.reg.username}:{self.reg.password}"
        basic = f"Basic {base64.b64encode(pair.encode()).decode()}"
        known = (
            form.get("refresh_token") == [self.reg.identity_token]
            if self.command == "POST"
            else self.headers.get("authorization") == basic
        )
        scopes = " ".join(form.get("scope", [])).split()
        if not known or form.get("service") != ["fake, registry"]:
            self.error(401, "UNAUTHORIZED", "incorrect username or password")
            return
        value = secrets.token_urlsafe(12)
        with self.reg.lock:
            self.reg.asked_scopes.append(scopes)
            self.reg.tokens[value] = (" ".join(scopes), self.reg.token_uses)
        name = "access_token" if self.command == "POST" else "token"
        self.answer(200, json.dumps({name: value, "expires_in": self.reg.token_seconds}).encode())

    # Blobs

    def blob(self, name: str, digest: str) -> None:
        data = self.reg.repo(name).blobs.get(digest)
        if data is None:
            self.error(404, "BLOB_UNKNOWN")
        elif self.command == "GET" and self.reg.redirect_blobs_to:
            self.answer(307, location=f"{self.reg.redirect_blobs_to}/store/{name}/{digest}")
        else:
            self.give(data)

    def give(self, data: bytes) -> None:
        wanted = re.match(r"bytes=(\d+)-", self.headers.get("range") or "")
        start = int(wanted[1]) if wanted and self.reg.ranges else 0
        part = data[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("content-range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("content-length", str(len(part)))
        self.send_header("content-type", "application/octet-stream")
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.fault and self.fault.corrupt:
            part = bytes([part[0] ^ 1]) + part[1:]
        if self.fault and self.fault.cut >= 0:
            self.wfile.write(part[: self.fault.cut])
            self.wfile.flush()
            raise CutError
        self.wfile.write(part)

    def begin(self, name: str) -> None:
        self.body()
        digest, origin = self.query.get("mount", ""), self.query.get("from", "")
        if self.reg.mounts and digest in self.reg.repo(origin).blobs and self.may_pull(origin):
            self.reg.repo(name).blobs[digest] = self.reg.repo(origin).blobs[digest]
            self.answer(201, location=f"/v2/{name}/blobs/{digest}", docker_content_digest=digest)
            return
        key = secrets.token_hex(8)
        self.reg.uploads[key] = bytearray()
        headers = {"oci-chunk-min-length": str(self.reg.smallest_chunk)} if self.reg.smallest_chunk else {}
        self.answer(202, b"", location=f"/v2/{name}/blobs/uploads/{key}?state=a%2Fb", range="0-0", **headers)

    def may_pull(self, origin: str) -> bool:
        if self.reg.auth != "bearer":
            return True
        token = (self.headers.get("authorization") or "").removeprefix("Bearer ")
        return f"{origin}:pull" in self.granted(self.reg.tokens[token][0])

    def upload(self, name: str, key: str) -> None:
        upload = self.reg.uploads.get(key)
        if upload is None or self.query.get("state") != "a/b":
            self.body()
            self.error(404, "BLOB_UPLOAD_UNKNOWN")
            return
        getattr(self, f"upload_{self.command.lower()}")(name, key, upload)

    def upload_get(self, name: str, key: str, upload: bytearray) -> None:
        self.answer(204, location=self.path, range=f"0-{max(0, len(upload) - 1)}")

    def upload_delete(self, name: str, key: str, upload: bytearray) -> None:
        del self.reg.uploads[key]
        self.answer(204)

    def upload_patch(self, name: str, key: str, upload: bytearray) -> None:
        start, _, end = (self.headers.get("content-range") or "").partition("-")
        length = int(self.headers["content-length"])
        last = length < self.reg.smallest_chunk
        if int(start) != len(upload) or int(end) - int(start) + 1 != length or last:
            self.body()
            self.answer(416, range=f"0-{max(0, len(upload) - 1)}")
            return
        data = self.body()
        if self.fault and self.fault.cut >= 0:
            upload += self.cut_data
            raise CutError
        upload += data
        self.answer(202, location=self.path, range=f"0-{len(upload) - 1}")

    def upload_put(self, name: str, key: str, upload: bytearray) -> None:
        data = self.body()
        if self.fault and self.fault.cut >= 0:
            upload += self.cut_data
            raise CutError
        upload += data
        digest = self.query["digest"]
        if digest != f"sha256:{hashlib.sha256(upload).hexdigest()}":
            self.error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
            return
        self.reg.repo(name).blobs[digest] = bytes(upload)
        del self.reg.uploads[key]
        self.answer(201, location=f"/v2/{name}/blobs/{digest}", docker_content_digest=digest)

    def stored(self, name: str, digest: str) -> None:
        """The other host that keeps the blobs: it refuses whoever shows a token that is not for it."""
        if self.headers.get("authorization"):
            self.answer(400, b"an Authorization header came along")
        else:
            self.give(self.reg.repo(name).blobs[digest])

    # Manifests

    def manifest(self, name: str, reference: str) -> None:
        repo = self.reg.repo(name)
        if self.command == "DELETE":
            self.delete_manifest(repo, reference)
            return
        if self.command == "PUT":
            self.put_manifest(repo, reference)
            return
        digest = repo.tags.get(reference, reference)
        if digest not in repo.manifests:
            self.error(404, "MANIFEST_UNKNOWN")
            return
        media_type, body = repo.manifests[digest]
        if self.fault and self.fault.corrupt:
            body = body.replace(b'"schemaVersion": 2', b'"schemaVersion": 3')
        headers = {"docker-content-digest": digest} if self.reg.blob_headers else {}
        self.answer(200, body, content_type=media_type, **headers)

    def put_manifest(self, repo: Repo, reference: str) -> None:
        body = self.body()
        document = json.loads(body)
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        if ":" in reference and reference != digest:
            self.error(400, "DIGEST_INVALID")
            return
        parts = [document["config"]["digest"]] if "config" in document else []
        parts += [layer["digest"] for layer in document.get("layers", [])]
        missing = [d for d in parts if d not in repo.blobs]
        missing += [m["digest"] for m in document.get("manifests", []) if m["digest"] not in repo.manifests]
        if missing:
            self.error(404, "MANIFEST_BLOB_UNKNOWN", f"unknown: {missing}")
            return
        repo.manifests[digest] = (self.headers["content-type"], body)
        if ":" not in reference:
            repo.tags[reference] = digest
        headers = {}
        if self.reg.referrers_api and "subject" in document:
            headers["oci-subject"] = document["subject"]["digest"]
        self.answer(201, b"", docker_content_digest=digest, **headers)

    def delete_manifest(self, repo: Repo, digest: str) -> None:
        if not self.reg.deletes:
            self.error(405, "UNSUPPORTED")
            return
        with self.reg.lock:
            if repo.manifests.pop(digest, None) is None:
                self.error(404, "MANIFEST_UNKNOWN")
                return
            repo.tags = {tag: to for tag, to in repo.tags.items() if to != digest}
        self.answer(202)

    def catalog(self) -> None:
        if not self.reg.catalog:
            self.error(404, "NAME_UNKNOWN")
            return
        names = [name for name, repo in sorted(self.reg.repos.items()) if repo.manifests]
        self.answer(200, json.dumps({"repositories": names}).encode(), content_type="application/json")

    def referrers(self, name: str, digest: str) -> None:
        if not self.reg.referrers_api:
            self.answer(404, b"404 page not found")
            return
        found = []
        for own, (media_type, body) in self.reg.repo(name).manifests.items():
            document = json.loads(body)
            if document.get("subject", {}).get("digest") == digest:
                entry = {"mediaType": media_type, "digest": own, "size": len(body)}
                entry["artifactType"] = document.get("artifactType") or document["config"]["mediaType"]
                found.append(entry)
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": found}
        self.answer(200, json.dumps(index).encode(), content_type=INDEX)

    def tags(self, name: str) -> None:
        if name not in self.reg.repos:
            self.error(404, "NAME_UNKNOWN")
            return
        tags = sorted(self.reg.repo(name).tags)
        start = tags.index(self.query["last"]) + 1 if "last" in self.query else 0
        part = tags[start : start + self.reg.page]
        headers = {}
        if start + self.reg.page < len(tags):
            headers["link"] = f'</v2/{name}/tags/list?last={part[-1]}>; rel="next"'
        self.answer(200, json.dumps({"name": name, "tags": part}).encode(), **headers)


INDEX = "application/vnd.oci.image.index.v1+json"
ROUTES = (
    (r"/v2/(.+)/blobs/uploads/", "begin"),
    (r"/v2/(.+)/blobs/uploads/([0-9a-f]+)", "upload"),
    (r"/v2/(.+)/blobs/([^/]+)", "blob"),
    (r"/v2/(.+)/manifests/([^/]+)", "manifest"),
    (r"/v2/(.+)/referrers/([^/]+)", "referrers"),
    (r"/v2/(.+)/tags/list", "tags"),
    (r"/v2/_catalog", "catalog"),
    (r"/store/(.+)/([^/]+)", "stored"),
)


class Server(ThreadingHTTPServer):
    """The listening socket."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, registry: Registry) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.registry = registry


@contextmanager
def serving(registry: Registry) -> Iterator[Registry]:
    """Answer on a loopback port while the block runs; ``registry.host`` tells which."""
    server = Server(registry)
    registry.host = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
