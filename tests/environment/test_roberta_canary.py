"""The scenario: RoBERTa is in charge, a second training of it comes, and callers notice nothing."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import given_roberta
import pytest
from given import Running

pytestmark = [
    pytest.mark.envoy,
    pytest.mark.sandbox,
    pytest.mark.mmdebstrap,
    pytest.mark.network,
    pytest.mark.shared,
]
RATE = 60


@pytest.fixture
def running(shared: Path) -> Iterator[Running]:
    """The first model in charge, the second one built; it is as good as the first, and another."""
    base = Path(tempfile.mkdtemp(prefix="serinus-tests-"))
    said = given_roberta.project(base / "roberta", shared, "--sentences", "1000")
    found = re.search(r"accuracy ([\d.]+) on 1296 others", said)
    assert found
    assert float(found[1]) == pytest.approx(0.877, abs=0.01)
    made = given_roberta.environment(base / "roberta")
    yield made
    made.down()
    shutil.rmtree(base)


def test_a_second_training_is_rolled_out_under_load(running: Running) -> None:
    running.up(None)
    running.load(RATE, "--bodies", str(given_roberta.bodies(running.folder)))
    command = [sys.executable, "-m", "serinus", "deploy", given_roberta.SECOND, "--watch", "--json"]
    done = subprocess.run(
        [*command, "-C", str(running.folder)], capture_output=True, text=True, timeout=120, check=False
    )
    seen = running.seen()
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{running.log[-3000:]}"
    told = json.loads(done.stdout)
    assert told["end"] == "promoted"
    assert [event["kind"] for event in told["events"] if event["kind"] in {"step", "switch", "promote"}] == [
        "step",
        "step",
        "switch",
        "promote",
    ]
    assert running.in_charge() == given_roberta.SECOND
    assert seen.nothing_wrong(RATE * 5)
    assert len(seen.versions) == 2
    assert seen.versions[told["version"]["digest"]] >= 90, "its answers went to callers on the way"
