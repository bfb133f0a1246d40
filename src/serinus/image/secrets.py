"""What looks like a secret in the files of an image: private keys, tokens, passwords of clients.

Only patterns of high precision: what is found is a secret or was made to look like one, so a build may stop
for it. The forms are those that their issuers publish (RFC 7468 for PEM, the prefix of each token). A file
is looked at in its first :data:`LIMIT` bytes, by name and by content. What was found is named by file, line
and kind, and is never shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from serinus.errors import SecretFound

LIMIT = 1 << 20
"""Bytes of each file that are looked at, from its beginning."""
VERSION = 1
"""Of the patterns: what an older version found clean is looked at again."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A secret: where it stands and what kind it is, never what it says."""

    path: str
    line: int
    kind: str


@dataclass(frozen=True, slots=True)
class _Kind:
    name: str
    markers: tuple[bytes, ...]
    """One of these stands in every match: a search for them costs a hundredth of the expression's."""
    expression: bytes
    """Compiled (and kept by :mod:`re`) when a marker is found: most builds never need it."""
    files: str = ""
    """Matches the names of the files it applies to; empty is all."""


def _kind(name: str, markers: str, expression: bytes, files: str = "") -> _Kind:
    split = tuple(marker.encode() for marker in markers.split("|")) if markers else ()
    return _Kind(name, split, expression, files)


# A line break in a file, or as `\n` inside a JSON or Python string.
_BREAK = rb"(?:\\r|\\n|[\"' \t\r\n+])+"
_KINDS = (
    _kind(
        "private key",
        "PRIVATE KEY",
        rb"----[- ]BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?[- ]----"
        + _BREAK
        + rb"(?:[A-Za-z-]+: [^\\\n]*"
        + _BREAK
        + rb")*[A-Za-z0-9+/=]{16}",
    ),
    _kind("PuTTY private key", "PuTTY-User-Key-File-", rb"^PuTTY-User-Key-File-[1-9]: \S"),
    # Documentation uses keys that end in EXAMPLE; Amazon says that it gives out none.
    _kind(
        "AWS access key",
        "AKIA|ASIA",
        rb"(?<![A-Za-z0-9+/])A[KS]IA(?![A-Z0-9]*EXAMPLE)[A-Z2-7]{16}(?![A-Za-z0-9+/=])",
    ),
    _kind(
        "AWS secret key",
        "aws_secret_access_key",
        rb"aws_secret_access_key[\"']?\s*[:=]\s*[\"']?(?![A-Za-z0-9/+]*EXAMPLE)[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])",
    ),
    _kind("GitHub token", "ghp_|gho_|ghu_|ghs_|ghr_", rb"\bgh[pousr]_[A-Za-z0-9]{36,255}\b"),
    _kind("GitHub token", "github_pat_", rb"\bgithub_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}\b"),
    _kind("GitLab token", "glpat-", rb"\bglpat-[A-Za-z0-9_-]{20,}"),
    _kind("Slack token", "xox", rb"\bxox[abeoprs]-(?:\d+-)+[A-Za-z0-9]{10,}"),
    _kind(
        "Slack web hook",
        "hooks.slack.com",
        rb"hooks\.slack\.com/services/T[A-Z0-9]{6,}/B[A-Z0-9]{6,}/[A-Za-z0-9]{20,}",
    ),
    _kind("Google API key", "AIza", rb"\bAIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
    _kind("Google client secret", "GOCSPX-", rb"\bGOCSPX-[A-Za-z0-9_-]{28}(?![A-Za-z0-9_-])"),
    _kind("Stripe key", "k_live_", rb"\b[sr]k_live_[A-Za-z0-9]{24,}\b"),
    _kind("Hugging Face token", "hf_", rb"\bhf_[A-Za-z0-9]{34,40}\b"),
    _kind("PyPI token", "pypi-AgE", rb"\bpypi-AgE[A-Za-z0-9_-]{60,}"),
    _kind("npm token", "npm_", rb"\bnpm_[A-Za-z0-9]{36}\b"),
    _kind("npm token", "_authToken", rb"_authToken\s*=\s*[^\s$]{8,}"),
    _kind("Anthropic key", "sk-ant-", rb"\bsk-ant-[a-z0-9]+-[A-Za-z0-9_-]{40,}"),
    _kind("OpenAI key", "T3BlbkFJ", rb"\bsk-[A-Za-z0-9_-]*T3BlbkFJ[A-Za-z0-9_-]{20,}"),
    _kind("Azure storage key", "AccountKey=", rb"AccountKey=[A-Za-z0-9+/]{86}=="),
    _kind(
        "password of a registry",
        '"auth"',
        rb"\"auth\"\s*:\s*\"[A-Za-z0-9+/]{8,}={0,2}\"",
        r"\.(json|dockercfg)$",
    ),
    _kind("password of netrc", "password", rb"\bpassword\s+\S+", r"^[._]netrc$"),
    _kind("password of a package index", "password", rb"^\s*password\s*[:=]\s*\S+", r"^\.pypirc$"),
    _kind("password of git", "://", rb"://[^\s:/@]+:[^\s/@]+@", r"^\.git-credentials$"),
    _kind("password of PostgreSQL", ":", rb"^[^#\n]*(?::[^:\n]*){3}:[^:\n]+$", r"^\.pgpass$"),
    _kind(
        "password in the URL of a package index",
        "://",
        rb"://[^\s:/@]+:(?!\$|%|<|\*)[^\s/@]+@",
        r"(^requirements.*\.(txt|in)$|^(pip\.conf|pip\.ini|uv\.toml|\.condarc)$)",
    ),
    # Key stores are binary: DER (PKCS #12), Java's magic number, KeePass's signature.
    _kind(
        "key store",
        "",
        rb"\A(?:\x30[\x82-\x84]|\xfe\xed\xfe\xed|\x03\xd9\xa2\x9a)",
        r"\.(p12|pfx|jks|keystore|kdbx)$",
    ),
)  # fmt: skip


def scan(path: str, content: bytes) -> tuple[Finding, ...]:
    """What looks like a secret in one file.

    Args:
        path: of the file, for the names that say what it is.
        content: of the file; only the first :data:`LIMIT` bytes are looked at.

    Returns:
        One finding a line and kind, in the order of the lines.
    """
    content = content[:LIMIT]
    name = path.rpartition("/")[2]
    found: set[tuple[int, str]] = set()
    for kind in _KINDS:
        if kind.markers and not any(marker in content for marker in kind.markers):
            continue
        if kind.files and not re.search(kind.files, name, re.IGNORECASE):
            continue
        for match in re.finditer(kind.expression, content, re.MULTILINE):
            found.add((content.count(b"\n", 0, match.start()) + 1, kind.name))
    return tuple(Finding(path, line, kind) for line, kind in sorted(found))


def refuse(findings: Iterable[Finding]) -> None:
    """Stop a build for what was found.

    Raises:
        SecretFound: there is a finding; the message names each file, line and kind, not the secret.
    """
    listed: Sequence[Finding] = sorted(findings, key=lambda one: (one.path, one.line, one.kind))
    if not listed:
        return
    lines = "".join(f"\n  {one.path!r}, line {one.line}: {one.kind}" for one in listed)
    raise SecretFound(
        f"secrets would have gone into the image:{lines}",
        "Take them out and give them to the service by its environment; name a file in .serinusignore to "
        "keep it out of the image, or in [image] allow_secrets if it holds no secret.",
    )
