"""The public names: there, documented, and free until they are used."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import serinus

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "python.md"


@pytest.mark.parametrize("name", serinus.__all__)
def test_a_public_name_is_there(name: str) -> None:
    assert getattr(serinus, name) is not None
    assert name in dir(serinus)


def test_every_public_name_is_documented() -> None:
    documented = set(re.findall(r"`serinus\.([A-Za-z_]+)", PAGE.read_text()))
    assert set(serinus.__all__) - {"__version__"} <= documented


def test_a_wrong_name_is_told_with_the_right_ones() -> None:
    with pytest.raises(AttributeError, match="'serinus' has no attribute 'biuld'; it has .*build"):
        _ = serinus.biuld


def test_importing_it_imports_nothing_of_ours() -> None:
    code = "import sys, serinus; print(*sorted(m for m in sys.modules if m.startswith('serinus')))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["serinus"]
