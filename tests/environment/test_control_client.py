"""``serinus.Environment`` and ``serinus.Rollout`` against an environment over a real socket."""

from __future__ import annotations

import html.parser
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import serinus
from fakes.environment import URL, FakeEnvironment, running
from rollout.rollout_fakes import NEW, OLD
from serinus.environment.api.documents import plain, read
from serinus.environment.api.token import FILE
from serinus.environment.client import Environment, Look, Rollout
from serinus.environment.display import html as shown
from serinus.environment.place import ANNOUNCED, FOLDER, absolute, announce, announced, withdraw
from serinus.environment.status import Event, Status
from serinus.errors import CheckError, ControlError, NotFound, RolloutError, SerinusError
from serinus.rollout.state import End


@pytest.fixture
def env(tmp_path: Path) -> Iterator[FakeEnvironment]:
    with running(tmp_path) as made:
        yield made


@pytest.fixture
def client(env: FakeEnvironment) -> Environment:
    return Environment(env.folder.parent.parent)


def test_the_public_names_are_these() -> None:
    assert serinus.Environment is Environment
    assert serinus.Rollout is Rollout


# Where it is


def test_it_is_found_in_the_project_s_folder(
    env: FakeEnvironment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "serinus.toml").write_text("")
    assert Environment(tmp_path).status().environment == "mood"
    assert Environment(tmp_path / "serinus.toml").url == env.url
    monkeypatch.chdir(tmp_path)
    assert Environment().url == env.url
    assert Environment(env.url).status().url == URL, "the token of this folder is the one of this URL"


def test_variables_name_it(env: FakeEnvironment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path.parent)
    monkeypatch.setenv("SERINUS_CONTROL_URL", env.url)
    with pytest.raises(ControlError, match="there is no token"):
        Environment()
    monkeypatch.setenv("SERINUS_CONTROL_TOKEN", env.token)
    assert Environment().status().environment == "mood"
    monkeypatch.setenv("SERINUS_CONTROL_TOKEN", "wrong")
    with pytest.raises(ControlError, match="not the one in force"):
        Environment().status()
    monkeypatch.setenv("SERINUS_CONTROL_TOKEN", "é")
    with pytest.raises(ControlError, match="printable ASCII"):
        Environment()


def test_where_none_runs_it_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="no environment runs here") as caught:
        Environment(tmp_path)
    assert "serinus up" in caught.value.todo
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ControlError, match=f"no environment answers at http://127.0.0.1:{port}") as caught:
        Environment(f"http://127.0.0.1:{port}", "t").status()
    assert "serinus up" in caught.value.todo


def test_a_token_is_not_sent_to_who_listens_where_an_environment_was_killed(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    folder = tmp_path / FOLDER
    folder.mkdir(parents=True)
    (folder / ANNOUNCED).write_text(json.dumps({"url": "http://127.0.0.1:1", "process": ended.pid}))
    with pytest.raises(ControlError, match=f"its process {ended.pid} has ended"):
        Environment(tmp_path, "token")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"url": 1}', '{"url": "http://x", "process": "y"}'])
def test_a_damaged_announcement_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / ANNOUNCED).write_text(text)
    with pytest.raises(ControlError, match="cannot be read"):
        announced(tmp_path)


def test_an_announcement_is_taken_back_by_who_made_it(tmp_path: Path) -> None:
    announce(tmp_path, "http://127.0.0.1:9670")
    assert announced(tmp_path).process == os.getpid()
    (tmp_path / ANNOUNCED).write_text(json.dumps({"url": "http://127.0.0.1:1", "process": 1}))
    withdraw(tmp_path)
    assert (tmp_path / ANNOUNCED).exists()
    announce(tmp_path, "http://127.0.0.1:9670")
    withdraw(tmp_path)
    withdraw(tmp_path)
    assert not (tmp_path / ANNOUNCED).exists()


def test_a_token_that_others_may_read_is_not_used(env: FakeEnvironment, tmp_path: Path) -> None:
    (env.folder / FILE).chmod(0o640)
    with pytest.raises(ControlError, match="may be read by others"):
        Environment(tmp_path)


