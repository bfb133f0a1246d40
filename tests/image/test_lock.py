"""The lock: read and rendered, compared with what is wanted, resolved and installed."""

from __future__ import annotations

import ast
import os
import sys
import threading
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.errors import LockError
from serinus.events import Event, Started
from serinus.image import install, lock, runtime
from serinus.image.lock import Inputs, Lock, LockedBase, Pin
from serinus.image.requirements import logical_lines
from serinus.image.requirements import read as read_requirements
from serinus.image.uv import UvError, explain, redacted
from serinus.project import Image as ImageTable
from serinus.project import Project, Service
from serinus.registry import Platform

ROOT = Path(__file__).parents[2]
A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64

names = st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,8}[a-z0-9])?", fullmatch=True)
versions = st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){0,2}(rc1|\.post2|\+cpu)?", fullmatch=True)
markers = st.sampled_from(["", "python_full_version < '3.12'", "sys_platform == 'win32' and extra != 'a'"])
digests = st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True)
hashes = st.sets(digests, min_size=1, max_size=3).map(lambda found: tuple(sorted(found)))
urls = st.just("https://example.com/six-1.0-py3-none-any.whl")
pins = st.one_of(
    st.builds(Pin, names, versions, markers, hashes),
    st.builds(Pin, names, st.just(""), markers, hashes, urls),
)
phrases = st.text(st.characters(codec="utf-8", exclude_categories=("Zs", "Zl", "Zp", "Cc", "Cs")), min_size=1)
lines = st.lists(phrases, max_size=3, unique=True).map(lambda found: tuple(sorted(found)))
locks = st.builds(
    Lock,
    st.from_regex(r"3\.[0-9]{1,2}", fullmatch=True),
    lines,
    lines,
    st.lists(pins, max_size=5).map(tuple),
    digests,
    st.lists(
        st.builds(
            LockedBase, st.just("debian:bookworm"), st.sampled_from(["linux/amd64", "linux/arm64"]), digests
        )
    ).map(tuple),
)


def project(root: Path, requirements: str | None = None, python: str = "3.11") -> Project:
    (root / "service.py").write_text("def predict(text: str) -> bool: ...\n")
    if requirements is not None:
        (root / "requirements.txt").write_text(requirements)
    return Project(
        root=root, service=Service(name="x", entrypoint="service:predict"), image=ImageTable(python=python)
    )


class Resolver:
    """Stands in for uv: writes what it is told into the output file, and keeps what it was asked."""

    def __init__(self, answer: str) -> None:
        self.answer = answer
        self.asked: list[tuple[str, ...]] = []
        self.given: list[str] = []
        self.sources: list[str] = []

    def __call__(self, arguments: Sequence[str], folder: Path) -> None:
        self.asked.append(tuple(arguments))
        out = Path(arguments[arguments.index("--output-file") + 1])
        self.given.append(out.read_text())
        self.sources.append(Path(arguments[arguments.index("--output-file") + 2]).read_text())
        out.write_text(self.answer)


# The text of the lock


@given(locks)
def test_a_lock_reads_as_it_was_written(value: Lock) -> None:
    assert lock.read(lock.render(value)) == value


@given(locks)
def test_equal_locks_have_equal_text_and_end_a_line(value: Lock) -> None:
    text = lock.render(value)
    assert lock.render(lock.read(text)) == text
    assert text.endswith("\n")


@given(locks, st.data())
def test_a_damaged_lock_is_an_error_or_a_lock_and_nothing_else(value: Lock, data: st.DataObject) -> None:
    text = lock.render(value)
    at = data.draw(st.integers(0, len(text)))
    damaged = text[:at] + data.draw(st.text(max_size=5)) + text[at + data.draw(st.integers(0, 5)) :]
    with suppress(LockError):
        assert isinstance(lock.read(damaged), Lock)


def test_a_lock_of_another_format_says_which_is_expected() -> None:
    with pytest.raises(LockError, match="format 1"):
        lock.read("# serinus lock 2: from the future\n")


def test_a_merge_conflict_is_named_by_its_line() -> None:
    value = Lock("3.11", (), (), (Pin("six", "1", "", (A,)),), A)
    text = lock.render(value).replace("six==1", "<<<<<<< ours\nsix==1")
    with pytest.raises(LockError, match=r"serinus\.lock:4: '<<<<<<< ours'"):
        lock.read(text)


def test_a_pin_without_hash_is_refused() -> None:
    text = lock.render(Lock("3.11", (), (), (), A)) + "six==1.0\n"
    with pytest.raises(LockError, match="the hashes of its files"):
        lock.read(text)


