"""The report as a statement about an image's digest: attached to the image, pushed with it, read back.

The statement follows the in-toto attestation framework 1 ("Statement") with the predicate type "Test Result"
0.1; our whole report stands beside the predicate's own fields as ``serinus``, which the framework's parsing
rules allow ("Extension fields"). In a layout or a registry it is an artifact that refers to the image (OCI
image specification 1.1, "Guidelines for Artifact Usage").

One statement is kept for each image of a layout. A complete report takes the place of any before it; that of
a run for a built image alone leaves the checks of the source and of the tests their earlier verdicts, since
it cannot look at them, and the same digest holds the same code. One of some checks
alone (``--only``) brings the earlier report up to date: its verdicts take the place of those of the same
checks, unless they say nothing (not applicable, skipped); the report stays as complete as it was.
A statement is not signed: it shows that nothing was changed by accident, or by who cannot write to the place.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from serinus.checks import LAYERS, Status, Verdict
from serinus.checks.report import Report
from serinus.errors import CheckError, DigestMismatch
from serinus.image.manifest import NOTHING, Document, describe, referrer
from serinus.registry import INDEXES, Descriptor, Source
from serinus.registry.content import CHUNK, Parts, parse_manifest
from serinus.registry.layout import Layout

TYPE = "application/vnd.in-toto+json"
"""Artifact and media type of a statement."""
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://in-toto.io/attestation/test-result/v0.1"
ANNOTATION = "in-toto.io/predicate-type"
CREATED = "org.opencontainers.image.created"
_LIMIT = 64 << 20
"""Largest statement in bytes that is read."""
_AGAIN = "Run `serinus check` again for this image."
_SAYS_NOTHING = (Status.NOT_APPLICABLE, Status.SKIPPED)
_OF_SOURCE = ("code", "dependencies", "model", "tests")
"""Layers that a run for an image alone, without its project, may have nothing to look at for."""


def predicate(report: Report) -> dict[str, Any]:
    """The fields of the predicate "Test Result" for a report. Pure.

    A check that could not run counts as failed, since the format knows nothing between; a report without a
    single pass is a failure. Checks that were skipped or not applicable are in none of the lists.
    """
    result = {Status.PASSED: "PASSED", Status.WARNED: "WARNED"}.get(report.status, "FAILED")

    def ids(*statuses: Status) -> list[str]:
        return [verdict.check for verdict in report.of(*statuses)]

    return {
        "result": result,
        "configuration": [{"name": "serinus", "uri": f"pkg:pypi/serinus@{report.tool}"}],
        "passedTests": ids(Status.PASSED),
        "warnedTests": ids(Status.WARNED),
        "failedTests": ids(Status.FAILED, Status.BLOCKED),
    }


def statement(report: Report) -> Document:
    """The statement of a report. Pure.

    Raises:
        CheckError: the report is about no image.
    """
    if report.digest is None:
        raise CheckError(
            f"the report of {report.name or 'this run'} is about no image", "Build one, or name it: --image."
        )
    algorithm, _, hexadecimal = report.digest.partition(":")
    value = {
        "_type": STATEMENT,
        "subject": [{"name": report.name, "digest": {algorithm: hexadecimal}}],
        "predicateType": PREDICATE,
        "predicate": {**predicate(report), "serinus": report.to_json()},
    }
    body = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return Document(describe(TYPE, body, annotations={ANNOTATION: PREDICATE}), body)


def parse(body: bytes, digest: str) -> Report:
    """The report in a statement, held to the image that it is to be about. Pure.

    Raises:
        CheckError: it is no such statement, is about another image, or contradicts itself.
    """
    try:
        document = json.loads(body)
        told, subjects = document["predicate"], document["subject"]
        kinds = document["_type"], document["predicateType"]
        about = [f"{name}:{value}" for one in subjects for name, value in one["digest"].items()]
        inner = told["serinus"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckError(f"the statement about {digest} cannot be read: {error!r}", _AGAIN) from None
    if kinds != (STATEMENT, PREDICATE):
        raise CheckError(f"the statement is of type {kinds}, expected {(STATEMENT, PREDICATE)}", _AGAIN)
    report = Report.from_json(inner)
    if digest not in about or report.digest != digest:
        raise CheckError(
            f"the statement is about {', '.join(about) or 'nothing'} and its report about {report.digest}, "
            f"expected {digest}",
            _AGAIN,
        )
    for name, value in predicate(report).items():
        if told.get(name) != value:
            raise CheckError(
                f"the statement about {digest} contradicts itself: its {name} is {told.get(name)!r}, and its "
                f"verdicts give {value!r}",
                _AGAIN,
            )
    return report


def updated(earlier: Report | None, report: Report) -> Report:
    """What is known of an image after one more run. Pure; see the module's documentation."""
    if earlier is None or earlier.digest != report.digest:
        return report
    if report.complete and report.source:
        return report
    if report.complete:
        before = {verdict.check: verdict for verdict in earlier.verdicts}
        return replace(report, verdicts=tuple(_kept(before, verdict) for verdict in report.verdicts))
    verdicts = {verdict.check: verdict for verdict in earlier.verdicts}
    for verdict in report.verdicts:
        if verdict.status not in _SAYS_NOTHING or verdict.check not in verdicts:
            verdicts[verdict.check] = verdict
    return replace(earlier, verdicts=tuple(sorted(verdicts.values(), key=_rank)), begin=report.begin)


