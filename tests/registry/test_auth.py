"""Challenges, scopes, tokens, and where credentials come from: decisions, without a network."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.errors import RegistryError, Unauthorized
from serinus.registry.auth import (
    Challenge,
    Credentials,
    Token,
    choose,
    merge_scopes,
    parse_challenges,
    parse_token,
    scope,
    token_request,
)
from serinus.registry.credentials import Search, candidate_keys, find, parse_entry, run_program, variable_part
from serinus.registry.network import follow, is_loopback, same_origin
from serinus.registry.refusals import explain, refusal
from serinus.registry.retry import ATTEMPTS, LONGEST, delay, retry_after

words = st.from_regex(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", fullmatch=True)
values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"))
challenges = st.lists(
    st.tuples(words.map(str.lower), st.dictionaries(words.map(str.lower), values, max_size=4)),
    min_size=1,
    max_size=3,
)


def quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(challenges, st.sampled_from([", ", ",", " , ", ",, "]), st.sampled_from(["=", " = "]))
def test_what_a_server_writes_is_read(
    offered: list[tuple[str, dict[str, str]]], comma: str, equals: str
) -> None:
    header = comma.join(
        f"{scheme} {comma.join(f'{k}{equals}{quoted(v)}' for k, v in parameters.items())}".strip()
        for scheme, parameters in offered
    )
    assert [(c.scheme, dict(c.parameters)) for c in parse_challenges(header)] == offered


@given(st.text(st.sampled_from('Basic,="\\ realm\tx~/+é'), max_size=40))
def test_any_header_is_read_or_a_clear_error(header: str) -> None:
    try:
        found = parse_challenges(header)
    except RegistryError as error:
        text = error.message
    else:
        text = "".join(c.scheme for c in found)
    assert text or not header.strip(" \t,")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (
            'Bearer realm="https://a/token",service="r, x",scope="repository:a/b:pull,push"',
            [
                (
                    "bearer",
                    {"realm": "https://a/token", "service": "r, x", "scope": "repository:a/b:pull,push"},
                )
            ],
        ),
        ("BASIC REALM=simple", [("basic", {"realm": "simple"})]),
        ("Negotiate, Basic realm=x", [("negotiate", {}), ("basic", {"realm": "x"})]),
        ('Negotiate YWJj==, Basic realm="x"', [("negotiate", {}), ("basic", {"realm": "x"})]),
        ("", []),
    ],
)
def test_headers_from_the_wild(header: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    assert [(c.scheme, dict(c.parameters)) for c in parse_challenges(header)] == expected


def test_a_header_that_breaks_off_is_an_error_that_shows_where() -> None:
    with pytest.raises(RegistryError, match="from character 7 on"):
        parse_challenges('Bearer "oops')


def test_bearer_comes_before_basic_when_it_says_where() -> None:
    basic, bearer = Challenge("basic"), Challenge("bearer", {"realm": "https://x"})
    assert choose([basic, bearer]) == bearer
    assert choose([basic, Challenge("bearer")]) == basic
    assert choose([Challenge("negotiate")]) is None


verbs = st.lists(st.sampled_from(["pull", "push", "delete"]), min_size=1, max_size=3)
scopes = st.builds(lambda n, v: scope(n, *v), st.sampled_from(["a", "a/b", "c"]), verbs)


@given(st.lists(scopes))
def test_merged_scopes_grant_the_same(given_: list[str]) -> None:
    def grants(all_: Sequence[str]) -> set[tuple[str, str]]:
        return {(s.rpartition(":")[0], verb) for s in all_ for verb in s.rpartition(":")[2].split(",")}

    merged = merge_scopes(*given_)
    assert grants(merged) == grants(given_)
    assert merge_scopes(" ".join(reversed(merged))) == merged
    assert len({s.rpartition(":")[0] for s in merged}) == len(merged)


@given(st.one_of(st.none(), st.integers(), st.floats(allow_nan=False), st.text(), st.booleans()))
def test_a_token_is_used_for_less_than_its_life(expires: Any) -> None:
    token = parse_token(json.dumps({"token": "abc", "expires_in": expires}).encode(), 1000.0, "r")
    given_life = isinstance(expires, int | float) and not isinstance(expires, bool) and expires > 0
    assert token.until > 1000.0 or expires < 1e-9
    assert token.until <= 1000.0 + (expires if given_life else 60)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"token": ""}', b'{"token": 1}', b"\xff"])
def test_an_answer_without_a_token_is_an_error(body: bytes) -> None:
    with pytest.raises(RegistryError, match="the token server https://r gave no token"):
        parse_token(body, 0, "https://r")


def test_no_secret_stands_in_a_repr() -> None:
    mine = Credentials("user", "s3cret", "s3cret-i", "s3cret-b", "here")
    request = token_request(Challenge("bearer", {"realm": "https://r"}), ["s"], mine, plain=False)
    form = token_request(
        Challenge("bearer", {"realm": "https://r"}), ["s"], Credentials("u", "s3cret"), plain=False
    )
    for value in (mine, request, form, Token("s3cret", 1.0, "s3cret"), Search(mine, ())):
        assert "s3cret" not in repr(value) + str(value)
        assert mine.basic not in repr(value)


# Where credentials come from


def no_helper(command: Sequence[str], text: str) -> tuple[int, str]:
    raise FileNotFoundError(command[0])


def write(path: Path, document: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))


def encoded(username: str, password: str) -> str:
    return base64.b64encode(f"{username}:{password}".encode()).decode()


def test_a_registry_stands_in_variables_like_this() -> None:
    assert variable_part("ghcr.io") == "GHCR_IO"
    assert variable_part("127.0.0.1:5000") == "127_0_0_1_5000"
    assert variable_part("my-registry.example.com") == "MY_REGISTRY_EXAMPLE_COM"


def test_the_first_place_wins(tmp_path: Path) -> None:
    docker, run = tmp_path / "docker", tmp_path / "run"
    write(run / "containers/auth.json", {"auths": {"ghcr.io": {"auth": encoded("podman", "p")}}})
    environ = {"DOCKER_CONFIG": str(docker), "XDG_RUNTIME_DIR": str(run), "HOME": str(tmp_path)}
    order = []

    def user() -> str:
        found = find("ghcr.io", "acme/x", environ=environ, run=no_helper).credentials
        return found.username if found else ""

    order.append(user())
    write(docker / "config.json", {"auths": {"https://ghcr.io/v1/": {"auth": encoded("docker", "p")}}})
    order.append(user())
    common = {"HOST": "ghcr.io", "USERNAME": "common", "PASSWORD": "p"}
    environ |= {f"SERINUS_REGISTRY_{k}": v for k, v in common.items()}
    order.append(user())
    environ |= {"SERINUS_REGISTRY_GHCR_IO_USERNAME": "own", "SERINUS_REGISTRY_GHCR_IO_PASSWORD": "p"}
    order.append(user())
    assert order == ["podman", "docker", "common", "own"]


def test_the_common_variables_are_for_the_registry_they_name_alone(tmp_path: Path) -> None:
    environ = {"SERINUS_REGISTRY_USERNAME": "u", "SERINUS_REGISTRY_PASSWORD": "p"}
    with pytest.raises(Unauthorized, match="SERINUS_REGISTRY_HOST is not") as caught:
        find("ghcr.io", environ=environ, run=no_helper)
    assert "Set SERINUS_REGISTRY_HOST=ghcr.io" in caught.value.todo
    environ["SERINUS_REGISTRY_HOST"] = "ghcr.io"
    assert find("docker.io", environ=environ, run=no_helper).credentials is None
    environ["SERINUS_REGISTRY_TOKEN"] = "t"
    found = find("ghcr.io", environ=environ, run=no_helper).credentials
    assert found is not None
    assert (found.bearer_token, found.source) == ("t", "SERINUS_REGISTRY_TOKEN")


def test_a_user_without_a_password_is_an_error() -> None:
    with pytest.raises(Unauthorized, match="GHCR_IO_USERNAME is set and .*GHCR_IO_PASSWORD is not"):
        find("ghcr.io", environ={"SERINUS_REGISTRY_GHCR_IO_USERNAME": "u"}, run=no_helper)


def test_where_it_looked_is_told(tmp_path: Path) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text('{"auths": {"x": {"auth": "c2VjcmV0"')
    search = find("ghcr.io", environ={"HOME": str(tmp_path), "XDG_RUNTIME_DIR": "/nowhere"}, run=no_helper)
    assert search.credentials is None
    assert search.looked == (
        "SERINUS_REGISTRY_GHCR_IO_USERNAME",
        f"{tmp_path}/.docker/config.json (cannot be read: JSONDecodeError)",
        "/nowhere/containers/auth.json (not there)",
        "GITHUB_TOKEN",
    )


AZURE = json.dumps({"clientId": "id", "clientSecret": "s", "tenantId": "t", "subscriptionId": "u"})


@pytest.mark.parametrize(
    ("registry", "environ", "pair"),
    [
        ("docker.io", {"DOCKER_HUB_USERNAME": "u", "DOCKER_HUB_ACCESS_TOKEN": "s"}, ("u", "s")),
        ("docker.io", {"DOCKER_HUB_USERNAME": "u", "DOCKER_HUB_ACCESS_TOKEN": ""}, None),
        ("ghcr.io", {"GITHUB_TOKEN": "s", "GITHUB_ACTOR": "u"}, ("u", "s")),
        ("ghcr.io", {"GITHUB_TOKEN": "s"}, ("token", "s")),
        ("ghcr.io", {"GITHUB_TOKEN": ""}, None),
        ("acme.azurecr.io", {"AZURE_CREDENTIALS": AZURE}, ("id", "s")),
        ("acme.azurecr.io", {"AZURE_CREDENTIALS": "no JSON"}, None),
        ("acme.azurecr.io", {"AZURE_CREDENTIALS": "[1]"}, None),
        ("quay.io", {"GITHUB_TOKEN": "s", "AZURE_CREDENTIALS": AZURE, "DOCKER_HUB_USERNAME": "u"}, None),
        ("azurecr.io", {"AZURE_CREDENTIALS": AZURE}, None),
        ("ghcr.io.evil.example", {"GITHUB_TOKEN": "s"}, None),
    ],
)
def test_what_services_for_ci_set_goes_to_its_own_registry_alone(
    registry: str, environ: dict[str, str], pair: tuple[str, str] | None
) -> None:
    search = find(registry, environ=environ, run=no_helper)
    found = search.credentials
    assert (found and (found.username, found.password)) == pair
    assert "no JSON" not in str(search.looked).replace("(no JSON with clientId and clientSecret)", "")


def test_a_login_goes_before_what_a_service_for_ci_has_set(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"auths": {"ghcr.io": {"username": "me", "password": "mine"}}}))
    environ = {"DOCKER_CONFIG": str(tmp_path), "GITHUB_TOKEN": "s"}
    found = find("ghcr.io", environ=environ, run=no_helper).credentials
    assert found is not None
    assert found.username == "me"


def test_docker_hub_stands_under_its_old_address(tmp_path: Path) -> None:
    write(
        tmp_path / ".docker/config.json",
        {"auths": {"https://index.docker.io/v1/": {"auth": encoded("u", "p")}}},
    )
    found = find("docker.io", "acme/x", environ={"HOME": str(tmp_path)}, run=no_helper).credentials
    assert found is not None
    assert found.username == "u"


def test_the_most_exact_entry_wins() -> None:
    assert candidate_keys("quay.io", "a/b") == ("quay.io/a/b", "quay.io/a", "quay.io")
    assert candidate_keys("docker.io", "")[1] == "https://index.docker.io/v1/"


@pytest.mark.parametrize("config", [{"credHelpers": {"ghcr.io": "test"}}, {"credsStore": "test"}])
@pytest.mark.parametrize("user", ["canary", "<token>"])
def test_helpers_are_asked(tmp_path: Path, config: dict[str, Any], user: str) -> None:
    write(tmp_path / "config.json", config)
    asked = []

    def helper(command: Sequence[str], text: str) -> tuple[int, str]:
        asked.append((list(command), text))
        return 0, json.dumps({"ServerURL": text, "Username": user, "Secret": "s3cret"})

    found = find("ghcr.io", environ={"DOCKER_CONFIG": str(tmp_path)}, run=helper).credentials
    assert asked == [(["docker-credential-test", "get"], "ghcr.io")]
    assert found is not None
    assert (found.identity_token or found.password) == "s3cret"
    assert bool(found.identity_token) is (user == "<token>")
    assert found.source == "docker-credential-test"


@pytest.mark.parametrize("answer", [(1, "credentials not found"), (0, "no json"), (0, "[]"), (0, "{}")])
def test_a_helper_that_has_nothing_is_told_and_the_rest_is_tried(
    tmp_path: Path, answer: tuple[int, str]
) -> None:
    config = {"credsStore": "test", "auths": {"ghcr.io": {"auth": encoded("u", "p")}}}
    write(tmp_path / "config.json", config)
    environ = {"DOCKER_CONFIG": str(tmp_path)}
    search = find("ghcr.io", environ=environ, run=lambda c, t: answer)
    assert search.credentials == Credentials("u", "p", source=str(tmp_path / "config.json"))
    assert any("docker-credential-test (nothing for ghcr.io" in place for place in search.looked)
    search = find("quay.io", environ=environ, run=no_helper)
    assert "docker-credential-test (not installed)" in search.looked


def test_a_helper_cannot_be_any_program(tmp_path: Path) -> None:
    write(tmp_path / "config.json", {"credsStore": "../../bin/sh"})
    search = find("ghcr.io", environ={"DOCKER_CONFIG": str(tmp_path)}, run=lambda c, t: pytest.fail("ran"))
    assert search.credentials is None


def test_a_program_is_run_with_the_text_on_its_input() -> None:
    assert run_program(["cat"], "ghcr.io") == (0, "ghcr.io")
    with pytest.raises(FileNotFoundError):
        run_program(["docker-credential-that-is-not-there", "get"], "")


documents = st.recursive(
    st.none() | st.booleans() | st.text(), lambda inner: st.dictionaries(st.text(), inner, max_size=3)
)


@given(
    st.dictionaries(
        st.sampled_from(["auth", "username", "password", "identitytoken", "registrytoken"]), documents
    )
)
def test_any_entry_gives_something_to_use_or_nothing(entry: dict[str, Any]) -> None:
    found = parse_entry(entry, "here")
    assert found is None or (found.username and found.password) or found.identity_token or found.bearer_token


@given(st.text(st.characters(exclude_characters=":\0", codec="utf-8"), min_size=1), st.text(min_size=1))
def test_an_entry_is_read_as_docker_writes_it(username: str, password: str) -> None:
    found = parse_entry({"auth": encoded(username, password)}, "here")
    assert (
        found is None
        if not password.rstrip("\0")
        else found == Credentials(username, password.rstrip("\0"), source="here")
    )


# When to try again


@given(st.integers(1, 10_000), st.none() | st.floats(0, 1e6), st.floats(0, 1), st.integers(1, 10_000))
def test_waiting_is_bounded(attempt: int, asked: float | None, jitter: float, attempts: int) -> None:
    seconds = delay(attempt, asked, jitter, attempts)
    if attempt >= attempts or (asked or 0) > LONGEST:
        assert seconds is None
    else:
        assert seconds is not None
        assert (asked or 0) <= seconds <= LONGEST + 1


def test_waiting_grows() -> None:
    assert [delay(n, None, 1.0) for n in range(1, ATTEMPTS + 1)] == [0.5, 1.0, 2.0, 4.0, None]


@given(st.text(max_size=30), st.floats(0, 1e10))
def test_any_retry_after_is_a_time_or_nothing(value: str, now: float) -> None:
    seconds = retry_after(value, now)
    assert seconds is None or seconds >= 0


def test_retry_after_is_seconds_or_a_date() -> None:
    assert retry_after("120", 0) == 120
    assert retry_after("Thu, 01 Jan 1970 00:01:00 GMT", 10) == 50
    assert retry_after("Thu, 01 Jan 1970 00:01:00 GMT", 90) == 0
    assert retry_after("", 0) is None


@given(st.binary(max_size=500) | documents.map(lambda d: json.dumps({"errors": [d]}).encode()))
def test_any_refusal_can_be_told(body: bytes) -> None:
    assert len(explain(body)) <= 300
    for status in (400, 403, 404, 413, 418, 429, 500):
        assert refusal(status, body, None, "ghcr.io", "the blob x").todo


# Addresses


def test_loopback_is_this_machine_alone() -> None:
    near = ("localhost", "localhost:5000", "a.localhost", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000")
    far = ("localhost.example", "ghcr.io", "10.0.0.1:5000", "127.0.0.1.example", "[fe80::1]")
    assert [is_loopback(h) for h in (*near, *far)] == [True] * len(near) + [False] * len(far)


def test_locations_are_followed_and_never_into_the_clear() -> None:
    base = "https://r.io/v2/x/blobs/uploads/"
    assert follow(base, "/v2/x?a=b%2Fc") == "https://r.io/v2/x?a=b%2Fc"
    assert follow(base, "https://store.example/x") == "https://store.example/x"
    assert follow(base, "http://r.io/v2/y") == "https://r.io/v2/y"
    assert follow("http://localhost:1/v2/", "http://store:2/x") == "http://store:2/x"
    for wrong in ("http://store.example/x", "ftp://r.io/x", "file:///etc/passwd"):
        with pytest.raises(RegistryError, match="sent us on to"):
            follow(base, wrong)


def test_an_origin_is_scheme_host_and_port() -> None:
    assert same_origin("https://r.io/a", "https://r.io:443/b")
    for other in ("http://r.io/a", "https://r.io:444/a", "https://s.io/a"):
        assert not same_origin("https://r.io/a", other)
