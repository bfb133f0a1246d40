"""The OCI layout: nothing half done, nothing lost, whoever writes and whoever is killed."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from small_images import blob, digest_of, image, index, manifest_body, noise, sbom, whole

from serinus.errors import DigestMismatch, NotFound, RegistryError
from serinus.registry import CONFIG, LAYER, MANIFEST, Descriptor, Platform
from serinus.registry.content import parse_manifest
from serinus.registry.entries import Entry, living, stored, tag_of
from serinus.registry.layout import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout")


def hidden(layout: Layout) -> list[Path]:
    return [p for p in layout.root.rglob(".*") if p.is_file()]


def test_an_image_is_found_by_tag_and_by_digest(layout: Layout) -> None:
    made = image(layout, [b"one", b"two"], ["1", "latest"], Platform("linux", "arm64"))
    assert list(layout.tags()) == ["1", "latest"]
    assert layout.resolve("1") == layout.resolve(made.digest) == made
    assert json.loads((layout.root / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    assert len(whole(layout, "1")) == 4
    assert not hidden(layout)


def test_what_is_not_there_is_named_with_what_is_near(layout: Layout) -> None:
    with pytest.raises(NotFound, match="has no image 'x'; it has no tags"):
        layout.resolve("x")
    image(layout, [], ["candidate"])
    with pytest.raises(NotFound, match="it has candidate"):
        layout.resolve("candidat")
    missing = Descriptor(LAYER, "sha256:" + "0" * 64, 1)
    with pytest.raises(NotFound, match="sha256:0000"), layout.blob(missing) as file:
        file.read()


def test_a_tag_moves(layout: Layout) -> None:
    first, second = image(layout, [b"1"], ["t"]), image(layout, [b"2"], ["t"])
    assert layout.tags() == {"t": second}
    assert [e.digest for e in layout.entries()] == [second.digest]
    assert layout.has(first)


def test_children_of_an_index_are_no_entries(layout: Layout) -> None:
    arms = [image(layout, [a.encode()], (), Platform("linux", a)) for a in ("amd64", "arm64")]
    assert len(layout.entries()) == 2
    top = index(layout, arms, ["multi"])
    assert [e.digest for e in layout.entries()] == [top.digest]
    assert layout.resolve(arms[0].digest).digest == arms[0].digest


def test_a_manifest_with_a_missing_part_is_refused_and_no_tag_moves(layout: Layout) -> None:
    before = image(layout, [b"1"], ["t"])
    config = blob(layout, b"{}", CONFIG)
    body = manifest_body(config, [Descriptor(LAYER, "sha256:" + "0" * 64, 1)])
    with pytest.raises(NotFound, match=r"needs sha256:0000.*, which is not in the layout"):
        layout.write_manifest(Descriptor(MANIFEST, digest_of(body), len(body)), body, ["t"])
    assert layout.tags() == {"t": before}


def test_wrong_bytes_are_refused_and_nothing_is_left(layout: Layout) -> None:
    promised = Descriptor(LAYER, digest_of(b"good"), 4)
    with pytest.raises(DigestMismatch, match="expected sha256:"):
        layout.write(promised, lambda: BytesIO(b"evil"))
    assert not layout.has(promised)
    assert not list(layout.root.rglob("blobs/sha256/*"))


def test_a_blob_is_written_once_and_then_present(layout: Layout) -> None:
    data = noise(3 << 20)
    descriptor = Descriptor(LAYER, digest_of(data), len(data))
    told: list[int] = []
    assert layout.write(descriptor, lambda: BytesIO(data), told.append) == "written"
    assert told == [1 << 20, 2 << 20, 3 << 20]
    assert layout.write(descriptor, lambda: pytest.fail("opened")) == "present"
    assert layout.path(descriptor.digest).stat().st_mode & 0o777 == 0o644


def test_an_error_while_writing_leaves_nothing(layout: Layout) -> None:
    def half() -> None:
        with layout.new_blob() as new:
            new.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()
    assert not list(layout.root.rglob("blobs/sha256/*"))


def test_a_damaged_blob_is_noticed(layout: Layout) -> None:
    made = blob(layout, b"good")
    layout.path(made.digest).write_bytes(b"evil")
    with layout.blob(made) as file, pytest.raises(DigestMismatch):
        file.read()
    layout.path(made.digest).write_bytes(b"sho")
    assert not layout.has(made)
    assert layout.write(made, lambda: BytesIO(b"good")) == "written"


@pytest.mark.parametrize("move", [False, True])
def test_a_file_is_adopted(layout: Layout, tmp_path: Path, move: bool) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"weights")
    layout.adopt(file, digest_of(b"weights"), move=move)
    assert layout.path(digest_of(b"weights")).read_bytes() == b"weights"
    assert file.exists() is not move
    assert not hidden(layout)


def test_referrers_are_found_and_follow_their_subject(layout: Layout) -> None:
    made = image(layout, [b"1"], ["t"])
    bom = sbom(layout, made)
    found = layout.referrers(made.digest)
    assert [(d.digest, d.artifact_type, dict(d.annotations)) for d in found] == [
        (bom.digest, "application/vnd.cyclonedx+json", {"a": "b"})
    ]
    assert layout.referrers(made.digest, "application/x") == ()
    assert layout.collect(0) == 0
    layout.remove("t")
    with pytest.raises(NotFound, match="has no tag 't'"):
        layout.remove("t")
    assert layout.collect(0) > 0
    assert layout.entries() == ()
    assert not list(layout.root.rglob("blobs/sha256/*"))


def test_collect_leaves_what_is_young_and_what_was_used_again(tmp_path: Path) -> None:
    now = time.time()
    layout = Layout(tmp_path, clock=lambda: now)
    old, used, temporary = (
        blob(layout, b"old"),
        blob(layout, b"used"),
        layout.root / "blobs/sha256/.serinus-x",
    )
    temporary.write_bytes(b"of a killed writer")
    now += 4000
    layout.write(used, lambda: BytesIO(b"used"))
    assert layout.collect() == 3 + len(b"of a killed writer")
    assert (layout.has(old), layout.has(used), temporary.exists()) == (False, True, False)


def test_members_of_other_tools_survive(layout: Layout) -> None:
    image(layout, [b"1"], ["t"])
    path = layout.root / "index.json"
    document = json.loads(path.read_text())
    document["manifests"][0]["urls"] = ["https://example.com/x"]
    path.write_text(json.dumps(document))
    image(layout, [b"2"], ["u"])
    assert json.loads(path.read_text())["manifests"][0]["urls"] == ["https://example.com/x"]


@pytest.mark.parametrize(
    "text", ["", "[]", '{"manifests": 1}', '{"manifests": [{}]}', '{"manifests": ["x"]}']
)
def test_a_broken_index_is_an_error_that_names_it(layout: Layout, text: str) -> None:
    layout.root.mkdir()
    (layout.root / "index.json").write_text(text)
    with pytest.raises(RegistryError, match="index.json"):
        layout.tags()


def test_threads_lose_nothing(layout: Layout) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: image(layout, [b"same", b"%d" % n], [f"t{n}", "last"]), range(24)))
    assert set(layout.tags()) == {f"t{n}" for n in range(24)} | {"last"}
    for tag in layout.tags():
        assert len(whole(layout, tag)) == 4


WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from small_images import image
from serinus.registry.layout import Layout
layout = Layout(sys.argv[1])
print("ready", flush=True)
for n in range(10_000):
    image(layout, [b"%d" % n * 1000, sys.argv[3].encode()], [f"{sys.argv[3]}-{n}", "last"])
"""


