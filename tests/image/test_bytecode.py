"""Bytecode in images: all that is imported has it, always the same, and no source is hidden behind it."""

from __future__ import annotations

import importlib.util
import io
import marshal
import os
import random
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pytest
from build_bench import Bench, config_of, fake_uv, files_of, layout_of, project, write
from hypothesis import given, settings
from hypothesis import strategies as st

from serinus.errors import BaseError, BuildError
from serinus.events import Finished, Noted
from serinus.image import Built, base, borrowed, pyc
from serinus.image.borrowed import Borrowed, Member, Places, choose, listing, real, wanted
from serinus.image.bytecode import cached, compile_all, is_module
from serinus.image.layers import LARGE, Item
from serinus.project import Image, Project
from serinus.registry import this_platform
from serinus.registry.layout import Layout
from serinus.runtimes import rootfs, sandbox
from serinus.runtimes.local import prepare

sys.path.append(str(Path(__file__).resolve().parents[1] / "runtimes"))
from images import make_image, python_tree, sys_python

LIBRARY = str(Path(os.__file__).parent).lstrip("/")
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
PACKAGE: dict[str, str | bytes] = {
    "demo/__init__.py": "from demo.words import *\nVALUE = 1\n",
    "demo/words.py": "WORDS = {'*', 'a', 'b'}\nSTAR = '*'\n",
    "demo/template.py": "this is {no} Python\n",
    "demo/tests/test_demo.py": "",
    "demo/data.txt": "",
    "brought.py": "",
    f"__pycache__/brought.cpython-{VERSION.replace('.', '')}.pyc": b"brought along",
}


class Own(NamedTuple):
    """A base that is made of this machine's Python."""

    place: Path
    image: Image


@pytest.fixture(scope="session")
def own(tmp_path_factory: pytest.TempPathFactory) -> Own:
    place = tmp_path_factory.mktemp("own") / "base"
    tree = io.BytesIO()
    with tarfile.open(fileobj=tree, mode="w") as tar:
        python_tree(tar)
    path = f"PATH={Path(sys_python()).parent}"
    make_image(Layout(place), [tree.getvalue()], {"Env": [path]})
    return Own(place, Image(base=f"oci:{place}:latest", python=VERSION, platforms=(str(this_platform()),)))


def own_uv(arguments: Sequence[str], folder: Path) -> None:
    fake_uv(arguments, folder)
    if arguments[1] == "install":
        write(Path(arguments[arguments.index("--target") + 1]), PACKAGE)


def made_of(own: Own, bench: Bench, made: Project, **options: Any) -> Built:
    return bench.build(
        replace(made, image=own.image), **{"resolve_base": base.resolve, "run_uv": own_uv} | options
    )


# What has bytecode


def test_all_that_is_imported_has_bytecode_and_what_is_the_projects_own_has_none(
    tmp_path: Path, own: Own
) -> None:
    bench = Bench(tmp_path / "cache")
    made = project(tmp_path / "p", {"__pycache__/service.cpython-311.pyc": "x"})
    built = made_of(own, bench, made)
    assert [layer.name for layer in built.layers] == [
        *("base", "bytecode", "dependencies", "runtime", "model", "code")
    ]
    files = files_of(made, built)
    without = {"demo/template.py", "demo/tests/test_demo.py", "brought.py"}
    modules = {
        path
        for path in files
        if path.endswith(".py")
        and path.startswith("opt/")
        and path.removeprefix("opt/serinus/lib/") not in without
    }
    modules |= {f"{LIBRARY}/{name}" for name in ("os.py", "json/decoder.py", "asyncio/base_events.py")}
    assert len(modules) > 30
    for path in modules:
        content = files[cached(path, VERSION)]
        assert content[:8] == importlib.util.MAGIC_NUMBER + bytes([1, 0, 0, 0]), f"{path}: not unchecked"
        assert content[8:16] == importlib.util.source_hash(files[path])
        assert marshal.loads(content[16:]).co_filename == f"/{path}"
    assert not {path for path in without if f"opt/serinus/lib/{path}" not in files}
    compiled = {path for path in files if path.endswith(".pyc")}
    assert not {
        path for path in compiled if path.startswith("srv/") or "template" in path or "test_demo" in path
    }
    assert files[f"opt/serinus/lib/{cached('brought.py', VERSION)}"] == b"brought along"


