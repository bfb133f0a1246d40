"""The fleet with an image that ``serinus build`` made: held to another's contract, and its answers noted."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serinus.environment.fleet.keep import RuntimeFleet
from serinus.environment.fleet.replicas import Limits
from serinus.image.build import build, layout_of
from serinus.project import Project
from serinus.registry import Descriptor
from serinus.registry.layout import Layout
from serinus.rollout import Health, Wanted
from serinus.runtimes.sandbox import Sandbox

SERVICE = """
def predict(texts: list[str]) -> dict[str, int]:
    return {"total": sum(map(len, texts))}
"""
STABLE = {"request": {}, "response": {"type": "object", "required": ["total", "reason"]}}
SMALL = {"request": {}, "response": {"type": "object", "properties": {"total": {"maximum": 5}}}}

pytestmark = [pytest.mark.sandbox, pytest.mark.mmdebstrap, pytest.mark.network]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Layout, Descriptor]:
    root = tmp_path_factory.mktemp("project")
    (root / "service.py").write_text(SERVICE)
    (root / "serinus.toml").write_text('[service]\nname = "total"\nentrypoint = "service:predict"\n')
    (root / "examples.jsonl").write_text('{"request": ["ab"], "response": {"total": 2}}\n')
    project = Project.load(root)
    return layout_of(project), build(project).descriptor


@pytest.fixture
def fleet(built: tuple[Layout, Descriptor], tmp_path: Path) -> Iterator[RuntimeFleet]:
    box = Sandbox(state=tmp_path / "replicas")
    made = RuntimeFleet(
        "serinus-images", box, lambda version: built, tmp_path, lead=0.3, limits=Limits(memory=2 << 30)
    )
    made.start()
    yield made
    made.close(stop=True)
    assert list((tmp_path / "replicas").iterdir()) == []


def until(true: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)


def post(address: tuple[str, int], body: object, identity: str) -> tuple[int, bytes, str | None]:
    request = urllib.request.Request(
        f"http://{address[0]}:{address[1]}/predict",
        json.dumps(body).encode(),
        {"content-type": "application/json", "x-request-id": identity, "serinus-record": "1"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read(), response.headers["serinus-violation"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), error.headers["serinus-violation"]


def test_a_candidate_is_held_to_stables_contract_and_its_answers_are_noted(
    fleet: RuntimeFleet, built: tuple[Layout, Descriptor]
) -> None:
    version = built[1].digest
    fleet.keep([Wanted(version, contract=json.dumps(STABLE), record=True)])
    until(lambda: fleet.look()[version].health is Health.FAILING)
    # Its own example is answered as stable never would have: it gets no traffic at all.
    assert "/reason: the member is missing" in fleet.look()[version].why
    fleet.keep([Wanted(version, record=True)])
    until(lambda: fleet.look()[version].health is Health.READY)
    [address] = fleet.look()[version].addresses
    assert post(address, ["abc"], "the-one") == (200, b'{"total":3}', None)
    had = b""

    def noted() -> list[dict[str, object]]:
        nonlocal had
        had += fleet.logs(version, len(had))
        lines = [json.loads(line) for line in had.splitlines()]
        return [line for line in lines if line.get("request_id") == "the-one"]

    until(noted)
    [line] = noted()
    assert (line["answer"], line["status"]) == ({"total": 3}, 200)
    # An answer that stable's callers do not expect is not given, and one replica makes way for the next.
    fleet.keep([Wanted(version, contract=json.dumps(SMALL), record=True)])
    until(lambda: fleet.look()[version].addresses not in ((address,), ()))
    [address] = fleet.look()[version].addresses
    assert post(address, ["abc"], "small") == (200, b'{"total":3}', None)
    status, _, pointer = post(address, ["abcdef"], "large")
    assert (status, pointer) == (500, "/total")
