"""The server beside bare Granian, in turns in one run: how many times the processor time a request takes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from guarding import bare, cost, load
from served import free_port, serving
from test_hot_path import BODY, classifier

pytestmark = pytest.mark.wrk

ROUNDS, SECONDS, CONNECTIONS = 5, 1, 16
TIMES = 1.5
"""The best round is held to it: other load makes some rounds worse, and all of them only a request that goes
another way. `test_hot_path` finds the single call."""


def test_a_request_takes_not_many_times_what_bare_granian_takes(tmp_path: Path) -> None:
    classifier(tmp_path)
    port, body = free_port(), BODY.decode()
    with bare(tmp_path, port) as other, serving(tmp_path, model="model.onnx") as served:
        ports = {served.process.pid: served.port, other: port}
        ratios = []
        for number in range(ROUNDS + 1):
            found = {}
            for pid in sorted(ports, reverse=bool(number % 2)):
                found[pid] = cost(pid, partial(load, tmp_path, ports[pid], body, SECONDS, CONNECTIONS))
            ratios.append(found[served.process.pid] / found[other])
    measured = ratios[1:]  # the first round is there to warm both up
    assert min(measured) <= TIMES, f"ratios of the rounds: {[round(one, 2) for one in measured]}"
