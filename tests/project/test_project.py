"""The project file: what is right is read, what is wrong is named with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.errors import ProjectError
from serinus.project import Image, Model, Project, Service
from serinus.project.file import KEPT, keys
from serinus.project.rules import line_of

GOOD = """\
# A service
[service]
name = "sentiment"
entrypoint = "service:predict"
deadline = "500ms"
max_body = "2MiB"

[image]
platforms = [
  "linux/amd64",
  "linux/arm64",
]
"""


def written(folder: Path, text: str, name: str = "serinus.toml") -> Path:
    (folder / name).write_text(text)
    return folder


def refused(folder: Path, text: str, name: str = "serinus.toml") -> str:
    with pytest.raises(ProjectError) as caught:
        Project.load(written(folder, text, name))
    return caught.value.message


def test_a_file_is_read_with_its_units_and_defaults(tmp_path: Path) -> None:
    project = Project.load(written(tmp_path, GOOD))
    assert project == Project(
        root=tmp_path.resolve(),
        service=Service(name="sentiment", entrypoint="service:predict", deadline=0.5, max_body=2 << 20),
        image=Image(platforms=("linux/amd64", "linux/arm64")),
    )
    assert project.service.port == 5000


def test_reading_again_gives_the_same_and_needs_no_pydantic(tmp_path: Path) -> None:
    first = Project.load(written(tmp_path, GOOD))
    assert (tmp_path / KEPT).is_file()
    assert Project.load(tmp_path) == first


@pytest.mark.parametrize("kept", ["", "[]", "{}", '{"key": 1}', "\0"])
def test_what_was_kept_may_be_garbage(tmp_path: Path, kept: str) -> None:
    first = Project.load(written(tmp_path, GOOD))
    (tmp_path / KEPT).write_text(kept)
    assert Project.load(tmp_path) == first


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    Project.load(written(tmp_path, GOOD))
    assert Project.load(written(tmp_path, GOOD.replace("500ms", "2s"))).service.deadline == 2.0
    assert "nam" in refused(tmp_path, GOOD.replace("name", "nam"))


def test_pyproject_holds_the_same_tables(tmp_path: Path) -> None:
    text = '[project]\nname="y"\n[tool.serinus.service]\nname = "x"\n[tool.serinus.model]\npath="m.onnx"\n'
    project = Project.load(written(tmp_path, text, "pyproject.toml"))
    assert (project.service.name, project.model) == ("x", Model(path="m.onnx"))
    message = refused(tmp_path, text.replace("path", "pth"), "pyproject.toml")
    assert message == f"{tmp_path}/pyproject.toml:6: unknown key model.pth; did you mean model.path?"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("deadline", "deadlin", ":5: unknown key service.deadlin; did you mean service.deadline?"),
        ("[image]", "[imag]", ":8: unknown key imag; did you mean image?"),
        ("platforms = [", "route = [", ":9: unknown key image.route; did you mean service.route?"),
        ('"500ms"', '"5 parsecs"', ':5: service.deadline = "5 parsecs"; expected a number of seconds, or'),
        ('"500ms"', "0", ":5: service.deadline = 0; expected a number greater than 0"),
        ('"500ms"', "true", ":5: service.deadline = True; expected a valid number"),
        ('"2MiB"', '"2MB"', ':6: service.max_body = "2MB"; expected a number of bytes, or'),
        ('"sentiment"', '"Sentiment!"', ':3: service.name = "Sentiment!"; expected a text that matches'),
        ('"linux/arm64"', '"windows"', ':9: image.platforms.1 = "windows"; expected a text that matches'),
        ('name = "sentiment"', "", ":2: no service.name; every project needs it"),
        ('entrypoint = "service:predict"', "", ": nothing to serve: expected service.entrypoint, or"),
        (
            '"service:predict"',
            '"service:predict"\nroute = "/metrics"',
            ':5: service.route = "/metrics"; expected',
        ),
        ("[image]", '[model]\npath = "../m"\n[image]', ':9: model.path = "../m"; expected a relative path'),
        (
            '"500ms"',
            '1\ninference = "gpu"',
            ':6: service.inference = "gpu"; expected a text that matches ^(?:auto|',
        ),
        (
            '"500ms"',
            "1\nthreads = 0",
            ":6: service.threads = 0; expected a number greater than or equal to 1",
        ),
        ('"500ms"', '1\nthreads = "all"', ':6: service.threads = "all"; expected a valid integer'),
        (
            '"500ms"',
            '1\ninference = "loop"\nthreads = 2',
            ": service.threads is given, and service.inference",
        ),
        ("[image]", '[contract]\nrequest = "r"\n[image]', ": contract.request and contract.response belong"),
        ("[image]", "[model]\nport = 1\n[image]", ":9: unknown key model.port; did you mean service.port?"),
        ("[image]", "[model]\nzzz = 1\n[image]", ":9: unknown key model.zzz; known here are source, path"),
    ],
)
def test_a_fault_names_line_key_and_what_was_expected(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert refused(tmp_path, GOOD.replace(old, new)).startswith(f"{tmp_path}/serinus.toml{message}")


def test_every_fault_is_named_at_once(tmp_path: Path) -> None:
    assert len(refused(tmp_path, "[service]\nname = 1\nport = 0\n[x]\n").splitlines()) == 3


def test_no_file_and_no_toml(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="^no serinus"):
        Project.load(tmp_path)
    assert "is not TOML" in refused(tmp_path, "[service\n")
    (tmp_path / "serinus.toml").write_bytes(b"\xff")
    with pytest.raises(ProjectError, match="not UTF-8 at byte 0"):
        Project.load(tmp_path)


def test_every_key_is_documented() -> None:
    undocumented = [name for name, _, text in keys() if len(text) < 10]
    assert not undocumented


names = st.text("abc", min_size=1, max_size=3)
values = st.one_of(st.integers(), st.lists(st.integers(), max_size=3), st.text("xyz [=]#\n", max_size=9))


@given(st.dictionaries(names, st.dictionaries(names, values, min_size=1, max_size=4), min_size=1, max_size=4))
def test_the_line_of_a_key_is_the_line_where_its_statement_begins(
    tables: dict[str, dict[str, object]],
) -> None:
    lines: list[str] = []
    expected = {}
    for table, members in tables.items():
        lines.append(f"[{table}]")
        for name, value in members.items():
            lines.append("# a comment")
            expected[table, name] = len(lines) + 1
            if isinstance(value, list):
                lines += [f"{name} = [", *(f"  {item}," for item in value), "]"]
            elif isinstance(value, str):
                lines += (f'{name} = """\n' + value + '"""').splitlines()
            else:
                lines.append(f"{name} = {value}")
    text = "\n".join(lines) + "\n"
    for (table, name), line in expected.items():
        assert line_of(text, [table, name]) == line
    assert line_of(text, ["absent"]) is None