@pytest.mark.parametrize("url", ["http://example.com:9670", "http://10.0.0.1", "http://127.0.0.1.example"])
def test_the_token_does_not_travel_in_the_clear(url: str) -> None:
    with pytest.raises(ControlError, match="in the clear"):
        Environment(url, "token")


def test_what_is_no_control_api_is_told() -> None:
    for answer in (
        httpx.Response(200, text="hello"),
        httpx.Response(404, json={"a": 1}),
        httpx.Response(200, json=[]),
    ):
        other = Environment("http://127.0.0.1:1", "t", transport=httpx.MockTransport(lambda _, a=answer: a))
        with pytest.raises(ControlError, match="is no control API"):
            other.status()
    old = httpx.MockTransport(lambda _: httpx.Response(200, json={"environment": 1}))
    with pytest.raises(ControlError, match="this version of Serinus cannot read"):
        Environment("http://127.0.0.1:1", "t", transport=old).status()


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (httpx.ReadTimeout("x"), "has not answered"),
        (httpx.ReadError("reset"), "went away: reset"),
        (httpx.RemoteProtocolError("cut"), "went away: cut"),
    ],
)
def test_what_goes_wrong_on_the_way_is_told(raised: Exception, said: str) -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        raise raised

    with pytest.raises(ControlError, match=said):
        Environment("http://127.0.0.1:1", "t", transport=httpx.MockTransport(broken)).status()


# What it does


def test_errors_are_those_of_the_environment(client: Environment) -> None:
    with pytest.raises(NotFound, match="no image 'mood:z'") as missing:
        client.deploy("mood:z")
    assert missing.value.todo == "Build it first."
    with pytest.raises(CheckError):
        client.deploy("mood:unchecked")
    with pytest.raises(RolloutError, match="no rollout is under way"):
        client.promote()
    with pytest.raises(ControlError, match="expected one of canary"):
        client.deploy("mood:b", "sideways")


def test_a_rollout_tells_what_happens_and_ends(client: Environment) -> None:
    rollout = client.deploy("mood:b", "canary")
    assert (rollout.version.name, rollout.number, rollout.new) == ("mood:b", 2, True)
    events = list(rollout)
    assert all(isinstance(event, Event) for event in events)
    kinds = [event.kind for event in events]
    assert (kinds[0], kinds[-1]) == ("start", "promote")
    assert rollout.wait() is End.PROMOTED
    assert rollout.end is End.PROMOTED
    assert rollout.status.stable is not None
    assert rollout.status.stable.digest == NEW
    assert [event.kind for event in rollout] == kinds, "it can be looked at again"
    assert client.rollout is None


def test_a_rollout_that_is_sent_back(client: Environment, env: FakeEnvironment) -> None:
    env.bad = 1.0
    rollout = client.deploy("mood:b")
    assert rollout.wait(timeout=20) is End.ABORTED
    last = list(rollout)[-1]
    assert "more errors than stable" in last.message
    assert last.numbers["metric"] == "errors"


def test_one_takes_the_place_of_another(client: Environment, env: FakeEnvironment) -> None:
    env.requests = 0
    first = client.deploy("mood:b")
    second = client.deploy("mood:c")
    assert first.wait(20) is End.SUPERSEDED
    assert second.end is None
    found = client.rollout
    assert found is not None
    assert (found.number, found_events(found)[0].kind) == (second.number, "start")
    assert first.number != second.number


def found_events(rollout: Rollout) -> list[Event]:
    return list(next(rollout.looks(0.0)).events)


def test_what_is_in_charge_is_not_started_again(client: Environment) -> None:
    rollout = client.deploy("mood:a")
    assert (rollout.number, rollout.new, list(rollout)) == (0, False, [])
    assert rollout.wait() is End.PROMOTED
    assert "in charge already" in rollout.message


def test_waiting_has_an_end(client: Environment, env: FakeEnvironment) -> None:
    env.requests = 0
    rollout = client.deploy("mood:b")
    begin = time.monotonic()
    with pytest.raises(TimeoutError, match="not over after 0.3 s"):
        rollout.wait(timeout=0.3)
    assert time.monotonic() - begin < 5
    assert client.pause().rollout is not None
    assert client.resume().rollout is not None
    assert client.abort("enough").rollout is None
    assert rollout.wait(5) is End.ABORTED