def _kept(before: dict[str, Verdict], verdict: Verdict) -> Verdict:
    """The verdict of a complete run, or the earlier one where the run had nothing to look at."""
    return before.get(verdict.check, verdict) if _kept_back(verdict) else verdict


def _kept_back(verdict: Verdict) -> bool:
    return verdict.status is Status.NOT_APPLICABLE and verdict.layer in _OF_SOURCE


def _rank(verdict: Verdict) -> int:
    return LAYERS.index(verdict.layer) if verdict.layer in LAYERS else len(LAYERS)


def attach(layout: Layout, report: Report) -> Descriptor:
    """Attach a report to its image in a layout, in the place of an earlier one.

    Args:
        layout: holds the image.
        report: about the image's digest.

    Returns:
        The descriptor of the manifest that refers to the image.

    Raises:
        CheckError: the report is about no image.
        NotFound: the layout has no such image.
    """
    document = statement(report)  # first of all, so that a report about nothing is told
    subject = layout.resolve(str(report.digest))
    earlier = _statements(layout, subject)
    if earlier and not (report.complete and report.source):
        with suppress(CheckError, DigestMismatch):  # one that cannot be read is replaced
            document = statement(updated(_read(layout, subject, earlier[-1]), report))
    told = {ANNOTATION: PREDICATE, **({CREATED: report.begin} if report.begin else {})}
    attached = referrer(subject, document.descriptor, told)
    for each in (document, NOTHING):
        if not layout.has(each.descriptor):
            with layout.new_blob() as blob:
                blob.write(each.body)
    layout.write_manifest(attached.descriptor, attached.body)
    for old, _ in earlier:
        if old.digest != attached.descriptor.digest:
            layout.remove(old.digest)
    return attached.descriptor


def read(source: Source, image: Descriptor) -> Report:
    """The newest report about an image, verified: the bytes, the image that it is about, and its result.

    Args:
        source: a layout or a repository.
        image: the descriptor that its name stands for.

    Raises:
        CheckError: there is none, it is about another image, or its result does not agree with its verdicts.
        DigestMismatch: bytes of it were changed.
    """
    found = _statements(source, image)
    if not found:
        raise CheckError(
            f"there is no report about {image.digest}", "Run `serinus check`, and publish the image again."
        )
    return _read(source, image, found[-1])


def _statements(source: Source, image: Descriptor) -> list[tuple[Descriptor, Parts]]:
    """What refers to an image and holds a test result, oldest first."""
    found = []
    for each in source.referrers(image.digest, TYPE):
        plain = Descriptor(each.media_type, each.digest, each.size)
        parts = parse_manifest(source.manifest(plain), plain)
        mine = any(blob.annotations.get(ANNOTATION) == PREDICATE for blob in parts.blobs)
        if mine and parts.subject is not None and parts.subject.digest == image.digest:
            found.append((plain, parts))
    return sorted(found, key=lambda one: one[1].annotations.get(CREATED, ""))


def _read(source: Source, image: Descriptor, found: tuple[Descriptor, Parts]) -> Report:
    blob = next(b for b in found[1].blobs if b.annotations.get(ANNOTATION) == PREDICATE)
    if blob.size > _LIMIT:
        raise CheckError(f"the statement about {image.digest} has {blob.size} bytes", _AGAIN)
    with _told(f"the report {blob.digest}"), source.blob(blob) as file:
        body = file.read()
    return parse(body, image.digest)


def verify(
    source: Source,
    image: Descriptor,
    *,
    layers: bool = True,
    progress: Callable[[str, int], None] = lambda digest, size: None,
) -> int:
    """Read every byte of an image and hold it to its digest; nothing is kept.

    Args:
        source: a layout or a repository.
        image: manifest or index.
        layers: whether to read the layers too, rather than manifests and configurations alone.
        progress: told digest and size of each blob that was read.

    Returns:
        How many bytes were verified.

    Raises:
        DigestMismatch: a byte was changed, or a part is not whole; the message names it.
        NotFound: a part is missing.
    """
    kind = "index" if image.media_type in INDEXES else "manifest"
    with _told(f"the {kind} {image.digest}"):
        parts = parse_manifest(source.manifest(image), image)
    count = image.size
    for child in parts.manifests:
        count += verify(source, child, layers=layers, progress=progress)
    for number, blob in enumerate(parts.blobs if layers else parts.blobs[:1]):
        # The configuration comes first among the blobs of a manifest.
        name = f"layer {number} of {len(parts.blobs) - 1}" if number else "the configuration"
        with _told(f"{name}, {blob.digest},"), source.blob(blob) as file:
            while file.read(CHUNK):
                continue
        count += blob.size
        progress(blob.digest, blob.size)
    return count


@contextmanager
def _told(part: str) -> Iterator[None]:
    """Say which part of an image it is whose bytes are not the right ones."""
    try:
        yield
    except DigestMismatch as error:
        raise DigestMismatch(f"{part} is not what it was: {error.message}", error.todo) from None
