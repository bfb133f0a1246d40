"""Each fault that is seeded into an example is caught by the check that should catch it, with its message."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from checked import checked, told
from faults import Fault

HERE = Path(__file__).parent


def every() -> Iterator[Fault]:
    """The faults of all layers."""
    for file in sorted(HERE.glob("faults_*.py")):
        yield from importlib.import_module(file.stem).FAULTS


@pytest.mark.sandbox
@pytest.mark.mmdebstrap
@pytest.mark.network
@pytest.mark.shared
@pytest.mark.parametrize("fault", tuple(every()), ids=lambda fault: f"{fault.example}: {fault.name}")
def test_the_fault_is_caught(fault: Fault, copy: Callable[[str], Path]) -> None:
    folder = copy(fault.example)
    fault.seed(folder)
    against = next(tag for tag in _tags(folder) if tag.endswith(":latest")) if fault.against else None
    verdict = checked(folder, fault.check, image=fault.image, against=against)[fault.check]
    assert verdict.status == ("warned" if fault.warns else "failed"), told(verdict)
    assert fault.message in told(verdict), told(verdict)


def _tags(folder: Path) -> tuple[str, ...]:
    from serinus.registry.layout import Layout

    return Layout(folder / ".serinus" / "layout").tags()