# What changed


@given(lines, lines)
def test_changes_are_told_exactly_when_the_lock_is_out_of_date(
    old: tuple[str, ...], new: tuple[str, ...]
) -> None:
    before, wanted = Inputs("3.11", old), Inputs("3.11", new)
    value = Lock("3.11", old, (), (), before.digest)
    assert bool(lock.changes(value, wanted)) is not lock.is_current(value, wanted)


def test_changes_name_lines_and_python() -> None:
    value = Lock("3.11", ("flask>=2", "numpy"), ("granian>=2",), (), A)
    told = lock.changes(value, Inputs("3.12", ("flask>=3", "numpy"), ("granian>=3",)))
    assert told == (
        "Python 3.11 became 3.12",
        "'flask>=3' was added",
        "'flask>=2' was removed",
        "'granian>=3' (Serinus) was added",
        "'granian>=2' (Serinus) was removed",
    )


def test_the_digest_tells_apart_what_could_run_together() -> None:
    digests = {
        Inputs("3.11", ("a", "b"), ()).digest,
        Inputs("3.11", ("a",), ("b",)).digest,
        Inputs("3.11", (), ("a", "b")).digest,
        Inputs("3.1", ("1", "a"), ("b",)).digest,
    }
    assert len(digests) == 4


# Bases


def test_bases_are_kept_by_platform_and_another_reference_drops_them() -> None:
    value = Lock("3.11", (), (), (), A)
    value = value.with_base("debian:bookworm", "linux/arm64", B).with_base(
        "debian:bookworm", "linux/amd64", A
    )
    assert value.base("debian:bookworm", "linux/arm64") == B
    assert [b.platform for b in value.bases] == ["linux/amd64", "linux/arm64"]
    assert value.base("debian:trixie", "linux/arm64") is None
    assert value.with_base("debian:trixie", "linux/amd64", B).bases == (
        LockedBase("debian:trixie", "linux/amd64", B),
    )


# ensure


def test_a_missing_lock_is_made_and_a_current_one_left_alone(tmp_path: Path) -> None:
    uv = Resolver(f"six==1.17.0 \\\n    --hash={A}\n")
    seen: list[Event] = []
    made, _ = lock.ensure(project(tmp_path, "six\n"), run=uv, observer=seen.append)
    assert made.pins == (Pin("six", "1.17.0", "", (A,)),)
    assert seen[0] == Started("lock")
    again, _ = lock.ensure(project(tmp_path), run=uv)
    assert again == made
    assert len(uv.asked) == 1


def test_pins_of_an_outdated_lock_are_preferred_and_its_bases_kept(tmp_path: Path) -> None:
    uv = Resolver(f"six==1.17.0 \\\n    --hash={A}\n")
    made, _ = lock.ensure(project(tmp_path, "six\n"), run=uv)
    lock.save(tmp_path / "serinus.lock", made.with_base("debian:bookworm", "linux/amd64", B))
    newer, _ = lock.ensure(project(tmp_path, "six\nflask\n"), run=uv)
    assert "six==1.17.0" in uv.given[1]
    assert newer.base("debian:bookworm", "linux/amd64") == B
    assert newer.project == ("flask", "six")


def test_of_two_who_miss_the_lock_at_once_the_second_takes_that_of_the_first(tmp_path: Path) -> None:
    uv, other = Resolver(f"six==1.17.0 \\\n    --hash={A}\n"), Resolver("")
    mine = project(tmp_path, "six\n")
    found: list[Lock] = []
    second = threading.Thread(target=lambda: found.append(lock.ensure(mine, run=other)[0]))

    def slowly(arguments: Sequence[str], folder: Path) -> None:
        second.start()
        second.join(0.2)
        uv(arguments, folder)

    made, _ = lock.ensure(mine, run=slowly)
    second.join(10)
    assert (found, other.asked) == ([made], [])


def test_a_missing_lock_is_an_error_under_locked(tmp_path: Path) -> None:
    with pytest.raises(LockError, match="--locked"):
        lock.ensure(project(tmp_path), locked=True, run=Resolver(""))


def test_an_outdated_lock_under_locked_names_what_changed(tmp_path: Path) -> None:
    lock.ensure(project(tmp_path, "six\n"), run=Resolver(""))
    with pytest.raises(LockError, match="'flask' was added; 'six' was removed"):
        lock.ensure(project(tmp_path, "flask\n"), locked=True, run=Resolver(""))