def test_the_same_inputs_give_the_same_bytecode_and_it_is_packed_once(tmp_path: Path, own: Own) -> None:
    first, second = Bench(tmp_path / "cache"), Bench(tmp_path / "another")
    made = project(tmp_path / "p")
    built = made_of(own, first, made)
    other = project(tmp_path / "q")
    assert made_of(own, second, other).descriptor == built.descriptor
    first.events.clear()
    write(made.root, {"service.py": "changed = 1\n"})
    changed = made_of(own, first, made)
    assert [layer.name for layer in changed.layers if not layer.cached] == ["code"]
    assert "bytecode" not in {event.step for event in first.events if isinstance(event, Finished)}


def test_an_upgraded_package_and_another_base_get_bytecode_of_their_own(tmp_path: Path, own: Own) -> None:
    """The new source has the size of the old one: only its content tells them apart."""
    bench = Bench(tmp_path / "cache")
    made = project(tmp_path / "p")
    value = "opt/serinus/lib/" + cached("demo/__init__.py", VERSION)

    def upgraded(arguments: Sequence[str], folder: Path) -> None:
        own_uv(arguments, folder)
        if arguments[1] == "compile":
            lock = f"demo==2.0 --hash=sha256:{'a' * 64}\n"
            Path(arguments[arguments.index("--output-file") + 1]).write_text(lock)
        else:
            target = Path(arguments[arguments.index("--target") + 1])
            write(target, {"demo/__init__.py": str(PACKAGE["demo/__init__.py"]).replace("1", "2")})

    before = files_of(made, made_of(own, bench, made))[value]
    write(made.root, {"requirements.txt": "demo\n"})
    files = files_of(made, made_of(own, bench, made, run_uv=upgraded))
    assert files[value] != before
    assert files[value][8:16] == importlib.util.source_hash(files["opt/serinus/lib/demo/__init__.py"])
    place = tmp_path / "base"
    tree = io.BytesIO()
    with tarfile.open(fileobj=tree, mode="w") as tar:
        python_tree(tar)
        member = tarfile.TarInfo(f"{LIBRARY}/new_here.py")
        member.size = 4
        tar.addfile(member, io.BytesIO(b"A=1\n"))
    make_image(Layout(place), [tree.getvalue()], {"Env": [f"PATH={Path(sys_python()).parent}"]})
    newer = Own(place, replace(own.image, base=f"oci:{place}:latest"))
    files = files_of(made, made_of(newer, bench, made, run_uv=upgraded))
    assert any("new_here" in path for path in files if path.endswith(".pyc"))


IMPORTS = "import demo, json, asyncio, serinus.serving, service; print(demo.VALUE, service.VALUE)"


@pytest.mark.sandbox
def test_the_images_python_compiles_nothing_but_the_projects_code(tmp_path: Path, own: Own) -> None:
    bench = Bench(tmp_path / "cache")
    made = project(tmp_path / "p", {"service.py": "VALUE = 1\n"})
    for value in (1, 2):  # of the same size and in the same second
        write(made.root, {"service.py": f"VALUE = {value}\n"})
        built = made_of(own, bench, made)
        tree = rootfs.root(layout_of(made), built.layers, cache=tmp_path / "rootfs")
        env = dict(line.split("=", 1) for line in config_of(made, built)["config"]["Env"])
        done = sandbox.run(tree, [sys_python(), "-v", "-c", IMPORTS], env=env, workdir="/srv")
        assert done.stdout == f"1 {value}\n", done.stderr[-2000:]
        loaded = [
            line.split()[4].strip("'")
            for line in done.stderr.splitlines()
            if line.startswith("# code object from ")
        ]
        assert sum(path.endswith(".pyc") for path in loaded) > 50
        assert [path for path in loaded if not path.endswith(".pyc")] == ["/srv/service.py"]


def test_what_is_served_from_source_never_runs_from_old_bytecode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERINUS_CACHE", str(tmp_path / "cache"))
    made = replace(project(tmp_path / "p"), image=Image(python=VERSION))
    Bench(tmp_path / "cache").build(made)
    for value in (1, 2):
        write(made.root, {"service.py": f"VALUE = {value}\n"})
        os.utime(made.root / "service.py", (1e9, 1e9))  # nothing that Python looks at tells them apart
        prepared = prepare(made, 0)
        command = [sys.executable, "-S", "-s", "-c", "import service; print(service.VALUE)"]
        done = subprocess.run(
            command, cwd=prepared.cwd, env=prepared.env, capture_output=True, text=True, check=True
        )
        assert done.stdout == f"{value}\n"
        assert list((tmp_path / "cache/bytecode").rglob("service.*.pyc"))


