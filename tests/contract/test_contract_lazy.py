"""Stand-ins for third-party modules: harmless where nobody looks, noticed where the contract needs them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serinus.contract import lazy
from serinus.contract.infer import signature
from serinus.contract.lazy import NeededError, StandIn

USES = """
import heavy, heavy.part
import heavy.part as again
from heavy import Model, float32, decorate
from heavy.part import Tokenizer

SESSION = heavy.Session("model.onnx", options=heavy.Options(threads=2))
heavy.seed = 7
TYPES = heavy.Array[float32] | None
HANDLERS = {heavy.Error: 1}

class Network(Model, heavy.Mixin):
    weights: "heavy.Array"

@decorate(level=3)
def helper(x: heavy.Array | None, y: "heavy.part.Thing") -> heavy.Array: ...

def predict(texts: list[str], *, model: heavy.Session) -> dict[str, bool]:
    return SESSION.run(texts) > 0.5
"""


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package that cannot be imported without being noticed, and a project that uses it."""
    package = tmp_path / "library/heavy"
    package.mkdir(parents=True)
    for name in ("__init__.py", "part.py"):
        (package / name).write_text("raise AssertionError('it is run')\n")
    (tmp_path / "project").mkdir()
    monkeypatch.syspath_prepend(str(package.parent))
    yield tmp_path / "project"
    for name in [name for name in sys.modules if name.partition(".")[0] == "heavy"]:
        del sys.modules[name]


def run(source: str, project: Path) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": "service"}
    with lazy.imports(str(project)):
        exec(compile(source, "service.py", "exec", dont_inherit=True), namespace)
    return namespace


@pytest.mark.parametrize("first", ["", "from __future__ import annotations\n"])
def test_a_module_that_only_uses_a_library_is_none_the_wiser(library: Path, first: str) -> None:
    predict = run(first + USES, library)["predict"]
    lazy.refuse(predict)
    assert signature(predict).contract.request == {"type": "array", "items": {"type": "string"}}


@pytest.mark.parametrize(
    "source",
    [
        "import heavy\nif heavy.available(): pass",
        "import heavy\nif heavy.__version__ >= '2': pass",
        "import heavy\nif heavy.backend == 'x': pass",
        "import heavy\nif heavy.backend != 'x': pass",
        "import heavy\nif 'x' in heavy.backends: pass",
        "import heavy\nfor x in heavy.labels: pass",
        "import heavy\nlabels = list(heavy.labels)",
        "import heavy\nlabels = f'{heavy.label}'",
        "import heavy\nlabels = '%s' % heavy.label",
        "import heavy\nsize = int(heavy.size)",
        "import heavy\nsize = heavy.size + 1",
        "import heavy\nsize = range(heavy.size)",
        "import heavy\nsize = len(heavy.labels)",
        "import heavy\nwith heavy.session(): pass",
        "from heavy import *",
        "import heavy.absent",
        "import heavy.part.deeper",
    ],
)
def test_what_decides_something_is_needed(library: Path, source: str) -> None:
    with pytest.raises((NeededError, TypeError, ImportError)):
        run(source, library)


@pytest.mark.parametrize(
    "source",
    [
        "import heavy\ndef predict(x: heavy.Array) -> int: ...",
        "import heavy\ndef predict(x: int) -> 'heavy.Array': ...",
        "import heavy\ndef predict(x: int) -> list[heavy.Array]: ...",
        "import heavy\ndef predict(x: int) -> heavy.Array | None: ...",
        "import heavy\nfrom typing import Annotated\n"
        "def predict(x: Annotated[int, heavy.Positive()]) -> int: ...",
        "import heavy\nclass A(heavy.Struct):\n    x: int\ndef predict(x: A) -> int: ...",
        "import heavy\nfrom dataclasses import dataclass\n@dataclass\nclass A(heavy.Base):\n    x: int\n"
        "def predict(x: A) -> int: ...",
        "import heavy\n@heavy.define\nclass A:\n    x: int\ndef predict(x: A) -> int: ...",
        "import heavy\nfrom pydantic import BaseModel\nclass A(BaseModel, heavy.Mixin):\n    x: int\n"
        "def predict(x: A) -> int: ...",
        "import heavy\nfrom pydantic import BaseModel\nclass A(heavy.Mixin, BaseModel):\n    x: int\n"
        "def predict(x: A) -> int: ...",
        "import heavy\nfrom typing import Annotated\nfrom pydantic import Field\n"
        "def predict(x: Annotated[str, Field(max_length=heavy.LONGEST)]) -> int: ...",
        "import heavy\nclass A(metaclass=heavy.Meta):\n    x: int\ndef predict(x: A) -> int: ...",
        "import heavy\n@heavy.decorate\ndef predict(x: int) -> int: ...",
        "import heavy\npredict = heavy.App(__name__)",
        "import heavy as predict",
    ],
)
def test_a_contract_that_would_depend_on_a_stand_in_is_not_drawn(library: Path, source: str) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever it is, the program imports as ever then
        found = run(source, library)["predict"]
        lazy.refuse(found)
        signature(found)
    assert "it is run" not in str(caught.value)


def test_python_s_own_modules_are_left_alone(tmp_path: Path) -> None:
    """Some of them are in no list: the configuration of this build of Python is one."""
    import sysconfig

    name = sysconfig._get_sysconfigdata_name()  # type: ignore[attr-defined]
    assert lazy.LazyFinder(str(tmp_path)).find_spec(name) is None


def test_a_stand_in_says_what_it_stands_for() -> None:
    assert repr(StandIn("heavy").session(1)["x"].run) == "heavy.session()[].run"
    with pytest.raises(NeededError, match=r"heavy\.size is needed"):
        bool(StandIn("heavy").size)
