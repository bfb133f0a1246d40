"""References: the name of an image in a registry, ``ghcr.io/acme/sentiment:1.2@sha256:...``.

Follows the grammar of the distribution project (``reference``), which Docker, Podman and Kubernetes share,
and its defaults: without a registry it is Docker Hub, and there a name of one part stands in ``library/``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from serinus.errors import RegistryError
from serinus.registry.content import split_digest

HUB = "docker.io"
_HUB_HOST = "registry-1.docker.io"
_HUB_NAMES = ("index.docker.io", "registry-1.docker.io", "registry.hub.docker.com")

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_REGISTRY = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:]+\])(?::[0-9]{{1,5}})?")
_PART = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_LONGEST = 255


@dataclass(frozen=True, slots=True)
class Reference:
    """The name of an image: registry, repository in it, and tag or digest or both or neither.

    Raises:
        RegistryError: when made of parts that break the grammar; the message says which and why.
    """

    registry: str
    """``ghcr.io``, ``127.0.0.1:5000``; Docker Hub is ``docker.io``."""
    repository: str
    """``acme/sentiment``."""
    tag: str = ""
    digest: str = ""

    def __post_init__(self) -> None:
        text = f"{self.registry}/{self.repository}"
        if not _REGISTRY.fullmatch(self.registry) or not _is_registry(self.registry):
            raise _wrong(
                text, f"the registry {self.registry!r}", "a host name with an optional port, like ghcr.io"
            )
        _check_repository(self.repository, text)
        if self.tag and not _TAG.fullmatch(self.tag):
            expected = "letters, digits, '_', '.', '-', at most 128, the first not '.' or '-'"
            raise _wrong(text, f"the tag {self.tag!r}", expected)
        if self.digest:
            split_digest(self.digest)

    @property
    def host(self) -> str:
        """Host and port of the registry's API (Docker Hub's is not its name)."""
        return _HUB_HOST if self.registry == HUB else self.registry

    @property
    def name(self) -> str:
        """What to ask the repository for: the digest, else the tag, else ``latest``."""
        return self.digest or self.tag or "latest"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.registry}/{self.repository}{tag}{digest}"


def parse(text: str) -> Reference:
    """Read a reference as a person writes it: ``debian``, ``acme/x:1``, ``localhost:5000/x@sha256:...``.

    Raises:
        RegistryError: it breaks the grammar; the message says which part and what was expected.
    """
    scheme, there, _ = text.partition("://")
    if there:
        raise _wrong(text, f"the scheme {scheme!r}", "a reference without one")
    rest, at, digest = text.partition("@")
    if at and not digest:
        raise _wrong(text, "nothing after '@'", "a digest")
    first, slash, remainder = rest.partition("/")
    if slash and _is_registry(first):
        registry, rest = first, remainder
    else:
        registry = HUB
    if registry in _HUB_NAMES:
        registry = HUB
    repository, colon, tag = rest.partition(":")
    if colon and not tag:
        raise _wrong(text, "nothing after ':'", "a tag")
    if registry == HUB and repository and "/" not in repository:
        repository = f"library/{repository}"
    return Reference(registry, repository, tag, digest)


def _is_registry(first: str) -> bool:
    """Whether the first part is a registry and not the first folder of a repository on Docker Hub."""
    return first == "localhost" or "." in first or ":" in first or first.lower() != first


def _check_repository(repository: str, text: str) -> None:
    if not repository:
        raise _wrong(text, "no repository", "one like acme/sentiment")
    if len(repository) > _LONGEST:
        raise _wrong(text, f"a repository of {len(repository)} characters", f"at most {_LONGEST}")
    for part in repository.split("/"):
        if not _PART.fullmatch(part):
            expected = "lower-case letters and digits, separated by '.', '_', '__' or '-'"
            raise _wrong(text, f"{part!r} in the repository", expected)


def _wrong(text: str, found: str, expected: str) -> RegistryError:
    return RegistryError(
        f"{text!r} is not an image reference: found {found}, expected {expected}",
        "Write it like ghcr.io/acme/sentiment:1.2.",
    )