# Where there is none


def notes(bench: Bench) -> list[str]:
    return [e.message for e in bench.events if isinstance(e, Noted) and "no bytecode" in e.message]


def test_another_architecture_gets_none_and_that_is_told(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "cache")
    foreign = "arm64" if this_platform().architecture != "arm64" else "amd64"
    built = bench.build(project(tmp_path / "p"), platforms=[f"linux/{foreign}"])
    assert "bytecode" not in {layer.name for layer in built.layers}
    assert notes(bench) == [
        f"the image for linux/{foreign} holds no bytecode and starts more slowly: "
        "this machine cannot run its Python"
    ]


def test_a_base_whose_python_cannot_be_borrowed_gets_none_and_that_is_told(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "cache")
    made = project(tmp_path / "p")
    first = bench.build(made, platforms=[str(this_platform())])
    assert not {path for path in files_of(made, first) if path.endswith(".pyc")}
    assert len(notes(bench)) == 1
    assert "the Python of debian:bookworm runs only there" in notes(bench)[0]
    assert bench.build(made, platforms=[str(this_platform())]).descriptor == first.descriptor


@pytest.fixture(scope="session")
def python(own: Own, tmp_path_factory: pytest.TempPathFactory) -> Borrowed:
    """This machine's Python, borrowed from the base."""
    work = tmp_path_factory.mktemp("borrowed")
    layout = Layout(work / "layout")
    found = base.resolve(own.image.base, this_platform(), layout, cache=work)
    borrowed_now, again = (borrowed.borrow(found, layout, work) for _ in range(2))
    assert borrowed_now is not None
    assert borrowed_now == again
    return borrowed_now


def test_what_the_machine_does_not_let_run_is_an_error_and_not_an_image_without(
    tmp_path: Path, python: Borrowed
) -> None:
    write(tmp_path, {python.at.loader: (python.root / python.at.loader).read_bytes()})
    (tmp_path / python.at.loader).chmod(0o644)  # as on a file system that is mounted noexec
    with pytest.raises(BuildError, match="cannot be started below .*: Permission denied") as caught:
        compile_all(replace(python, root=tmp_path), [Item("a.py", 0, b"")])
    assert "noexec" in caught.value.todo


@pytest.mark.parametrize(
    ("text", "said"),
    [("import os; os._exit(3)", "0 of 1 modules .* code 3"), ("import os; os.abort()", "ended by signal 6")],
)
def test_a_python_that_ends_early_is_an_error(
    tmp_path: Path, python: Borrowed, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    write(tmp_path, {"broken.py": text})
    monkeypatch.setattr(pyc, "__file__", str(tmp_path / "broken.py"))
    with pytest.raises(BuildError, match=said):
        compile_all(python, [Item("a.py", 0, b"")])


def test_many_modules_are_shared_out_and_come_back_in_their_order(python: Borrowed) -> None:
    modules = [Item(f"m/{number}.py", 0, f"NUMBER = {number}\n".encode()) for number in range(301)]
    for number, content in enumerate(compile_all(python, modules)):
        assert marshal.loads(content[16:]).co_consts[0] == number
    assert compile_all(python, []) == []


def test_what_a_killed_build_left_is_taken_out_anew(tmp_path: Path, own: Own, python: Borrowed) -> None:
    layout = Layout(tmp_path / "layout")
    found = base.resolve(own.image.base, this_platform(), layout, cache=tmp_path)
    place = tmp_path / "pythons" / python.root.name
    write(place, {"left": "", python.at.loader: "half"})
    assert borrowed.borrow(found, layout, tmp_path) == replace(python, root=place)
    assert not (place / "left").exists()


# The bytes


LINES = (
    "from os.path import *", "import sys as system", "STAR, EMPTY = '*', ''", "X = 'a b'; Y = '?'",
    "NAMES = {'a', 'b', 'c', None, 1.5, (1, 'z')}", "def f(a, *b, c=1, **d): return lambda: (a, b, c)",
    "class K:\n    '''Told.'''\n    x: int = 1\n    def m(self): return __class__", "ISIN = 1 in {1, 2, 300}",
    "L = [i for i in range(10) if i in (1, 2, 3)]", "async def g(): yield b'x', b'', 10**20", "é = 'é€'",
    "T = (1, ('a', ('b', frozenset({'c'}))))", "F = f'{X!r:>{10}}'", "oops(",
)  # fmt: skip


def answers(frames: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
    """What a fresh process answers."""
    given = b"".join(len(part).to_bytes(4, "little") + part for frame in frames for part in frame)
    command = [sys.executable, "-S", "-s", "-B", "-W", "ignore", pyc.__file__]
    out = subprocess.run(command, input=given, capture_output=True, check=True, cwd="/").stdout
    found = []
    while out:
        end = 4 + int.from_bytes(out[:4], "little")
        found.append(out[4:end])
        out = out[end:]
    return found


sources = st.lists(
    st.lists(st.sampled_from(LINES), max_size=5).map(lambda lines: "\n".join(lines).encode()),
    min_size=1,
    max_size=12,
)


@settings(max_examples=25, deadline=None)
@given(sources, st.randoms(use_true_random=False))
def test_bytecode_depends_on_path_and_source_alone(found: list[bytes], chance: random.Random) -> None:
    frames = [(f"/m/{number}.py".encode(), source) for number, source in enumerate(found)]
    together = dict(zip(frames, answers(frames), strict=True))
    shuffled = list(frames)
    chance.shuffle(shuffled)
    assert dict(zip(shuffled, answers(shuffled), strict=True)) == together
    alone = chance.choice(frames)
    assert answers([alone]) == [together[alone]]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(LINES), max_size=5).map("\n".join))