def test_promote_and_undo(client: Environment, env: FakeEnvironment) -> None:
    rollout = client.deploy("mood:b")
    env.until(lambda: env.controller.view.state.rollout and env.controller.view.state.rollout.weight)
    client.promote(full=True)
    assert rollout.wait(20) is End.PROMOTED
    back = client.undo()
    assert back.rollout is not None
    assert back.rollout.strategy == "undo"
    env.until(lambda: env.controller.view.state.stable == OLD)


def test_logs_and_history(client: Environment, env: FakeEnvironment) -> None:
    env.wrote[OLD] = b"one\n"
    assert client.logs("stable") == ("one\n", 4)
    env.wrote[OLD] += b"two\n"
    assert client.logs("mood:a", 4) == ("two\n", 8)
    assert [event.kind for event in client.history()] == ["start", "ready", "promote"]
    assert [event.kind for event in client.history(after=1, limit=1)] == ["ready"]


def test_an_environment_that_goes_away_ends_the_watching(tmp_path: Path) -> None:
    with running(tmp_path) as env:
        client = Environment(tmp_path)
        env.requests = 0
        rollout = client.deploy("mood:b")
        said: list[SerinusError] = []

        def watch() -> None:
            try:
                list(rollout)
            except SerinusError as error:
                said.append(error)

        thread = threading.Thread(target=watch)
        thread.start()
        env.until(lambda: rollout._seen)
    thread.join(20)
    assert not thread.is_alive()
    assert said
    assert isinstance(said[0], ControlError)
    assert "serinus up" in said[0].todo
    assert "under way" in repr(rollout) or "waits for" in repr(rollout)
    assert "no environment answers" in rollout._repr_html_()
    assert "no environment answers" in client._repr_html_()


def test_a_path_is_meant_from_where_it_is_said(tmp_path: Path) -> None:
    assert absolute("oci:there:1", tmp_path) == f"oci:{tmp_path}/there:1"
    assert absolute("oci:/there", tmp_path) == "oci:/there:latest"
    assert absolute("mood:a", tmp_path) == "mood:a"
    assert absolute("oci:", tmp_path) == "oci:"


# Notebooks


class Tags(html.parser.HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_notebook_shows_it(client: Environment, env: FakeEnvironment) -> None:
    rollout = client.deploy("mood:b")
    env.until(lambda: env.controller.view.state.rollout and env.controller.view.state.rollout.weight)
    client.pause()
    text = rollout._repr_html_()
    for part in ("mood:b", "10 %", "violations", "promise", "waits for", "Rollout 2", "under way"):
        assert part in text
    assert "mood:a" in client._repr_html_()
    assert repr(client) == f"<serinus.Environment at {env.url}>"
    assert repr(rollout).startswith("<serinus.Rollout 2 of mood:b (bbbbbbbb): stepping at 10 %")


EVIL = st.text(st.sampled_from("<>&\"'/ \x00\x1b\ud800abc=script"), max_size=30)


@given(EVIL, EVIL, EVIL)
def test_what_is_told_becomes_no_markup(name: str, message: str, url: str) -> None:
    status = Status(**{**base(), "environment": name, "url": url, "trouble": message})
    tags = Tags(shown(status, name, message))
    assert tags.found <= {"div", "b", "code", "table", "thead", "tbody", "tr", "th", "td", "span"}
    assert tags.attributes <= {"style", "role", "aria-label"}
    assert not tags.open


def base() -> dict[str, object]:
    from serinus.environment.status import ArmTraffic, TrafficStatus, Weight

    nothing = ArmTraffic(0.0, None, None, None, None)
    return {
        "environment": "",
        "url": "",
        "stable": None,
        "previous": None,
        "weight": Weight(0.0, None),
        "versions": (),
        "rollout": None,
        "traffic": TrafficStatus(10.0, nothing, None),
        "trouble": "",
        "last": 0,
        "now": 0.0,
    }


def test_a_newer_environment_may_say_more(client: Environment) -> None:
    status = client.status()
    document = json.loads(json.dumps(plain(status)))
    document["new"] = {"a": 1}
    document["stable"]["new"] = 1
    assert read(Status, document) == status
    assert read(Look, {"events": [], "status": document}).status == status
    del document["stable"]["name"]
    with pytest.raises(ControlError):
        read(Status, document)
