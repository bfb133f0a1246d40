"""A replica that answers an example wrongly: closed, or open to those who look into it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from served import serving

from serinus.contract import Contract, Example

SERVICE = "def predict(n: int) -> int:\n    return n + 1\n"


def project(folder: Path) -> dict[str, Any]:
    """A service, and a contract whose example it answers wrongly."""
    (folder / "service.py").write_text(SERVICE)
    contract = Contract({"type": "integer"}, {"type": "integer"}, (Example(1, 7),))
    (folder / "contract.json").write_text(contract.to_json())
    return {"entrypoint": "service:predict", "contract": str(folder / "contract.json")}


@pytest.mark.parametrize(("environ", "status"), [({"SERINUS_EXAMPLES": "advisory"}, 200), ({}, 503)])
def test_a_wrong_example_closes_the_service_unless_it_is_advisory(
    tmp_path: Path, environ: dict[str, str], status: int
) -> None:
    with serving(tmp_path, wait=False, environ=environ, **project(tmp_path)) as served:
        document = served.until_ready(503).document
        assert document["examples"] == "failed"
        assert "7" in document["detail"]
        answer = served.post(1)
        assert answer.status == status
        assert status != 200 or answer.document == 2
