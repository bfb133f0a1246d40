"""What the import of a module depends on: which edits are seen, and which may not be."""

from __future__ import annotations

import ast
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.contract.executed import executed
from serinus.image.skeleton import skeleton

MODULE = '''
"""A module."""
from dataclasses import dataclass

LIMIT = 3

def labels():
    return ["a", "b"][:LIMIT]

@dataclass
class Answer:
    """Documented."""
    label: str = labels()[0]

    def shout(self):
        return self.label.upper()

def predict(text: str, top: int = 1) -> Answer:
    """Says it."""
    def inner(x):
        return x
    return Answer(inner(text))

def stream():
    yield 1

async def later(text: str):
    return text
'''
RAN = frozenset({"labels"})


def shape(source: str, ran: frozenset[str] = RAN) -> str | None:
    return skeleton(source.encode(), ran)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("self.label.upper()", "self.label.lower() + 'x'"),
        ("        return x\n", "        return [x]\n"),
        ("return Answer(inner(text))", "print(text)\n    return Answer('b')"),
        ("yield 1", "yield from (1, 2)"),
        ("    return text\n", "    return await text\n"),
        ('"""A module."""', '"""A module."""  # with a comment'),
        ("LIMIT = 3", "LIMIT = (3)"),
    ],
)
def test_a_change_that_import_cannot_see(old: str, new: str) -> None:
    assert old in MODULE
    assert shape(MODULE.replace(old, new)) == shape(MODULE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 3", "LIMIT = 2"),
        ('["a", "b"]', '["b"]'),
        ("top: int = 1", "top: int = 2"),
        ("text: str, top", "text: int, top"),
        ("-> Answer", "-> str"),
        ("@dataclass", "@dataclass(frozen=True)"),
        ('"""Says it."""', '"""Says that."""'),
        ('"""Documented."""', '"""Told."""'),
        ("label: str =", "label: object ="),
        ("def shout", "def cry"),
        ("yield 1", "return 1"),
        ("async def later", "def later"),
        ("from dataclasses import dataclass", "from pydantic.dataclasses import dataclass"),
    ],
)
def test_a_change_that_import_may_see(old: str, new: str) -> None:
    assert old in MODULE
    assert shape(MODULE.replace(old, new)) != shape(MODULE)


def test_the_body_of_what_ran_counts_and_so_does_what_is_inside() -> None:
    ran = frozenset({"predict", "predict.<locals>.inner"})
    assert shape(MODULE.replace("return x\n", "return [x]\n"), ran) != shape(MODULE, ran)
    assert shape(MODULE.replace("return x\n", "return [x]\n"), frozenset({"predict"})) == shape(
        MODULE, frozenset({"predict"})
    )


def test_what_does_not_parse_has_none() -> None:
    assert shape("def predict(") is None
    assert skeleton(b"\xff\xfe", frozenset()) is None


names = st.sampled_from(["f", "g", "h"])
bodies = st.sampled_from(["return 1", "return x + 1", "y = x\n    return y", "pass", "raise ValueError(x)"])


@given(st.lists(st.tuples(names, bodies), min_size=1, max_size=4), bodies, st.data())
def test_only_bodies_of_what_ran_count(parts: list[tuple[str, str]], other: str, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(parts) - 1))
    changed = [(n, other) if i == number else (n, b) for i, (n, b) in enumerate(parts)]
    before, after = ("\n".join(f"def {n}(x):\n    {b}\n" for n, b in each) for each in (parts, changed))
    name = parts[number][0]
    assert shape(before, frozenset()) == shape(after, frozenset())
    same = ast.dump(ast.parse(before)) == ast.dump(ast.parse(after))
    assert (shape(before, frozenset({name})) == shape(after, frozenset({name}))) == same


def test_the_functions_that_run_are_collected_by_file_and_name(tmp_path: Path) -> None:
    module = tmp_path / "pack" / "mod.py"
    module.parent.mkdir()
    module.write_text(
        textwrap.dedent(
            """
            def used():
                def inner():
                    return 1
                return inner()
            def unused():
                return used()
            class A:
                def __init_subclass__(cls):
                    pass
            class B(A):
                x = used()
            """
        )
    )
    space: dict[str, object] = {"__name__": "mod"}
    with executed(str(tmp_path)) as ran:
        exec(compile(module.read_text(), str(module), "exec"), space)
    assert ran == {
        "pack/mod.py:used",
        "pack/mod.py:used.<locals>.inner",
        "pack/mod.py:A",
        "pack/mod.py:B",
        "pack/mod.py:A.__init_subclass__",
    }


def test_the_program_tells_what_ran(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(MODULE)
    command = [sys.executable, "-m", "serinus.contract.infer", "service:predict", "--lazy"]
    out = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert '"service.py:labels"' in out
    assert '"service.py:predict"' not in out
