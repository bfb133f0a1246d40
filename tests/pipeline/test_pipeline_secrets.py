"""Secrets never appear: in no log, output, database or file that a run leaves, however they are written."""

from __future__ import annotations

import base64
import binascii
import html
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipeline_projects import Ran, pipeline_of, project_in, python, serinus, sh, written

from serinus.errors import PipelineError
from serinus.pipeline import Parameter
from serinus.pipeline.moments import Said
from serinus.pipeline.secrets import MASK, Masker, forms, found_in, scan

SECRET = "pa\"ss/w+örd&=%\\ 'x<9"

encodings: dict[str, Callable[[str], bytes]] = {
    "plain": lambda text: text.encode(),
    "base64": lambda text: base64.b64encode(text.encode()),
    "base64 behind one": lambda text: base64.b64encode(b"u" + text.encode() + b"tail"),
    "base64 behind two": lambda text: base64.b64encode(b"u:" + text.encode() + b"t"),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(b"user:" + text.encode()),
    "base64 in lines": lambda text: base64.encodebytes(b"x" * 40 + text.encode() * 3),
    "quoted": lambda text: quote(text).encode(),
    "quoted all": lambda text: quote(text, safe="").encode(),
    "quoted in small letters": lambda text: b"".join(
        b"%%%02x" % byte if chr(byte) not in _UNRESERVED else bytes([byte]) for byte in text.encode()
    ),
    "form": lambda text: quote_plus(text).encode(),
    "json": lambda text: json.dumps({"key": text}).encode(),
    "json in unicode": lambda text: json.dumps([text], ensure_ascii=False).encode(),
    "repr": lambda text: repr(text).encode(),
    "ascii": lambda text: ascii(text).encode(),
    "html": lambda text: html.escape(text).encode(),
    "hexadecimal": lambda text: binascii.hexlify(text.encode()),
    "hexadecimal, large": lambda text: binascii.hexlify(text.encode()).upper(),
    "broken into lines": lambda text: "\r\n".join([text[:4], text[4:9], text[9:]]).encode(),
}
_UNRESERVED = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-~"