def test_writers_killed_at_any_moment_leave_a_valid_layout(layout: Layout) -> None:
    here = str(Path(__file__).parent)
    for round_ in range(6):
        command = [sys.executable, "-c", WRITER, str(layout.root), here]
        writers = [
            subprocess.Popen([*command, f"{round_}{who}"], stdout=subprocess.PIPE) for who in ("a", "b")
        ]
        for writer in writers:
            assert writer.stdout
            writer.stdout.readline()
        time.sleep(0.02 + 0.013 * round_)
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
            writer.wait()
            assert writer.stdout
            writer.stdout.close()
        for tag in layout.tags():
            assert len(whole(layout, tag)) == 4
    image(layout, [b"after"], ["after"])
    layout.collect(0)
    assert not hidden(layout)
    assert len(whole(layout, "after")) == 3


FULL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
from serinus.errors import RegistryError
from serinus.registry.layout import Layout
try:
    with Layout(sys.argv[1]).new_blob() as new:
        for _ in range(3):
            new.write(bytes(1 << 19))
except RegistryError as error:
    print(error.message)
"""


def test_a_file_that_cannot_grow_is_a_full_disk(layout: Layout) -> None:
    """A limit on the size of files makes the kernel refuse a write as a full disk or quota does."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(layout.root)], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("the disk is full:")
    assert not list(layout.root.rglob("blobs/sha256/*"))
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RegistryError, match="cannot be written"), Layout(tmp_path / "file").new_blob() as new:
        new.write(b"x")