def test_a_failure_keeps_the_old_lock_and_gives_uvs_words(tmp_path: Path) -> None:
    lock.ensure(project(tmp_path, "six\n"), run=Resolver(""))
    before = (tmp_path / "serinus.lock").read_bytes()

    def refuse(arguments: Sequence[str], folder: Path) -> None:
        raise UvError("there is no version of six==99")

    with pytest.raises(LockError, match="no version of six==99"):
        lock.ensure(project(tmp_path, "six==99\n"), run=refuse)
    assert (tmp_path / "serinus.lock").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["requirements.txt", "serinus.lock", "service.py"]


def test_credentials_that_uv_expanded_do_not_get_into_the_lock(tmp_path: Path) -> None:
    uv = Resolver(f"six @ https://me:hidden@example.com/six-1-py3-none-any.whl \\\n    --hash={A}\n")
    with pytest.raises(LockError, match="holds credentials") as caught:
        lock.ensure(project(tmp_path, "six\n"), run=uv)
    assert "hidden" not in str(caught.value)
    assert not (tmp_path / "serinus.lock").exists()


# Requirements as they are written


def test_includes_constraints_and_options_are_followed(tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("numpy>=1 \\\n  , <3  # why\n-r requirements.txt\n")
    (tmp_path / "limits.txt").write_text("flask<4\n")
    (tmp_path / "requirements.txt").write_text(
        "-r more.txt\n--constraint=limits.txt\n--extra-index-url https://me:hidden@example.com/simple\n"
        "--find-links wheels\n--pre\nrequests[socks]==2.0 --hash=sha256:00\n"
    )
    written = read_requirements(tmp_path, None)
    assert set(written.lines) >= {
        "numpy>=1 , <3",
        "constraint flask<4",
        "option --pre",
        "requests[socks]==2.0",
    }
    assert "example.com" not in repr(written.lines)
    assert written.index == (
        "--extra-index-url https://me:hidden@example.com/simple",
        f"--find-links {tmp_path / 'wheels'}",
    )
    assert "hidden" not in repr(written)


def test_another_index_is_another_lock(tmp_path: Path) -> None:
    first = lock.inputs(project(tmp_path, "--index-url https://one.example.com\nsix\n")).digest
    assert lock.inputs(project(tmp_path, "--index-url https://two.example.com\nsix\n")).digest != first


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("-e .", "editable"),
        ("./wheels/six.whl", "file or folder"),
        ("six-1-py3-none-any.whl", "file or folder"),
        ("six @ file:///six.whl", "file or folder"),
        ("git+https://example.com/six", "version control"),
        ("six @ git+ssh://git@example.com/six", "credentials|version control"),
        ("six @ https://me:hidden@example.com/six.whl", "credentials"),
        ("six @ https://${TOKEN}@example.com/six.whl", "credentials"),
    ],
)
def test_what_no_hash_can_pin_is_named_with_its_line(tmp_path: Path, line: str, what: str) -> None:
    (tmp_path / "requirements.txt").write_text(f"# first\n{line}\n")
    with pytest.raises(LockError, match=what) as caught:
        read_requirements(tmp_path, None)
    assert "requirements.txt:2" in str(caught.value)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    "line", ["six", "six @ https://example.com/six-1-py3-none-any.whl", "a.b[c]>=1;python_version>'3'"]
)
def test_ordinary_requirements_are_taken(tmp_path: Path, line: str) -> None:
    (tmp_path / "requirements.txt").write_text(line)
    assert read_requirements(tmp_path, None).lines == (line,)