def pieces(data: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    at, number = 0, 0
    while at < len(data):
        size = sizes[number % len(sizes)]
        yield data[at : at + size]
        at, number = at + size, number + 1


def masked(secrets: Sequence[str], data: bytes, sizes: Sequence[int]) -> bytes:
    masker = Masker([form for secret in secrets for form in forms(secret)])
    return b"".join([*(masker.feed(piece) for piece in pieces(data, sizes)), masker.end()])


sizes = st.lists(st.integers(1, 40), min_size=1, max_size=5)
values = st.one_of(
    st.just(SECRET), st.text('ab/+="é \\', min_size=6, max_size=20).filter(lambda t: len(t.strip()) >= 6)
)


@pytest.mark.parametrize("kind", encodings)
@given(value=values, sizes=sizes, before=st.binary(max_size=20), after=st.binary(max_size=20))
def test_every_form_is_masked_however_it_comes(
    kind: str, value: str, sizes: list[int], before: bytes, after: bytes
) -> None:
    data = before + b"\t" + encodings[kind](value) + b"\t" + after
    shown = masked([value], data, sizes)
    assert MASK in shown
    assert not found_in(forms(value), shown.replace(MASK, b"\0"))


@given(
    st.lists(values, min_size=1, max_size=3),
    st.lists(st.one_of(values, st.text("ab \n*", max_size=9)), max_size=8),
    sizes,
)
def test_pieces_make_no_difference(secrets: list[str], parts: list[str], sizes: list[int]) -> None:
    data = "".join(parts).encode()
    whole = masked(secrets, data, [max(1, len(data))])
    assert masked(secrets, data, sizes) == whole
    wanted = [form for secret in secrets for form in forms(secret)]
    assert not any(found_in(wanted, piece) for piece in whole.split(MASK))


@given(st.binary(max_size=300), sizes)
def test_what_holds_no_secret_is_left_as_it_is(data: bytes, sizes: list[int]) -> None:
    if not found_in(forms(SECRET), data):
        assert masked([SECRET], data, sizes) == data


@given(st.integers(6, 12), st.integers(0, 40), sizes)
def test_occurrences_that_overlap_are_masked_as_one(length: int, more: int, sizes: list[int]) -> None:
    assert masked(["a" * length], b"<" + b"a" * (length + more) + b">", sizes) == b"<***>"


def test_what_cannot_be_a_secret_is_shown_at_once() -> None:
    masker = Masker(forms("secret-value"))
    assert masker.feed(b"epoch 1: sec") == b"epoch 1: "
    assert masker.feed(b"onds 3") == b"seconds 3"
    assert masker.feed(b" secret-va") == b" "
    assert masker.feed(b"lue!") == b"***!"


def test_each_line_of_a_long_value_is_masked() -> None:
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEFAAS\n-----END KEY-----\n"
    assert b"kqhkiG" not in masked([key], b"log: kqhkiG9w0BAQEFAAS", [7])
    assert masked([key], key.encode(), [5]).strip() == MASK


@given(st.binary(max_size=4000), st.integers(0, 4000), st.sampled_from(sorted(encodings)))
def test_a_scan_finds_what_a_file_holds(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, place: int, kind: str
) -> None:
    folder = tmp_path_factory.mktemp("scanned")
    (folder / "deep").mkdir()
    wanted = forms(SECRET)
    clean = folder / "deep/file"
    clean.write_bytes(data)
    assert scan(folder, wanted) is None
    clean.write_bytes(data[:place] + b"\t" + encodings[kind](SECRET) + data[place:])
    assert scan(folder, wanted) == "deep/file"


def test_a_scan_looks_across_chunks_into_names_and_links(tmp_path: Path) -> None:
    wanted = forms(SECRET)
    big = tmp_path / "big"
    big.write_bytes(b"\0" * ((1 << 20) - 7) + SECRET.encode() + b"\0" * 100)
    assert scan(big, wanted) == "big"
    big.unlink()
    (tmp_path / "link").symlink_to(f"/x/{quote(SECRET)}")
    assert scan(tmp_path, wanted) == "link"
    (tmp_path / "link").unlink()
    (tmp_path / f"n-{quote(SECRET, safe='')}").touch()
    assert scan(tmp_path, wanted) == "a name in ."


# In runs

TELLING = """
import base64, html, sys, urllib.parse, time
value = os.environ["API_TOKEN"].encode()
forms = [value, base64.b64encode(value), base64.b64encode(b"u:" + value)]
forms += [base64.urlsafe_b64encode(b"a" + value)]
forms += [urllib.parse.quote(value).encode(), json.dumps(value.decode()).encode(), value.hex().encode()]
out = sys.stdout.buffer
for form in forms:
    for byte in form:  # one at a time, across every chunk
        out.write(bytes([byte])); out.flush()
    out.write(b"\\n")
out.write(b"-".join(forms)); out.flush()
print(os.environ["API_TOKEN"], file=sys.stderr)
"""
VALUE = 'tok-7f/3+a9="é\\Zz'


def leaks(folder: Path) -> list[str]:
    """Files that hold the secret in any form, databases and their journals among them."""
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and found_in(forms(VALUE), path.read_bytes())
    ]


def test_nothing_that_a_run_leaves_behind_holds_a_secret(tmp_path: Path) -> None:
    folder = written(
        tmp_path / "project",
        """
[pipeline.fetch]
[pipeline.fetch.steps.fetch]
run = "python fetch.py"
outputs = ["build/data.txt"]
secrets = ["API_TOKEN"]
[pipeline.fetch.steps.leak]
run = "python leak.py"
inputs = ["build/data.txt"]
outputs = ["build/leak"]
secrets = ["API_TOKEN"]
[pipeline.fetch.steps.fails]
run = "python -c 'import os, sys; sys.exit(os.environ[\\"API_TOKEN\\"])'"
secrets = ["API_TOKEN"]
retries = 1
[pipeline.fetch.steps.other]
run = "python -c 'import os; print(sorted(os.environ))'"
[pipeline.fetch.steps.ask]
approve = "well?"
show = ["note.txt", "score.json"]
""",
    )
    (folder / "fetch.py").write_text(
        "import os, json, pathlib\n" + TELLING + "pathlib.Path('build').mkdir()\n"
        "pathlib.Path('build/data.txt').write_text('clean')\n"
    )
    (folder / "leak.py").write_text(
        "import os, pathlib, base64\nfolder = pathlib.Path('build/leak'); folder.mkdir()\n"
        "(folder / 'a.bin').write_bytes(base64.b64encode(b'xy' + os.environ['API_TOKEN'].encode() + b'z'))\n"
    )
    (folder / "note.txt").write_text("a note")
    (folder / "score.json").write_text('{"accuracy": 0.9}')
    code, document = serinus(folder, "run", "--no-wait", env={"API_TOKEN": VALUE})
    states = {step["name"]: step["state"] for step in document["steps"]}
    assert (code, states) == (
        1,
        {"fetch": "done", "leak": "failed", "fails": "failed", "other": "done", "ask": "asks"},
    )
    reasons = {step["name"]: step["reason"] for step in document["steps"]}
    assert reasons["leak"] == "a secret stands in its output build/leak: a.bin; it was removed"
    assert not (folder / "build/leak").exists()
    log = serinus(folder, "runs", "logs", "fetch-1", "fetch")[1]["log"]
    assert log.count("***") >= 8
    assert "API_TOKEN" not in serinus(folder, "runs", "logs", "fetch-1", "other")[1]["log"]
    assert leaks(folder) == []
    for words in (("runs",), ("runs", "show", "fetch-1"), ("runs", "logs", "fetch-1", "fails")):
        assert not found_in(forms(VALUE), json.dumps(serinus(folder, *words)[1]).encode())