def test_the_lock_is_waited_for(layout: Layout) -> None:
    import fcntl

    image(layout, [b"1"], ["t"])
    folder = os.open(layout.root, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    thread = threading.Thread(target=layout.remove, args=("t",))
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    os.close(folder)
    thread.join(10)
    assert layout.tags() == {}


# The decisions about entries, by properties

names = st.sampled_from("abcd")
hexes = st.sampled_from([f"sha256:{c * 64}" for c in "0123"])
entry_lists = st.lists(
    st.tuples(hexes, st.just("") | names).map(
        lambda pair: {
            "mediaType": MANIFEST,
            "digest": pair[0],
            "size": 1,
            "annotations": {"org.opencontainers.image.ref.name": pair[1]} if pair[1] else {},
        }
    ),
    max_size=6,
).map(tuple)


@given(entry_lists, hexes, st.lists(names, max_size=3), st.sets(hexes))
def test_storing_points_the_tags_and_touches_no_other(
    before: tuple[Entry, ...], digest: str, tags: list[str], children: set[str]
) -> None:
    after = stored(before, Descriptor(MANIFEST, digest, 1), tags, children - {digest})
    pointing = {tag_of(e): e["digest"] for e in after if tag_of(e)}
    assert pointing == {tag_of(e): e["digest"] for e in before if tag_of(e)} | dict.fromkeys(tags, digest)
    assert any(e["digest"] == digest for e in after)
    assert not any(e["digest"] in children - {digest} and not tag_of(e) for e in after)


@given(entry_lists, st.dictionaries(hexes, hexes))
def test_collecting_keeps_every_tag_and_no_orphan(
    before: tuple[Entry, ...], subjects: dict[str, str]
) -> None:
    reachable = {e["digest"]: frozenset({e["digest"]}) for e in before}
    after = living(before, subjects, reachable)
    assert [e for e in before if tag_of(e)] == [e for e in after if tag_of(e)]
    assert [e for e in before if e["digest"] not in subjects] == [
        e for e in after if e["digest"] not in subjects
    ]
    kept = {e["digest"] for e in after}
    for e in after:
        assert tag_of(e) or e["digest"] not in subjects or subjects[e["digest"]] in kept


class Machine(RuleBasedStateMachine):
    """Whatever is done in whatever order, a tag points at something whole, and the last one wins."""

    made: Bundle[Descriptor] = Bundle("made")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.layout = Layout(self.folder.name)
        self.expected: dict[str, str] = {}

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule(target=made, content=st.binary(max_size=3), tags=st.lists(names, max_size=2))
    def store(self, content: bytes, tags: list[str]) -> Descriptor:
        made = image(self.layout, [content], tags)
        self.expected |= dict.fromkeys(tags, made.digest)
        return made

    @rule(target=made, subject=consumes(made))
    def refer(self, subject: Descriptor) -> Descriptor:
        if self.layout.has(subject):
            sbom(self.layout, subject)
        return subject

    @rule(tag=names)
    def remove(self, tag: str) -> None:
        if self.expected.pop(tag, None):
            self.layout.remove(tag)

    @rule()
    def collect(self) -> None:
        self.layout.collect(0)

    @invariant()
    def tags_are_whole(self) -> None:
        assert {tag: d.digest for tag, d in self.layout.tags().items()} == self.expected
        for tag in self.expected:
            assert len(whole(self.layout, tag)) == 3

    @invariant()
    def entries_are_whole(self) -> None:
        for entry in self.layout.entries():
            for part in parse_manifest(self.layout.manifest(entry), entry).blobs:
                assert self.layout.has(part)


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=15, stateful_step_count=15)
