"""Secrets are found by what they are, named, and never shown. The samples are put together here, so that no
file of this project holds anything that looks like a secret."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.errors import SecretFound
from serinus.image.secrets import LIMIT, Finding, refuse, scan

B64 = base64.b64encode(bytes(range(90))).decode()
KEY = "PRIVATE" + " KEY"
UPPER = "ABCDEFGHIJKLMNOP"


def pem(kind: str) -> str:
    return f"-----BEGIN {kind}-----\n{B64[:64]}\n{B64[:40]}\n-----END {kind}-----\n"


SAMPLES = [
    ("k.txt", pem(KEY), "private key"),
    ("k.txt", pem(f"RSA {KEY}"), "private key"),
    ("k.txt", pem(f"OPENSSH {KEY}"), "private key"),
    ("k.txt", pem(f"ENCRYPTED {KEY}"), "private key"),
    ("k", f"-----BEGIN RSA {KEY}-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES\n\n{B64}\n", "private key"),
    ("k.asc", f"-----BEGIN PGP {KEY} BLOCK-----\nVersion: 1\n\n{B64}\n", "private key"),
    ("k.crlf", pem(f"EC {KEY}").replace("\n", "\r\n"), "private key"),
    ("sa.json", json.dumps({"private_key": pem(KEY)}), "private key"),
    ("k.py", 'KEY = (\n    "-----BEGIN PRIVATE' + f' KEY-----\\n"\n    "{B64}"\n)', "private key"),
    ("k.txt", "PuTTY-User-Key-" + "File-3: ssh-ed25519\n", "PuTTY private key"),
    ("c.py", 'ID = "AK' + f'IA{UPPER}"', "AWS access key"),
    ("c.ini", "aws_secret_access" + f"_key = {B64[:40]}\n", "AWS secret key"),
    ("c.py", "gh" + "p_" + "a1" * 18, "GitHub token"),
    ("c.py", "github_" + "pat_" + "a" * 22 + "_" + "b" * 59, "GitHub token"),
    ("c.py", "glp" + "at-" + "a1B2" * 5, "GitLab token"),
    ("c.py", "xo" + "xb-123456789012-123456789012-" + "aB3" * 8, "Slack token"),
    ("c.py", "https://hooks.slack" + ".com/services/T00000000/B00000000/" + "x" * 24, "Slack web hook"),
    ("c.py", "AI" + "za" + "a_1" * 11 + "bc", "Google API key"),
    ("c.py", "GOC" + "SPX-" + "a_1b" * 7, "Google client secret"),
    ("c.py", "sk_" + "live_" + "a1" * 12, "Stripe key"),
    ("c.py", "h" + "f_" + "aB" * 17, "Hugging Face token"),
    ("c.py", "py" + "pi-AgE" + "a_1-" * 20, "PyPI token"),
    ("c.js", "np" + "m_" + "a1" * 18, "npm token"),
    (".npmrc", "//registry.example/:_auth" + "Token=abcdef0123456789\n", "npm token"),
    ("c.py", "sk-" + "ant-api03-" + "a_1-" * 20, "Anthropic key"),
    ("c.py", "sk-" + "proj-" + "a" * 20 + "T3Blbk" + "FJ" + "b" * 20, "OpenAI key"),
    ("c.py", "Account" + "Key=" + "a" * 86 + "==", "Azure storage key"),
    ("config.json", '{"auths": {"r.example": {"au' + 'th": "dXNlcjpwYXNz"}}}', "password of a registry"),
    (".netrc", "machine h login u pass" + "word hunter2\n", "password of netrc"),
    (".pypirc", "[x]\npass" + "word = hunter2\n", "password of a package index"),
    (".git-credentials", "https://u" + ":pw@h.example\n", "password of git"),
    (".pgpass", "h:5432:db:u" + ":pw\n", "password of PostgreSQL"),
    ("requirements.txt", "-i https://u" + ":hunter2@h/\n", "password in the URL of a package index"),
    ("store.p12", "\x30\x82", "key store"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "text", "kind"), SAMPLES, ids=[f"{kind}-{n}" for n, (*_, kind) in enumerate(SAMPLES)]
)
def test_each_kind_is_found_on_its_line(path: str, text: str, kind: str) -> None:
    content = text.encode("latin-1") if kind == "key store" else f"first\nsecond\n{text}".encode()
    line = 1 if kind == "key store" else 3
    found = scan(f"folder/{path}", content)
    assert kind in {finding.kind for finding in found}
    assert all(finding.path == f"folder/{path}" and finding.line >= line for finding in found)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("code.py", 'if "-----BEGIN PRIVATE' + ' KEY-----" in text: raise ValueError'),
        ("cert.txt", pem("CERTIFICATE")),
        ("pub.txt", pem("PUBLIC" + " KEY")),
        ("doc.md", "AK" + "IAIOSFODNN7EXAMPLE and wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        ("code.py", "token = os.environ['HF_TOKEN']; hf_hub_download('model')"),
        ("README.md", "the password of .netrc is secret"),
        ("requirements.txt", "--index-url https://${USER}:${PASSWORD}@h.example/simple\nnumpy==1.0"),
        ("vocab.json", json.dumps({f"Ġtoken{number}": number for number in range(5000)})),
        ("config.json", '{"architectures": ["Roberta"], "auth": null}'),
        ("hash.txt", "sha256:" + "ab" * 32),
        ("data.py", "A" * 5000),
        (".npmrc", "//registry.example/:_authToken=${NPM_TOKEN}\n"),
    ],
)
def test_what_is_no_secret_is_left_alone(path: str, text: str) -> None:
    assert scan(path, text.encode()) == ()


@given(st.binary(max_size=4000), st.sampled_from(["a.bin", "a.json", ".netrc", "requirements.txt"]))
def test_any_bytes_can_be_scanned(content: bytes, path: str) -> None:
    assert all(1 <= finding.line <= content.count(b"\n") + 1 for finding in scan(path, content))


@given(st.sampled_from([sample for sample in SAMPLES if sample[2] != "key store"]), st.integers(0, 50))
def test_the_error_names_file_line_and_kind_and_not_the_secret(
    sample: tuple[str, str, str], lines: int
) -> None:
    path, text, kind = sample
    findings = scan(path, b"\n" * lines + text.encode())
    with pytest.raises(SecretFound) as caught:
        refuse(findings)
    message = str(caught.value)
    assert repr(path) in message
    assert kind in message
    # The whole line, but for the words that also are the name of the kind.
    secret = max(set(text.split()) - {"password"}, key=len)
    assert secret not in message
    assert secret[-12:] not in message


def test_nothing_found_is_no_error() -> None:
    refuse(())


def test_all_findings_are_listed_in_order() -> None:
    with pytest.raises(SecretFound, match=r"(?s)'a', line 2: x\n.*'b', line 1: x"):
        refuse([Finding("b", 1, "x"), Finding("a", 2, "x")])


def test_only_the_beginning_is_looked_at() -> None:
    token = b"gh" + b"p_" + b"a1" * 18
    assert scan("f", b"\n" * (LIMIT - 100) + token)
    assert scan("f", b"\n" * LIMIT + token) == ()