def test_a_listener_hears_no_secret(tmp_path: Path) -> None:
    pipeline = pipeline_of(python("talk", "import json\n" + TELLING, secrets=("API_TOKEN",)))
    run = Ran(project_in(tmp_path / "p"), pipeline, environment=os.environ | {"API_TOKEN": VALUE})
    said = "\n".join(line for moment in run.moments if isinstance(moment, Said) for line in moment.lines)
    assert run.states == {"talk": "done"}
    assert "***" in said
    assert not found_in(forms(VALUE), said.encode())


def test_a_secret_that_is_not_set_or_too_short_is_told_before_anything_starts(tmp_path: Path) -> None:
    pipeline = pipeline_of(sh("a", "touch ran"), sh("b", "true", needs=("a",), secrets=("API_TOKEN",)))
    project = project_in(tmp_path / "p")
    bare = {name: value for name, value in os.environ.items() if name != "API_TOKEN"}
    with pytest.raises(PipelineError, match="the step b needs the secret API_TOKEN, which is not set"):
        Ran(project, pipeline, environment=bare)
    with pytest.raises(PipelineError, match="shorter than 6 bytes"):
        Ran(project, pipeline, environment=bare | {"API_TOKEN": "abcde"})
    assert not (project.root / "ran").exists()
    assert Ran(project, pipeline, environment=bare, only=("a",)).states == {"a": "done", "b": "left"}


def test_a_secret_in_a_parameter_or_in_the_file_is_refused(tmp_path: Path) -> None:
    secret = {"environment": os.environ | {"API_TOKEN": "sesame-open"}}
    step = sh("a", "echo {word}", secrets=("API_TOKEN",))
    pipeline = pipeline_of(step, parameters=[Parameter("word", "x")])
    project = project_in(tmp_path / "p")
    with pytest.raises(PipelineError, match="the parameter word holds the value of the secret API_TOKEN"):
        Ran(project, pipeline, {"word": base64.b64encode(b"u:sesame-open").decode()}, **secret)
    with pytest.raises(PipelineError, match="the command of the step b holds"):
        Ran(
            project,
            pipeline_of(step, sh("b", "curl -H sesame-open"), parameters=[Parameter("word", "x")]),
            **secret,
        )
    with pytest.raises(PipelineError, match=r"env.X of the step b holds"):
        Ran(project, pipeline_of(sh("b", "true", env={"X": "sesame-open"}, secrets=("API_TOKEN",))), **secret)


def test_the_name_of_a_user_is_given_to_its_step_alone_and_not_masked(tmp_path: Path) -> None:
    pipeline = pipeline_of(
        sh("a", "echo ${HUB_USERNAME-none}", secrets=("HUB_USERNAME",)), sh("b", "echo ${HUB_USERNAME-none}")
    )
    run = Ran(project_in(tmp_path / "p"), pipeline, environment=os.environ | {"HUB_USERNAME": "bob"})
    assert {m.step: m.lines for m in run.moments if isinstance(m, Said)} == {"a": ("bob",), "b": ("none",)}