def test_a_pyproject_gives_its_dependencies(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\ndependencies = ["six>=1", "flask"]\n')
    uv = Resolver("")
    lock.ensure(
        project(
            tmp_path,
        ),
        run=uv,
    )
    assert "flask" not in uv.sources[0]
    named = Project(root=tmp_path, service=Service(name="x"), image=ImageTable(requirements="pyproject.toml"))
    made, _ = lock.ensure(named, run=uv)
    assert made.project == ("flask", "six>=1")
    assert "flask\nsix>=1\n" in uv.sources[1]


def test_dynamic_dependencies_of_a_pyproject_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\ndynamic = ["dependencies"]\n')
    with pytest.raises(LockError, match="dynamic"):
        read_requirements(tmp_path, "pyproject.toml")


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_named_file_that_cannot_be_read_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    if content:
        (tmp_path / "needs.txt").write_bytes(content)
    with pytest.raises(LockError, match=r"needs\.txt cannot be read"):
        read_requirements(tmp_path, "needs.txt")


@given(st.lists(st.from_regex(r"[a-z]{1,5}[<>=]=[0-9]", fullmatch=True), max_size=5))
def test_lines_are_found_whatever_stands_between_them(written: list[str]) -> None:
    text = "\n\n# a comment \\\n".join(line.replace("=", "\\\n =", 1) for line in written)
    assert [line.replace(" ", "") for _, line in logical_lines(text)] == written


@given(st.text())
def test_any_text_gives_lines_without_ends(text: str) -> None:
    for number, line in logical_lines(text):
        assert number >= 1
        assert line.strip() == line != ""


# What uv says


def test_uvs_explanation_is_kept_and_its_chatter_is_not() -> None:
    said = (
        "Using CPython 3.11.7 interpreter at: /home/me/python\nwarning: something\n"
        "error: No solution found when resolving dependencies\n"
        "  cause: Because there is no version of numpy==99 and you require\n      numpy==99, nothing.\n\n"
        "hint: Try another.\nResolved nothing\n"
    )
    assert explain(said) == (
        "No solution found when resolving dependencies\n"
        "  cause: Because there is no version of numpy==99 and you require\n      numpy==99, nothing.\n"
        "hint: Try another."
    )


@given(st.text(st.characters(exclude_characters="/@", exclude_categories=("Z", "C")), min_size=1))
def test_credentials_are_never_told(secret: str) -> None:
    said = explain(f"error: Failed to fetch: https://{secret}@example.com/simple")
    assert said == "Failed to fetch: https://***@example.com/simple"
    assert redacted(redacted(said)) == redacted(said)


@given(st.text())
def test_an_explanation_is_short(said: str) -> None:
    assert len(explain("error: " + said)) <= 1500


# What of Serinus goes in


def test_what_serving_requires_is_what_the_package_requires() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = {*declared["dependencies"], *declared["optional-dependencies"]["onnx"]}
    required = {line for kind in ("function", "app", "onnx") for line in runtime.requirements(kind)}
    assert required <= lines


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("def predict(x: int) -> int: ...", "function"),
        ("async def predict(x: int) -> int: ...", "function"),
        ("import serinus\npredict = serinus.batched()(f)", "function"),
        ("from elsewhere import predict", "function"),
        ("from flask import Flask\npredict = Flask(__name__)", "app"),
        ("import fastapi\npredict: fastapi.FastAPI = fastapi.FastAPI()", "app"),
        ("def predict(environ, start_response): ...", "app"),
        ("async def predict(scope, receive, send): ...", "app"),
        ("def predict(", "function"),
        ("predict = Flask()\ndef predict(x: int) -> int: ...", "function"),
    ],
)
def test_the_kind_of_service_is_told_from_its_source(tmp_path: Path, source: str, kind: str) -> None:
    found = project(tmp_path)
    (tmp_path / "service.py").write_text(source)
    assert runtime.kind_of(found) == kind


def test_a_project_without_entrypoint_is_a_bare_onnx_file(tmp_path: Path) -> None:
    assert runtime.kind_of(Project(root=tmp_path, service=Service(name="x"))) == "onnx"


