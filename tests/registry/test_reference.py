"""References are read as Docker reads them, and written back the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.errors import RegistryError
from serinus.registry.reference import Reference, parse

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("debian", Reference("docker.io", "library/debian")),
        ("debian:bookworm", Reference("docker.io", "library/debian", "bookworm")),
        ("acme/x", Reference("docker.io", "acme/x")),
        ("docker.io/acme/x:1", Reference("docker.io", "acme/x", "1")),
        ("docker.io/debian", Reference("docker.io", "library/debian")),
        ("index.docker.io/acme/x", Reference("docker.io", "acme/x")),
        ("localhost/x", Reference("localhost", "x")),
        ("localhost:5000/x:1", Reference("localhost:5000", "x", "1")),
        ("127.0.0.1:5000/a/b/c", Reference("127.0.0.1:5000", "a/b/c")),
        ("[::1]:5000/x", Reference("[::1]:5000", "x")),
        ("GHCR/x", Reference("GHCR", "x")),
        (f"ghcr.io/acme/x:1@sha256:{HEX}", Reference("ghcr.io", "acme/x", "1", f"sha256:{HEX}")),
        (
            f"ghcr.io/a__b/c--d/e.f_g@sha256:{HEX}",
            Reference("ghcr.io", "a__b/c--d/e.f_g", "", f"sha256:{HEX}"),
        ),
    ],
)
def test_what_people_write(text: str, expected: Reference) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "no repository"),
        ("ghcr.io/", "no repository"),
        ("ghcr.io/Acme/x", "'Acme' in the repository"),
        ("ghcr.io/acme//x", "'' in the repository"),
        ("ghcr.io/acme/x:", "nothing after ':'"),
        ("ghcr.io/acme/x:.1", "the tag '.1'"),
        ("ghcr.io/acme/x:" + "1" * 129, "the tag '111"),
        ("ghcr.io/acme/x@", "nothing after '@'"),
        ("ghcr.io/acme/x@sha256:12", "'sha256:12' is not a digest"),
        ("ghcr.io/acme/x@md5:" + HEX, "is not a digest"),
        ("https://ghcr.io/acme/x", "the scheme 'https'"),
        ("ghcr.io:port/x", "the registry 'ghcr.io:port'"),
        ("-a.io/x", "the registry '-a.io'"),
        ("ghcr.io/a___b", "'a___b' in the repository"),
        ("ghcr.io/" + "a" * 256, "a repository of 256 characters"),
        ("ghcr.io/acme/../x", "'..' in the repository"),
    ],
)
def test_an_error_says_which_part_is_wrong(text: str, part: str) -> None:
    with pytest.raises(RegistryError) as caught:
        parse(text)
    assert part in caught.value.message
    assert caught.value.todo


def test_docker_hub_answers_at_another_host() -> None:
    assert parse("acme/x").host == "registry-1.docker.io"
    assert parse("ghcr.io/acme/x").host == "ghcr.io"


def test_the_name_asked_for_is_the_digest_before_the_tag() -> None:
    assert parse("acme/x").name == "latest"
    assert parse("acme/x:1").name == "1"
    assert parse(f"acme/x:1@sha256:{HEX}").name == f"sha256:{HEX}"


words = st.from_regex(r"[a-z0-9]+((\.|_|__|-{1,3})[a-z0-9]+){0,2}", fullmatch=True)
references = st.builds(
    Reference,
    st.sampled_from(
        ["ghcr.io", "localhost", "localhost:5000", "127.0.0.1:80", "a-b.example.com", "[::1]:5000"]
    ),
    st.lists(words, min_size=1, max_size=4).map("/".join),
    st.just("") | st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,40}", fullmatch=True),
    st.just("") | st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True),
)


@given(references)
def test_what_is_written_is_read_back(reference: Reference) -> None:
    assert parse(str(reference)) == reference


@given(st.text(st.sampled_from("aA0./:@-_[]% \n\tsha256é"), max_size=40))
def test_any_text_is_a_reference_or_a_clear_error(text: str) -> None:
    told, reference = "", None
    try:
        reference = parse(text)
    except RegistryError as error:
        told = error.todo
    assert told or (reference and parse(str(reference)) == reference)
    assert ".." not in (reference.repository if reference else "")
    assert not set(" \n\t%") & set(str(reference))