def test_bytecode_is_what_python_would_run(source: str) -> None:
    made = pyc.pyc(source.encode(), "/m/a.py")
    try:
        expected = compile(source, "/m/a.py", "exec", dont_inherit=True, optimize=0)
    except SyntaxError:
        assert made == b""
        return
    assert marshal.loads(made[16:]) == expected


def test_a_source_in_another_encoding_and_one_that_is_nested_too_deep() -> None:
    latin = "# coding: latin-1\nX = 'é'\n".encode("latin-1")
    space: dict[str, Any] = {}
    exec(marshal.loads(pyc.pyc(latin, "/a.py")[16:]), space)
    assert space["X"] == "é"
    assert pyc.pyc(b"(" * 5000 + b")" * 5000, "/a.py") == b""
    assert pyc.pyc(b"a\0b", "/a.py") == b""


def test_modules_and_where_their_bytecode_lies() -> None:
    assert cached("a/b.py", "3.11") == "a/__pycache__/b.cpython-311.pyc"
    assert cached("b.py", "3.9") == "__pycache__/b.cpython-39.pyc"
    assert is_module(Item("a/testing/b.py", 0, b""))
    assert not is_module(Item("a/tests/b.py", 0, b""))
    assert not is_module(Item("a/b.py", 0, None, link="c.py"))
    assert not is_module(Item("a/b.pyi", 0, b""))


# Taking a Python out of a base