def _imports(file: Path) -> set[str]:
    """The modules that a file imports when it is itself imported."""
    found = set()
    for node in ast.parse(file.read_bytes()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return found


def test_the_runtime_files_need_no_module_of_serinus_that_is_not_among_them() -> None:
    files = dict(runtime.runtime_files())
    prefix = "/opt/serinus/runtime/"
    for file in files.values():
        for module in _imports(file):
            if module.split(".")[0] == "serinus":
                place = prefix + module.replace(".", "/")
                assert f"{place}.py" in files or f"{place}/__init__.py" in files, (file, module)


def test_the_runtime_files_are_python_alone_and_sorted() -> None:
    paths = [path for path, _ in runtime.runtime_files()]
    assert paths == sorted(set(paths))
    assert all(path.endswith(".py") for path in paths)
    assert "/opt/serinus/runtime/serinus/serving/__init__.py" in paths
    assert not any("image" in path or "cli" in path for path in paths)


# Installing


def test_a_record_loses_what_is_not_in_the_tree() -> None:
    record = (
        "x-1.dist-info/RECORD,,\n../../bin/x,sha256=1,2\nbin/x,sha256=1,2\nx/__pycache__/a.cpython-311.pyc,,\n"
        'x-1.dist-info/INSTALLER,sha256=3,4\n"x/a,b.py",sha256=5,6\n'
    )
    assert install.cleaned_record(record) == 'x-1.dist-info/RECORD,,\n"x/a,b.py",sha256=5,6\n'


@given(locks, st.sampled_from(["3.11", "3.12"]), st.sampled_from(["amd64", "arm64"]))
def test_the_key_of_a_tree_follows_pins_platform_and_python_alone(
    value: Lock, python: str, machine: str
) -> None:
    key = install.key(value, Platform(architecture=machine), python)
    assert key == install.key(value.with_base("x", "linux/amd64", A), Platform(architecture=machine), python)
    assert key != install.key(value, Platform(architecture="riscv64"), python)


def test_a_tree_is_installed_once_and_a_failure_leaves_nothing(tmp_path: Path) -> None:
    value = Lock("3.11", (), (), (Pin("six", "1", "", (A,)),), A)
    calls: list[str] = []

    def fail(arguments: Sequence[str], folder: Path) -> None:
        raise UvError("no wheels for you")

    def succeed(arguments: Sequence[str], folder: Path) -> None:
        target = Path(arguments[arguments.index("--target") + 1])
        calls.append(Path(arguments[arguments.index("--requirements") + 1]).read_text())
        (target / "bin").mkdir()
        (target / "bin/six").write_text("#!/home/me/python")
        (target / ".lock").write_text("")
        (target / "six.py").write_text("x = 1\n")

    with pytest.raises(LockError, match="no wheels for you"):
        install.tree(value, Platform(), "3.11", cache=tmp_path, run=fail)
    assert list((tmp_path / "trees").iterdir()) == []
    for _ in range(2):
        tree = install.tree(value, Platform(), "3.11", cache=tmp_path, index=["--no-index"], run=succeed)
    assert [p.name for p in tree.iterdir()] == ["six.py"]
    assert [p.name for p in (tmp_path / "trees").iterdir()] == [tree.name]
    assert calls == [f"--no-index\nsix==1 \\\n    --hash={A}\n"]


def test_of_two_that_install_at_once_the_first_stays(tmp_path: Path) -> None:
    value = Lock("3.11", (), (), (), A)
    place = tmp_path / "trees" / install.key(value, Platform(), "3.11")

    def another_is_first(arguments: Sequence[str], folder: Path) -> None:
        place.mkdir()
        (place / "first.py").write_text("")

    assert install.tree(value, Platform(), "3.11", cache=tmp_path, run=another_is_first) == place
    assert [p.name for p in place.iterdir()] == ["first.py"]
    assert [p.name for p in place.parent.iterdir()] == [place.name]


def test_a_platform_without_wheels_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LockError, match="linux/riscv64"):
        install.tree(Lock("3.11", (), (), (), A), Platform(architecture="riscv64"), "3.11", cache=tmp_path)


def _tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.network
def test_a_real_lock_installs_the_same_bytes_twice(tmp_path: Path) -> None:
    made, wanted = lock.ensure(project(tmp_path, "flask>=3\nnumpy\n"))
    assert {"flask", "granian", "numpy", "pydantic"} <= {pin.name for pin in made.pins}
    assert "://" not in (tmp_path / "serinus.lock").read_text()
    trees = []
    for name in ("one", "a longer name"):
        old = os.umask(0o077 if name == "one" else 0o022)
        try:
            install.install(made, Platform(), "3.11", tmp_path / name, index=wanted.index)
        finally:
            os.umask(old)
        trees.append(_tree(tmp_path / name))
    assert trees[0] == trees[1]
    assert not any(p.startswith(("bin/", ".lock")) or p.endswith((".pyc", "INSTALLER")) for p in trees[0])
    assert not any(sys.prefix.encode() in content for content in trees[0].values())
    assert ("flask", next(p.version for p in made.pins if p.name == "flask")) in install.packages(
        tmp_path / "one"
    )


@pytest.mark.network
def test_a_tree_for_another_platform_and_python(tmp_path: Path) -> None:
    made, _ = lock.ensure(project(tmp_path, "", python="3.12"))
    tree = install.tree(made, Platform(architecture="arm64"), "3.12", cache=tmp_path / "cache")
    assert list(tree.glob("orjson/*.cpython-312-aarch64-linux-gnu.so"))


@pytest.mark.network
def test_what_has_no_wheel_is_named(tmp_path: Path) -> None:
    with pytest.raises(LockError, match="antlr4-python3-runtime==4.9.3 has no usable wheels") as caught:
        lock.ensure(project(tmp_path, "antlr4-python3-runtime==4.9.3\n"))
    assert "uv build --wheel" in caught.value.todo


@pytest.mark.network
def test_a_conflict_is_told_in_uvs_words(tmp_path: Path) -> None:
    with pytest.raises(LockError, match=r"pydantic<2.*unsatisfiable|pydantic<2"):
        lock.ensure(project(tmp_path, "pydantic<2\n"))
