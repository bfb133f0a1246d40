"""Which files belong in the image: against git as the oracle of its own syntax, and on a real folder."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from build_bench import in_child
from hypothesis import example, given, settings
from hypothesis import strategies as st

from serinus.errors import BuildError
from serinus.image.select import DEFAULTS, Entry, exactly, ignored, link_target, read_patterns, rules, walk
from serinus.image.sources import patterns
from serinus.project import Checks, DriftChecks, Image, Project, Service


def put(root: Path, *names: str, text: str = "x") -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def names(entries: tuple[Entry, ...]) -> list[str]:
    return [entry.path for entry in entries]


@pytest.mark.parametrize(
    ("patterns", "path", "is_folder", "out"),
    [
        (["*.log"], "a/b.log", False, True),
        (["*.log", "!keep.log"], "a/keep.log", False, False),
        (["/top"], "top", False, True),
        (["/top"], "a/top", False, False),
        (["a/b"], "a/b", False, True),
        (["a/b"], "x/a/b", False, False),
        (["cache/"], "x/cache", True, True),
        (["cache/"], "x/cache", False, False),
        (["**/x"], "x", False, True),
        (["**/x"], "a/b/x", False, True),
        (["a/**"], "a", True, False),
        (["a/**"], "a/b/c", False, True),
        (["a/**/z"], "a/z", False, True),
        (["a/**/z"], "a/b/c/z", False, True),
        (["a/*/z"], "a/b/c/z", False, False),
        (["# comment", "\\#file"], "#file", False, True),
        (["\\!bang"], "!bang", False, True),
        (["tail  "], "tail", False, True),
        (["tail\\ "], "tail ", False, True),
        (["[a-c]x"], "bx", False, True),
        (["[!a-c]x"], "bx", False, False),
        (["[]]"], "]", False, True),
        (["[[:digit:]]"], "7", False, True),
        (["open[a"], "open[a", False, False),
        (["end\\"], "end", False, False),
        (["/", "!", ""], "a", False, False),
        (["win\r"], "win", False, True),
    ],
)
def test_the_syntax(patterns: list[str], path: str, is_folder: bool, out: bool) -> None:
    assert ignored(path, is_folder, rules(patterns)) is out


_text = st.text(alphabet="ab*?/![]-\\ #.:^", min_size=1, max_size=9)
_names = st.lists(st.text(alphabet="ab!-] #.[\\", min_size=1, max_size=4), min_size=1, max_size=3).map(
    "/".join
)


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("git"):
        pytest.skip("git is not here: apt-get install git")
    root = tmp_path_factory.mktemp("oracle")
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    return root


def _git_says(repository: Path, patterns: list[str], paths: list[str]) -> list[bool]:
    """What git thinks of each path by itself; its exclude file holds the patterns."""
    (repository / ".git/info/exclude").write_text("".join(f"{line}\n" for line in patterns))
    result = subprocess.run(
        ["git", "check-ignore", "--no-index", "--stdin", "-z", "-v", "-n"],
        cwd=repository,
        input="".join(f"{path}\0" for path in paths).encode(),
        capture_output=True,
        check=False,
        env={**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"},
    )
    assert result.returncode in (0, 1), result.stderr
    fields = result.stdout.decode().split("\0")
    return [bool(pattern) and not pattern.startswith("!") for pattern in fields[2:-1:4]]


def _serinus_says(patterns: list[str], path: str) -> bool:
    """The path is out when it is, or a folder above it is, as in walk."""
    decided = rules(patterns)
    parts = path.split("/")
    above = ("/".join(parts[:count]) for count in range(1, len(parts)))
    return any(ignored(folder, True, decided) for folder in above) or ignored(path, False, decided)


@settings(max_examples=120)
@given(patterns=st.lists(_text, min_size=1, max_size=4), paths=st.lists(_names, min_size=1, max_size=20))
@example(patterns=["a**/b", "***/a", "!a/**/"], paths=["aa/b", "a", "b/a", "a/b/a"])
@example(patterns=["[b-a]", "[a-]", "[--a]", "[^a]"], paths=["a", "b", "-", "]"])
def test_git_agrees(repository: Path, patterns: list[str], paths: list[str]) -> None:
    usable = [path for path in paths if not {".", "..", ".git"} & set(path.split("/"))]
    expected = _git_says(repository, patterns, usable) if usable else []
    assert [_serinus_says(patterns, path) for path in usable] == expected


def test_defaults_keep_out_what_no_service_needs(tmp_path: Path) -> None:
    put(
        tmp_path,
        *(
            ".git/config",
            ".hg/x",
            ".env",
            ".env.local",
            "certs/server.pem",
            "tls.key",
            "id_rsa",
            "id_rsa.pub",
        ),
        *("__pycache__/a.pyc", "pkg/__pycache__/b.pyc", "a.pyc", ".venv/bin/python", "node_modules/x/y.js"),
        *(".pytest_cache/x", ".mypy_cache/x", ".ruff_cache/x", ".serinus/layout/x", "build/x", "dist/x.whl"),
        *(
            "x.egg-info/PKG-INFO",
            ".DS_Store",
            ".serinus.lock.abc",
            "tests/test_a.py",
            "Dockerfile",
            "serinus.toml",
            "serinus.lock",
        ),
        *("sub/.netrc", ".npmrc", "odd/pyvenv.cfg", "odd/lib/x.py"),
        *("service.py", "pkg/build/real.py", "pkg/data.json", "requirements.txt", "keyboard.py"),
    )
    kept = walk(tmp_path, rules(DEFAULTS))
    assert names(kept) == [
        "keyboard.py",
        "pkg/build/real.py",
        "pkg/data.json",
        "requirements.txt",
        "service.py",
    ]


def test_a_project_can_take_a_default_back(tmp_path: Path) -> None:
    put(tmp_path, "tests/data.json", "a.py", "b.log")
    put(tmp_path, ".serinusignore", text="!/tests/\n*.log\n")
    kept = walk(tmp_path, rules((*DEFAULTS, *read_patterns(tmp_path))))
    assert names(kept) == ["a.py", "tests/data.json"]


@pytest.mark.parametrize("path", ["data/gold.jsonl", "./a b.jsonl ", "*.jsonl", "[a]?.jsonl", "#!", "a\\b"])
def test_exactly_one_file_is_meant(path: str) -> None:
    decided = rules([exactly(path)])
    assert ignored(path.removeprefix("./"), False, decided)
    assert not any(ignored(other, False, decided) for other in ("b.jsonl", "a", f"x/{path}", f"{path}x"))


def test_the_data_of_checks_stays_out_of_the_image_unless_it_is_taken_back(tmp_path: Path) -> None:
    put(tmp_path, "service.py", "gold.jsonl", "data/seen.jsonl", "labelled.jsonl")
    checks = Checks(labelled="gold.jsonl", drift=DriftChecks(reference="./data/seen.jsonl"))
    project = Project(root=tmp_path, service=Service(name="a"), checks=checks)
    assert names(walk(tmp_path, rules(patterns(project)))) == ["service.py"]
    back = replace(project, image=Image(ignore=("!/gold.jsonl",)))
    assert names(walk(tmp_path, rules(patterns(back)))) == ["gold.jsonl", "service.py"]


def test_an_empty_folder_changes_nothing(tmp_path: Path) -> None:
    put(tmp_path, "a.py")
    before = names(walk(tmp_path, ()))
    (tmp_path / "empty/deeper").mkdir(parents=True)
    assert names(walk(tmp_path, ())) == before == ["a.py"]


def test_odd_names_are_kept_and_sorted_by_their_bytes(tmp_path: Path) -> None:
    raw = [b"line\nbreak", b"\xff\xfe.bin", "é.py".encode(), b" space ", b"B", b"a", b"a-b", b"a/b"]
    (tmp_path / "a").mkdir()
    raw.remove(b"a")
    for name in raw:
        (tmp_path / os.fsdecode(name)).write_bytes(b"")
    assert [os.fsencode(entry.path) for entry in walk(tmp_path, ())] == sorted(raw)


def test_links_inside_are_kept_and_made_relative(tmp_path: Path) -> None:
    put(tmp_path, "pkg/real.txt")
    (tmp_path / "near").symlink_to("pkg/real.txt")
    (tmp_path / "far").symlink_to(tmp_path / "pkg")
    (tmp_path / "pkg/up").symlink_to("../near")
    links = {entry.path: entry.link for entry in walk(tmp_path, ()) if entry.link is not None}
    assert links == {"near": "pkg/real.txt", "far": "pkg", "pkg/up": "../near"}


@pytest.mark.parametrize("target", ["../outside", "/etc/passwd", "inner/../../outside", "door/passwd"])
def test_links_out_of_the_project_are_named(tmp_path: Path, target: str) -> None:
    project = tmp_path / "project"
    put(project, "a.py")
    if target.startswith("door"):
        (project / ".git").mkdir()
        (project / ".git/door").symlink_to("/etc")
        target = ".git/" + target
    (project / "leak").symlink_to(target)
    with pytest.raises(BuildError, match="'leak' is a symbolic link"):
        walk(project, rules(DEFAULTS))
    assert names(walk(project, rules((*DEFAULTS, "leak")))) == ["a.py"]


@given(st.lists(st.sampled_from(["a", "b", "..", "."]), min_size=1, max_size=6).map("/".join))
def test_a_link_that_is_let_in_ends_inside(target: str) -> None:
    end = os.path.normpath(f"/p/d/{target}")
    inside = end == "/p" or end.startswith("/p/")
    try:
        assert link_target("d/link", target, "/p", end) == target
        assert inside
    except BuildError:
        assert not inside


def test_a_model_folder_is_taken_with_what_its_links_point_at(tmp_path: Path) -> None:
    put(tmp_path, "cache/blob1", "snapshot/config.json", "cache/sub/b")
    (tmp_path / "snapshot/model.onnx").symlink_to("../cache/blob1")
    (tmp_path / "snapshot/more").symlink_to("../cache/sub")
    (tmp_path / "snapshot/circle").symlink_to("../snapshot")
    found = walk(tmp_path / "snapshot", (), follow=True)
    assert [(entry.path, entry.link) for entry in found] == [
        ("config.json", None),
        ("model.onnx", None),
        ("more/b", None),
    ]


def test_pipes_are_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BuildError, match="'pipe' is neither a file"):
        walk(tmp_path, ())


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Root reads everything, so another user looks."""
    shelf = Path("/var/tmp") / f"serinus-select-{os.getpid()}"  # pytest's folders are for their owner alone
    (shelf / "shut").mkdir(parents=True)
    try:
        (shelf / "shut").chmod(0)

        def look() -> None:
            with pytest.raises(BuildError, match="'shut/' cannot be read: Permission denied"):
                walk(shelf, ())
            assert walk(shelf, rules(["shut"])) == ()

        assert in_child(look, 12345 if os.geteuid() == 0 else None) == 0
    finally:
        (shelf / "shut").rmdir()
        shelf.rmdir()


def test_a_broken_link_of_a_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "gone").symlink_to("nowhere")
    with pytest.raises(BuildError, match="'gone' cannot be read"):
        walk(tmp_path, (), follow=True)