def tar_of(entries: Mapping[str, bytes | str | None]) -> Callable[[], BinaryIO]:
    """A tar: bytes are files, text is where a link points (``=`` a hard one), None a folder."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in entries.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                member.size = len(content)
            elif content is None:
                member.type = tarfile.DIRTYPE
            else:
                member.type = tarfile.LNKTYPE if content.startswith("=") else tarfile.SYMTYPE
                member.linkname = content.removeprefix("=")
            tar.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
    return lambda: io.BytesIO(out.getvalue())


DEBIAN: dict[str, bytes | str | None] = {
    "./lib": "usr/lib",
    "./lib64": "usr/lib64",
    "./usr/lib64/ld-linux-x86-64.so.2": "../lib/x86_64-linux-gnu/ld.so",
    "./usr/lib/x86_64-linux-gnu/ld.so": b"loader",
    "./usr/lib/x86_64-linux-gnu/libz.so.1": "libz.so.1.2",
    "./usr/lib/x86_64-linux-gnu/libz.so.1.2": b"libz",
    "./usr/bin/python3.11": b"program",
    "./usr/bin/also": "=./usr/bin/python3.11",
    "./usr/lib/python3.11": None,
    "./usr/lib/python3.11/os.py": b"os",
    "./usr/lib/python3.11/site-packages/x.py": b"x",
    "./usr/lib/python3.11/test/y.py": b"y",
    "./usr/lib/python3.11/done.py": b"done",
    "./usr/lib/python3.11/__pycache__/done.cpython-311.pyc": b"done",
}


def test_what_python_needs_is_found_behind_links_and_below_whiteouts(tmp_path: Path) -> None:
    above: dict[str, bytes | str | None] = {
        "usr/bin/.wh.also": b"",
        "usr/lib/python3.11/new.py": b"new",
        "usr/lib/python3.11/gone/.wh..wh..opq": b"",
    }
    layers = [tar_of(DEBIAN | {"./usr/lib/python3.11/gone/a.py": b"a"}), tar_of(above)]
    held = listing(layers)
    assert "usr/bin/also" not in held
    at = choose(held, "/usr/bin/python3.11", "amd64")
    assert at == Places(
        loader="usr/lib/x86_64-linux-gnu/ld.so",
        program="usr/bin/python3.11",
        home="usr",
        library="usr/lib/python3.11",
        folders=("usr/lib/x86_64-linux-gnu", "usr/lib64", "usr/lib"),
        modules=("usr/lib/python3.11/new.py", "usr/lib/python3.11/os.py"),
    )
    files = wanted(held, at)
    borrowed.extract(layers, files, tmp_path)
    found = {p.relative_to(tmp_path).as_posix(): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert found == {
        "usr/lib64/ld-linux-x86-64.so.2": b"loader",
        "usr/lib/x86_64-linux-gnu/ld.so": b"loader",
        "usr/lib/x86_64-linux-gnu/libz.so.1": b"libz",
        "usr/lib/x86_64-linux-gnu/libz.so.1.2": b"libz",
        "usr/bin/python3.11": b"program",
        "usr/lib/python3.11/os.py": b"os",
        "usr/lib/python3.11/new.py": b"new",
        "usr/lib/python3.11/done.py": b"done",
    }


@pytest.mark.parametrize(
    "lacking", ["./usr/bin/python3.11", "./usr/lib/python3.11/os.py", "./usr/lib/x86_64-linux-gnu/ld.so"]
)
def test_a_base_without_a_part_has_nothing_to_borrow(lacking: str) -> None:
    held = listing(
        [tar_of({name: what for name, what in DEBIAN.items() if name not in (lacking, "./usr/bin/also")})]
    )
    assert choose(held, "/usr/bin/python3.11", "amd64") is None
    assert choose(held, "/usr/bin/python3.11", "s390x") is None


def test_a_library_as_large_as_weights_stays_where_it_is() -> None:
    held = listing([tar_of(DEBIAN)]) | {
        "usr/lib/x86_64-linux-gnu/libcuda.so": Member(0, "usr/lib/x86_64-linux-gnu/libcuda.so", LARGE)
    }
    at = choose(held, "/usr/bin/python3.11", "amd64")
    assert at is not None
    assert "usr/lib/x86_64-linux-gnu/libcuda.so" not in wanted(held, at)


def test_a_layer_that_is_no_tar_is_named() -> None:
    with pytest.raises(BaseError, match="not a tar"):
        listing([lambda: io.BytesIO(b"no tar" * 200)])


names = st.sampled_from(["a", "b", "c"])
paths = st.lists(names, min_size=1, max_size=4).map("/".join)
targets = st.tuples(st.sampled_from(["", "/", "../", "../../", "./"]), paths).map("".join)


@given(st.dictionaries(paths, targets, max_size=6), paths)
def test_links_are_followed_as_the_file_system_does(links: dict[str, str], path: str) -> None:
    held = {name: Member(0, name, link=target) for name, target in links.items()}
    found = real(path, held)
    assert not found.startswith("/")
    assert ".." not in found.split("/")
    parts = found.split("/")
    ends = ["/".join(parts[:n]) for n in range(1, len(parts) + 1)]
    steps = [held[end].link for end in ends if end in held]
    assert not steps or _loops(held, path), "a link is left only where there is no end to them"


def _loops(held: Mapping[str, Member], path: str) -> bool:
    """Whether the path leads through more links than Linux follows, told by asking the file system's way."""
    ahead, followed = path.split("/")[::-1], 0
    at: list[str] = []
    while ahead and followed <= 40:
        part = ahead.pop()
        if part == "..":
            at = at[:-1]
        elif part not in ("", "."):
            link = held.get("/".join([*at, part]))
            if link is None or link.link is None:
                at.append(part)
            else:
                followed += 1
                at = [] if link.link.startswith("/") else at
                ahead += link.link.split("/")[::-1]
    return followed > 40
