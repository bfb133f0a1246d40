"""What a step's result depends on: any change of it changes the key, and nothing else does."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serinus.pipeline import Approval, Step, Value
from serinus.pipeline.contents import Index, Missing, digest_of, entries, inputs
from serinus.pipeline.key import Parts, key_of, key_of_question, parts_of, why

texts = st.text('ab {}=\n"\\é', max_size=4)
digests = st.sampled_from(["0" * 64, "1" * 64, "2" * 64])
named = st.dictionaries(texts, digests, max_size=3)
scalars = st.one_of(st.booleans(), st.integers(0, 2), st.sampled_from([0.0, 1.0, 2.5]), texts)
all_parts = st.builds(
    Parts,
    command=st.lists(texts, max_size=3).map(tuple),
    params=st.dictionaries(texts, scalars, max_size=3),
    env=st.dictionaries(texts, texts, max_size=3),
    inputs=named,
    locks=named,
    secrets=st.lists(texts, max_size=2, unique=True).map(tuple),
    outputs=st.lists(texts, max_size=2, unique=True).map(tuple),
)


def exact(parts: Parts) -> object:
    """Equal for two parts exactly where they say the same: ``1`` and ``True`` are different."""
    typed = {name: (type(value), value) for name, value in parts.params.items()}
    rest = (parts.command, dict(parts.env), dict(parts.inputs), dict(parts.locks))
    return typed, rest, sorted(parts.secrets), sorted(parts.outputs)


@given(all_parts, all_parts)
def test_two_keys_are_equal_exactly_where_the_parts_are(one: Parts, other: Parts) -> None:
    assert (key_of("p", "s", one) == key_of("p", "s", other)) is (exact(one) == exact(other))


@given(all_parts, st.data())
def test_any_one_change_changes_the_key(parts: Parts, data: st.DataObject) -> None:
    field = data.draw(st.sampled_from(["command", "params", "env", "inputs", "locks", "secrets", "outputs"]))
    drawn = data.draw(all_parts)
    changed = replace(parts, **{field: getattr(drawn, field)})
    same = exact(changed) == exact(parts)
    assert (key_of("p", "s", changed) == key_of("p", "s", parts)) is same
    assert key_of("p", "s", parts) != key_of("p", "t", parts)
    assert key_of("q", "s", parts) != key_of("p", "s", parts)
    told = why(parts.document(), changed.document())
    assert (told == "its result is not kept any more") is same


STEP = Step(
    "train",
    ("python", "train.py", "{epochs}"),
    ("prepare",),
    ("a",),
    ("b",),
    ("seed",),
    {"X": "{rate}"},
    ("T",),
)
VALUES: Mapping[str, Value] = {"epochs": 3, "seed": 1, "rate": 0.5, "other": "x"}


def key(step: Step = STEP, values: Mapping[str, Value] = VALUES, **rest: Mapping[str, str]) -> str:
    return key_of(
        "p", step.name, parts_of(step, values, rest.get("inputs", {"a": "1"}), rest.get("locks", {}))
    )


@pytest.mark.parametrize(
    "change",
    [
        {"needs": ()},
        {"timeout": 3.0},
        {"retries": 2},
        {"when": "publish"},
        {"cache": False},
    ],
)
def test_how_a_step_is_run_does_not_belong_to_its_key(change: dict[str, object]) -> None:
    assert key(replace(STEP, **change)) == key()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"values": {**VALUES, "epochs": 4}}, "epochs 3 -> 4"),
        ({"values": {**VALUES, "seed": 2}}, "seed 1 -> 2"),
        ({"values": {**VALUES, "rate": 0.6}}, "rate 0.5 -> 0.6, X changed"),
        ({"inputs": {"a": "2"}}, "a changed"),
        ({"inputs": {"a": "1", "c": "1"}}, "c is new"),
        ({"inputs": {}}, "a is gone"),
        ({"locks": {"serinus.lock": "1"}}, "serinus.lock is new"),
        ({"step": replace(STEP, secrets=())}, "secrets changed"),
        ({"step": replace(STEP, outputs=("c",))}, "outputs changed"),
        ({"step": replace(STEP, command=("python",), params=("seed", "epochs"))}, "command changed"),
    ],
)
def test_what_has_changed_is_told(change: dict[str, object], told: str) -> None:
    def document(
        step: Step = STEP, values: Mapping[str, Value] = VALUES, **rest: Mapping[str, str]
    ) -> Mapping[str, object]:
        return parts_of(step, values, rest.get("inputs", {"a": "1"}), rest.get("locks", {})).document()

    assert key(**change) != key()  # type: ignore[arg-type]
    assert why(document(), document(**change)) == told  # type: ignore[arg-type]
    assert why(None, document()) == "for the first time"


def test_a_parameter_that_is_not_used_does_not_belong_to_the_key() -> None:
    assert key(values={**VALUES, "other": "y"}) == key()


def test_the_key_of_a_question_changes_with_what_is_shown() -> None:
    ask = Approval("good?", ("a",), "m@production")
    keys = {
        key_of_question(ask, {"a": "1"}),
        key_of_question(ask, {"a": "2"}),
        key_of_question(replace(ask, question="well?"), {"a": "1"}),
        key_of_question(replace(ask, against=""), {"a": "1"}),
    }
    assert len(keys) == 4


# Contents of files

trees = st.dictionaries(
    st.sampled_from(["a.txt", "b.txt", "sub/a.txt", "sub/deep/c.txt", "other/a.txt"]),
    st.sampled_from([b"", b"x", b"y" * 100]),
    min_size=1,
    max_size=4,
)


def made(folder: Path, tree: Mapping[str, bytes]) -> Path:
    for path, content in tree.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


@settings(max_examples=50)
@given(trees, trees)
def test_folders_have_one_digest_exactly_where_they_hold_the_same(
    tmp_path_factory: pytest.TempPathFactory, one: Mapping[str, bytes], other: Mapping[str, bytes]
) -> None:
    base = tmp_path_factory.mktemp("trees")
    index = Index({}, base / "clock")
    first, second = made(base / "1", one), made(base / "2", other)
    assert (digest_of(entries(first, index)) == digest_of(entries(second, index))) is (one == other)


def test_an_index_never_hides_a_change(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")
    index = Index({}, tmp_path / "clock")
    seen = set()
    for number in range(50):  # the same size, in ticks of the clock that may be the same
        file.write_bytes(f"{number:03}".encode())
        seen.add(index.digest(file, file.stat()))
        index.tick()
    assert len(seen) == 50


def test_what_is_known_is_not_read_again(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"content")
    old = file.stat().st_mtime_ns - 10_000_000_000
    os.utime(file, ns=(old, old))
    known = {str(file): ((*_state(file),), "known")}
    assert Index(known, tmp_path / "clock").digest(file, file.stat()) == "known"


def _state(file: Path) -> tuple[int, int, int, int, int]:
    found = file.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def test_inputs_by_path_and_by_pattern(tmp_path: Path) -> None:
    made(
        tmp_path, {"a.py": b"1", "src/b.py": b"2", "src/deep/c.py": b"3", "src/x.txt": b"4", "out/d.py": b"5"}
    )
    made(tmp_path, {"src/__pycache__/b.py": b"6", ".serinus/e.py": b"7"})
    index = Index({}, tmp_path / ".serinus")

    def found(*patterns: str, without: tuple[str, ...] = ()) -> set[str]:
        return set(inputs(tmp_path, patterns, index, without))

    assert found("a.py") == {"a.py"}
    assert found("*.py") == {"a.py"}
    assert found("**/*.py") == {"a.py", "src/b.py", "src/deep/c.py", "out/d.py"}
    assert found("**/*.py", without=("out",)) == {"a.py", "src/b.py", "src/deep/c.py"}
    assert found("src/*.[pt]*") == {"src/b.py", "src/x.txt"}
    assert found("src/**/c.py") == {"src/deep/c.py"}
    assert found("s?c") == {"src"}
    before = inputs(tmp_path, ["src", "."], index, ())
    (tmp_path / "src/__pycache__/b.py").write_bytes(b"other")
    assert inputs(tmp_path, ["src", "."], index, ()) == before
    (tmp_path / "src/deep/c.py").write_bytes(b"other")
    assert inputs(tmp_path, ["src"], index, ())["src"] != before["src"]
    for wrong in ("none.txt", "*.csv", "src/none/*.py"):
        with pytest.raises(Missing, match="none|csv"):
            found(wrong)


def test_links_executable_bits_and_what_is_no_file(tmp_path: Path) -> None:
    made(tmp_path, {"data/a": b"1", "elsewhere": b"x"})
    index = Index({}, tmp_path / "clock")

    def now() -> str:
        return inputs(tmp_path, ["data"], index, ())["data"]

    first = now()
    (tmp_path / "data/a").chmod(0o755)
    second = now()
    (tmp_path / "data/link").symlink_to("../elsewhere")
    third = now()
    (tmp_path / "elsewhere").write_bytes(b"y")
    fourth = now()
    assert len({first, second, third, fourth}) == 4
    os.mkfifo(tmp_path / "data/pipe")
    with pytest.raises(Missing, match="holds pipe, which is neither"):
        now()
