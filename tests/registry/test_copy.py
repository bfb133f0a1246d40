"""Copying: everything comes along, nothing travels twice, and no tag points at anything incomplete."""

from __future__ import annotations

import io
import json
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opening import Open
from small_images import digest_of, image, index, noise, sbom, whole

from fakes.registry import Fault, Registry, serving
from serinus.errors import DigestMismatch, NotFound, RegistryError, Unavailable
from serinus.events import Event, Finished, Progress, Started
from serinus.registry import Descriptor, Platform
from serinus.registry.client import Repository
from serinus.registry.copy import copy, matches
from serinus.registry.layout import Layout

LAYERS = [noise(50_000, seed) for seed in range(6)]
AMD, ARM = Platform("linux", "amd64"), Platform("linux", "arm64", "v8")


@pytest.fixture
def other(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "other")


def test_there_and_back(fake: Registry, connect: Open, layout: Layout, other: Layout) -> None:
    made = image(layout, LAYERS, ["1"])
    repository = connect()
    assert copy(layout, repository, "1", ["1", "latest"]) == made
    assert copy(repository, other, "latest", ["x"]) == made
    assert whole(other, "x") == whole(layout, "1")
    assert fake.repo("acme/x").tags == {"1": made.digest, "latest": made.digest}


def test_only_what_changed_travels(fake: Registry, connect: Open, layout: Layout) -> None:
    image(layout, LAYERS, ["1"])
    copy(layout, connect(), "1", ["1"])
    changed = image(layout, [*LAYERS[:5], b"new code"], ["2"])
    config = json.loads(layout.manifest(changed))["config"]["size"]
    repository = connect()
    copy(layout, repository, "2", ["2"])
    assert repository.traffic.sent == len(b"new code") + config + changed.size


def test_events_say_how_each_blob_came_there(connect: Open, layout: Layout) -> None:
    image(layout, LAYERS[:2], ["1"])
    copy(layout, connect(), "1", ["1"])
    image(layout, LAYERS[:3], ["2"])
    seen: list[Event] = []
    copy(layout, connect(), "2", ["2"], observer=seen.append)
    details = sorted(e.detail for e in seen if isinstance(e, Finished))
    assert details == ["2", "present", "present", "written", "written"]
    assert {e.step for e in seen if isinstance(e, Started)} == {
        e.step for e in seen if isinstance(e, Finished)
    }
    assert all(e.done <= (e.total or 0) for e in seen if isinstance(e, Progress))


def test_blobs_are_mounted_between_repositories_and_never_opened(
    fake: Registry, connect: Open, layout: Layout
) -> None:
    image(layout, LAYERS, ["1"])
    base = connect("acme/base")
    copy(layout, base, "1", ["1"])
    before = len(fake.seen)
    repository = connect()
    copy(base, repository, "1", ["1"])
    assert not any(s.method == "GET" and "/blobs/" in s.path for s in fake.seen[before:])
    assert repository.traffic.sent == len(layout.manifest(layout.resolve("1")))


def test_base_layers_that_the_target_has_are_never_fetched(
    fake: Registry, connect: Open, layout: Layout
) -> None:
    """A source whose blobs cannot be had: what the target has or can mount is not asked for."""
    made = image(layout, LAYERS, ["1"])
    copy(layout, connect("acme/base"), "1", ["1"])
    for data in LAYERS:
        layout.path(digest_of(data)).unlink()
    copy(layout, connect(mount_from=["acme/base"]), "1", ["1"])
    assert fake.repo("acme/x").tags == {"1": made.digest}


def test_an_index_comes_with_all_its_images(
    fake: Registry, connect: Open, layout: Layout, other: Layout
) -> None:
    images = [image(layout, [LAYERS[i], LAYERS[5]], (), p) for i, p in enumerate((AMD, ARM))]
    top = index(layout, images, ["multi"])
    assert copy(layout, connect(), "multi", ["multi"]) == top
    order = [s.path for s in fake.seen if s.method == "PUT" and "/manifests/" in s.path]
    assert order[-1].endswith("/multi")
    assert len(order) == 3
    assert copy(connect(), other, "multi", ["multi"]) == top
    assert whole(other, "multi") == whole(layout, "multi")
    assert [d.digest for d in other.entries()] == [top.digest]


def test_one_platform_gives_its_manifest_and_two_an_index(
    connect: Open, layout: Layout, other: Layout
) -> None:
    three = (AMD, ARM, Platform("linux", "riscv64"))
    images = [image(layout, [LAYERS[i]], (), p) for i, p in enumerate(three)]
    top = index(layout, images, ["multi"])
    assert copy(layout, other, "multi", ["arm"], platforms=[Platform("linux", "arm64")]) == images[1]
    assert len(whole(other, "arm")) == 3
    two = copy(layout, other, "multi", ["two"], platforms=[ARM, AMD])
    assert two.digest != top.digest
    assert images[0].digest in whole(other, "two")
    assert copy(layout, other, "multi", ["all"], platforms=list(three)) == top
    with pytest.raises(
        NotFound, match="no image for linux/s390x; it has linux/amd64, linux/arm64/v8, linux/riscv64"
    ):
        copy(layout, other, "multi", platforms=[Platform("linux", "s390x")])


