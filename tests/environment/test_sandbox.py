"""A replica in the sandbox: what it sees, what it may, how it ends."""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from serinus.environment import Replica, wait
from serinus.environment.sandbox import Sandbox
from serinus.registry import Descriptor
from serinus.registry.layout import Layout

Tiny = tuple[Layout, Descriptor]


def get(port: int, path: str = "/") -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
        return json.loads(response.read())


@pytest.mark.sandbox
def test_a_replica_sees_its_image_alone(tiny: Tiny, port: int, cache: Path, monkeypatch: Any) -> None:
    layout, image = tiny
    monkeypatch.setenv("LEAKED", "from the host")
    running = Sandbox(cache=cache).start(Replica("tiny", layout, image, port))
    try:
        wait.ready(f"http://127.0.0.1:{port}", running, timeout=30)
        assert get(port, "/hello") == {
            "path": "/hello",
            "uid": 1234,
            "gid": 4321,
            "cwd": "/srv",
            "written": False,
            "version": image.digest,
            "word": "tweet",
            "leaked": None,
            "home": "/nest",
        }
    finally:
        code = running.stop(10)
    assert code == 7
    assert running.logs().splitlines()[-1] == "ending"
