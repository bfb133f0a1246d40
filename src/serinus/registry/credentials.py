"""Where credentials for a registry are found.

The first of these places that has some wins:

1. ``SERINUS_REGISTRY_<HOST>_USERNAME`` and ``SERINUS_REGISTRY_<HOST>_PASSWORD``, or
   ``SERINUS_REGISTRY_<HOST>_TOKEN`` for a bearer token that is sent as it is. ``<HOST>`` is the registry as
   it stands in references, in upper case, everything but letters and digits as ``_``: ``GHCR_IO``,
   ``LOCALHOST_5000``, ``DOCKER_IO``.
2. ``SERINUS_REGISTRY_USERNAME`` and ``SERINUS_REGISTRY_PASSWORD`` (or ``SERINUS_REGISTRY_TOKEN``), for the
   one registry that ``SERINUS_REGISTRY_HOST`` names: without it they would go to every registry that asks.
3. ``$DOCKER_CONFIG/config.json``, else ``~/.docker/config.json``: ``credHelpers``, ``credsStore``, ``auths``.
4. ``$XDG_RUNTIME_DIR/containers/auth.json``, which Podman, Buildah and Skopeo write.
5. The variables by which services for continuous integration hand on secrets: for Docker Hub
   ``DOCKER_HUB_USERNAME`` and ``DOCKER_HUB_ACCESS_TOKEN``; for ghcr.io ``GITHUB_TOKEN``, with the user
   ``GITHUB_ACTOR``; for registries of Azure ``AZURE_CREDENTIALS``, the JSON of a service principal. They
   come last, since a developer may have set one for something else.

Credential helpers speak the protocol of docker-credential-helpers: ``docker-credential-NAME get``, the
server's name on stdin, JSON on stdout.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serinus.errors import Unauthorized
from serinus.registry.auth import Credentials
from serinus.registry.reference import HUB

PREFIX = "SERINUS_REGISTRY_"
DOCKER_HUB = ("DOCKER_HUB_USERNAME", "DOCKER_HUB_ACCESS_TOKEN")
GITHUB, GHCR = "GITHUB_TOKEN", "ghcr.io"
AZURE, AZURE_HOSTS = "AZURE_CREDENTIALS", ".azurecr.io"
_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io")
_IDENTITY = "<token>"

Run = Callable[[Sequence[str], str], tuple[int, str]]
"""Runs a program with a text on stdin; its exit code and stdout. Raises ``FileNotFoundError`` without it."""


@dataclass(frozen=True, slots=True)
class Search:
    """What a search for credentials found, and where it looked."""

    credentials: Credentials | None
    looked: tuple[str, ...]
    """Each place, and what was wrong with it where something was."""


def run_program(command: Sequence[str], text: str) -> tuple[int, str]:
    """Run a credential helper for at most 30 seconds.

    Raises:
        FileNotFoundError: there is no such program.
    """
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=30, check=False
        )  # what it may print to stderr could hold a secret, and is not shown
    except subprocess.TimeoutExpired:
        return 124, ""
    return done.returncode, done.stdout


def find(
    registry: str,
    repository: str = "",
    *,
    environ: Mapping[str, str] = os.environ,
    run: Run = run_program,
) -> Search:
    """Look for the credentials of a registry, in the places that this module's docstring lists.

    Args:
        registry: as it stands in references, ``docker.io`` for Docker Hub.
        repository: lets a more exact entry of a containers file win, ``quay.io/acme``.
        environ: the environment.
        run: runs a credential helper.

    Raises:
        Unauthorized: variables that contradict each other.
    """
    looked: list[str] = []
    if found := _from_environment(registry, environ, looked):
        return Search(found, tuple(looked))
    for path in _files(environ):
        document = _load(path, looked)
        if document is None:
            continue
        if found := from_file(document, registry, repository, str(path), run=run, looked=looked):
            return Search(found, tuple(looked))
    return Search(_from_services(registry, environ, looked), tuple(looked))


def variable_part(registry: str) -> str:
    """``ghcr.io`` -> ``GHCR_IO``: how a registry stands in the names of variables."""
    return re.sub(r"[^A-Z0-9]", "_", registry.upper())


def _from_environment(registry: str, environ: Mapping[str, str], looked: list[str]) -> Credentials | None:
    own = f"{PREFIX}{variable_part(registry)}_"
    looked.append(f"{own}USERNAME")
    if found := _from_variables(own, environ):
        return found
    common = _from_variables(PREFIX, environ)
    host = environ.get(f"{PREFIX}HOST", "")
    if common and not host:
        raise Unauthorized(
            f"{PREFIX}USERNAME or {PREFIX}TOKEN is set and {PREFIX}HOST is not; "
            "expected the registry that they are for",
            f"Set {PREFIX}HOST={registry}, or name the variables {own}USERNAME and {own}PASSWORD.",
        )
    return common if host == registry else None


def _from_variables(prefix: str, environ: Mapping[str, str]) -> Credentials | None:
    username, password, token = (environ.get(prefix + name, "") for name in ("USERNAME", "PASSWORD", "TOKEN"))
    if token:
        return Credentials(bearer_token=token, source=f"{prefix}TOKEN")
    if bool(username) != bool(password):
        there, missing = ("USERNAME", "PASSWORD") if username else ("PASSWORD", "USERNAME")
        raise Unauthorized(
            f"{prefix}{there} is set and {prefix}{missing} is not; expected both", f"Set {prefix}{missing}."
        )
    return Credentials(username, password, source=f"{prefix}USERNAME") if username else None


def _from_services(registry: str, environ: Mapping[str, str], looked: list[str]) -> Credentials | None:
    """What a service for continuous integration has set for this registry, and for no other."""
    if registry == HUB:
        looked.append(DOCKER_HUB[0])
        username, password = (environ.get(name, "") for name in DOCKER_HUB)
        return Credentials(username, password, source=DOCKER_HUB[0]) if username and password else None
    if registry == GHCR:
        looked.append(GITHUB)
        token = environ.get(GITHUB, "")
        # The token decides alone; the name only must not be empty.
        return Credentials(environ.get("GITHUB_ACTOR") or "token", token, source=GITHUB) if token else None
    if registry.endswith(AZURE_HOSTS):
        looked.append(AZURE)
        return _principal(environ.get(AZURE, ""), looked)
    return None


def _principal(text: str, looked: list[str]) -> Credentials | None:
    """A service principal: registries of Azure take its id and secret as user and password."""
    if not text:
        return None
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if isinstance(document, dict):
        username, password = _word(document, "clientId"), _word(document, "clientSecret")
        if username and password:
            return Credentials(username, password, source=AZURE)
    looked.append(f"{AZURE} (no JSON with clientId and clientSecret)")
    return None


def _files(environ: Mapping[str, str]) -> list[Path]:
    home = environ.get("HOME", "")
    folder = environ.get("DOCKER_CONFIG") or (f"{home}/.docker" if home else "")
    files = [Path(folder, "config.json")] if folder else []
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        files.append(Path(runtime, "containers", "auth.json"))
    return files


def _load(path: Path, looked: list[str]) -> dict[str, Any] | None:
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        looked.append(f"{path} (not there)")
    except (OSError, ValueError) as error:
        # Only the kind of error: the text of the file may be quoted in the error itself.
        looked.append(f"{path} (cannot be read: {type(error).__name__})")
    else:
        if isinstance(document, dict):
            return document
        looked.append(f"{path} (not a JSON object)")
    return None


def from_file(
    document: Mapping[str, Any], registry: str, repository: str, path: str, *, run: Run, looked: list[str]
) -> Credentials | None:
    """The credentials in a Docker or containers configuration: a helper before what is written in clear.

    What was found wrong on the way is added to ``looked``.
    """
    keys = candidate_keys(registry, repository)
    helpers = _table(document, "credHelpers")
    by_key = next(filter(None, (_word(helpers, key) for key in keys)), "")
    helper = by_key or _word(document, "credsStore")
    if helper:
        for server in _HUB_KEYS[:1] if registry == HUB else (registry, f"https://{registry}"):
            if found := _ask_helper(helper, server, run, looked):
                return found
    auths = {_bare(key): value for key, value in _table(document, "auths").items()}
    entries = (auths.get(_bare(key)) for key in keys)
    entry = next((e for e in entries if isinstance(e, dict) and e), None)
    if entry is None:
        looked.append(f"{path} (no entry for {registry})")
        return None
    found = parse_entry(entry, path)
    if found is None:
        looked.append(f"{path} (the entry for {registry} cannot be read)")
    return found


def candidate_keys(registry: str, repository: str) -> tuple[str, ...]:
    """Under which keys credentials may stand, the most exact first: repository, its folders, registry."""
    parts = repository.split("/") if repository else []
    nested = ["/".join([registry, *parts[:n]]) for n in range(len(parts), 0, -1)]
    return (*nested, registry, *(_HUB_KEYS if registry == HUB else ()))


def parse_entry(entry: Mapping[str, Any], source: str) -> Credentials | None:
    """One entry under ``auths``; None when there is nothing of use in it."""
    username, password = _word(entry, "username"), _word(entry, "password")
    if encoded := _word(entry, "auth"):
        try:
            username, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except ValueError:  # not base64, or not UTF-8
            return None
    password = password.rstrip("\0")
    if token := _word(entry, "identitytoken"):
        return Credentials(username, identity_token=token, source=source)
    if token := _word(entry, "registrytoken"):
        return Credentials(username, bearer_token=token, source=source)
    return Credentials(username, password, source=source) if username and password else None


def _ask_helper(name: str, server: str, run: Run, looked: list[str]) -> Credentials | None:
    program = f"docker-credential-{name}"
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        looked.append(f"{program!r} (not a name of a program)")
        return None
    try:
        code, output = run([program, "get"], server)
        answer = json.loads(output) if code == 0 else {}
    except FileNotFoundError:
        looked.append(f"{program} (not installed)")
        return None
    except ValueError:
        code, answer = 0, {}
    if not isinstance(answer, dict) or not _word(answer, "Secret"):
        looked.append(f"{program} (nothing for {server}, exit code {code})")
        return None
    username, secret = _word(answer, "Username"), _word(answer, "Secret")
    if username == _IDENTITY:
        return Credentials(identity_token=secret, source=program)
    return Credentials(username, secret, source=program)


def _table(document: Mapping[str, Any], member: str) -> Mapping[str, Any]:
    found = document.get(member)
    return found if isinstance(found, dict) else {}


def _word(document: Mapping[str, Any], member: str) -> str:
    found = document.get(member)
    return found if isinstance(found, str) else ""


def _bare(key: str) -> str:
    """``https://ghcr.io/`` -> ``ghcr.io``: older tools wrote addresses."""
    return re.sub(r"^https?://", "", key).removesuffix("/").removesuffix("/v1").removesuffix("/v2")