@pytest.mark.parametrize("api", [True, False])
def test_referrers_come_along(
    fake: Registry, connect: Open, layout: Layout, other: Layout, api: bool
) -> None:
    fake.referrers_api = api
    made = image(layout, LAYERS[:1], ["1"])
    bom = sbom(layout, made)
    copy(layout, connect(), "1", ["1"], referrers=True)
    puts = [s.path.rpartition("/")[2] for s in fake.seen if s.method == "PUT" and "/manifests/" in s.path]
    assert puts.index(bom.digest) < puts.index("1")
    copy(connect(), other, "1", ["1"], referrers=True)
    assert [d.digest for d in other.referrers(made.digest)] == [bom.digest]
    assert list(other.tags()) == ["1"]
    assert other.collect(0) == 0


def test_a_blob_that_fails_stops_the_others_and_no_tag_is_set(
    fake: Registry, connect: Open, layout: Layout
) -> None:
    image(layout, LAYERS, ["1"])
    fake.faults = [Fault("PUT", digest_of(LAYERS[3])[7:], times=99, status=500)]
    with pytest.raises(Unavailable, match="answered 500"):
        copy(layout, connect(), "1", ["1"])
    assert fake.repo("acme/x").tags == {}
    assert fake.repo("acme/x").manifests == {}
    assert fake.count("PUT", "/manifests/") == 0


class Slow:
    """A layout as a source with one blob that never ends, and one that fails while the other is under way."""

    def __init__(self, layout: Layout, endless: str, failing: str) -> None:
        self.layout, self.endless, self.failing = layout, endless, failing
        self.begun = threading.Event()
        self.closed = False

    def resolve(self, name: str) -> Descriptor:
        return self.layout.resolve(name)

    def manifest(self, descriptor: Descriptor) -> bytes:
        return self.layout.manifest(descriptor)

    def referrers(self, digest: str, artifact_type: str = "") -> tuple[Descriptor, ...]:
        return ()

    @contextmanager
    def blob(self, descriptor: Descriptor) -> Iterator[BinaryIO]:
        if descriptor.digest == self.failing:
            assert self.begun.wait(10)
            raise DigestMismatch("damaged")
        with self.layout.blob(descriptor) as file:
            if descriptor.digest != self.endless:
                yield file
                return
            begun = self.begun

            class Endless(io.BytesIO):
                def read(self, size: int | None = -1) -> bytes:
                    begun.set()
                    return b"x"

            yield Endless()
            self.closed = True


def test_when_one_fails_the_ones_under_way_are_stopped(layout: Layout, other: Layout) -> None:
    image(layout, LAYERS[:3], ["1"])
    source = Slow(layout, digest_of(LAYERS[0]), digest_of(LAYERS[1]))
    with pytest.raises(DigestMismatch, match="damaged"):
        copy(source, other, "1", ["1"])
    assert other.tags() == {}
    assert not list(other.root.rglob(".serinus-*"))


@settings(max_examples=25)
@given(st.data())
def test_whatever_goes_wrong_a_tag_is_whole_or_not_there(choice: st.DataObject) -> None:

    fault = st.builds(
        Fault,
        st.sampled_from(["PUT", "POST", "HEAD", "PATCH", "GET"]),
        st.sampled_from(["", "manifests", "blobs/uploads"]),
        times=st.integers(1, 6),
        status=st.sampled_from([0, 404, 429, 500, 403]),
        cut=st.sampled_from([-1, 0, 10]),
    )
    faults = choice.draw(st.lists(fault, max_size=3))
    with tempfile.TemporaryDirectory() as folder, serving(Registry(faults=faults)) as fake:
        layout = Layout(Path(folder) / "a")
        image(layout, [b"x" * 40, b"y" * 40], ["1"])
        with Repository(f"{fake.host}/x", chunk=20, sleep=lambda _: None) as repository:
            with suppress(RegistryError):
                copy(layout, repository, "1", ["1"])
            fake.faults.clear()
            if "1" in fake.repo("x").tags:
                copy(repository, Layout(Path(folder) / "b"), "1", ["1"])
                assert whole(Layout(Path(folder) / "b"), "1") == whole(layout, "1")


platform_texts = st.sampled_from(
    ["linux/amd64", "linux/arm64", "linux/arm64/v8", "linux/arm/v7", "linux/arm/v6"]
)


@given(platform_texts, platform_texts)
def test_platforms_match_up_to_what_was_asked_for(wanted: str, found: str) -> None:
    expected = (
        found == wanted
        or found.startswith(f"{wanted}/")
        or {wanted, found} == {"linux/arm64", "linux/arm64/v8"}
    )
    assert matches(Platform(*wanted.split("/")), Platform(*found.split("/"))) is expected
    assert not matches(Platform(*wanted.split("/")), None)
